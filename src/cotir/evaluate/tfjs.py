"""TensorFlow.js graph-models: what ``model.json`` and its shards hold, read without TensorFlow.

A graph-model is a list of nodes, each an operation on the results of others, and a table of weights. Of the format
this reads what a model that was frozen for inference needs: one picture in, one out, no functions, no control flow,
weights as they are (not quantised).
"""

import base64
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cotir.errors import WeightsError

FILE = "model.json"
_WEIGHT_TYPES: dict[str, Any] = {"float32": np.float32, "int32": np.int32, "bool": np.bool_}


@dataclass(frozen=True, eq=False)
class Node:
    """One operation of the graph."""

    name: str
    operation: str
    """As TensorFlow calls it: ``Conv2D``."""
    inputs: tuple[str, ...]
    """Names of the nodes whose results it takes."""
    attributes: Mapping[str, Any]
    """As ``model.json`` writes them; read through the methods."""

    def integer(self, key: str) -> int:
        """A number; 0, which the format leaves out, where it is absent."""
        return int(self.attributes.get(key, {}).get("i", 0))

    def integers(self, key: str) -> list[int]:
        """A list of numbers."""
        return [int(value) for value in self.attributes.get(key, {}).get("list", {}).get("i", [])]

    def flag(self, key: str) -> bool:
        """A truth value; False where it is absent."""
        return bool(self.attributes.get(key, {}).get("b", False))

    def text(self, key: str) -> str:
        """A string; empty where it is absent."""
        return base64.b64decode(self.attributes.get(key, {}).get("s", "")).decode()

    def type(self, key: str) -> str:
        """A type, such as ``DT_FLOAT``."""
        return str(self.attributes.get(key, {}).get("type", ""))


@dataclass(frozen=True, eq=False)
class Graph:
    """A graph-model with one picture in and one out."""

    folder: Path
    nodes: tuple[Node, ...]
    """Those the result depends on, each after its inputs."""
    weights: Mapping[str, Tensor]
    """Of the ``Const`` nodes, by name."""
    input: str
    output: str

    @classmethod
    def load(cls, folder: Path | str) -> "Graph":
        """Read a model.

        Args:
            folder: holds ``model.json`` and the shards it names.

        Raises:
            WeightsError: a file is missing, short or not what it should be; the message names it.
        """
        folder = Path(folder)
        model = _read(folder)
        nodes = {each["name"]: _node(each) for each in model.get("modelTopology", {}).get("node", [])}
        inputs = [name for name, node in nodes.items() if node.operation == "Placeholder"]
        outputs = [str(each["name"]).split(":")[0] for each in model.get("signature", {}).get("outputs", {}).values()]
        if len(inputs) != 1 or len(outputs) != 1 or outputs[0] not in nodes:
            raise WeightsError(
                f"{folder / FILE} has the inputs {inputs} and the outputs {outputs}; a restorer takes one picture and "
                "gives one"
            )
        order = _needed(nodes, outputs[0], folder)
        weights = _weights(folder, model.get("weightsManifest", []))
        lost = [node.name for node in order if node.operation == "Const" and node.name not in weights]
        if lost:
            raise WeightsError(f"{folder / FILE} lists no weights for {len(lost)} constants, such as {lost[0]!r}")
        return cls(folder, order, weights, inputs[0], outputs[0])


def weight_bytes(folder: Path | str) -> int:
    """Bytes of the shards that ``model.json`` names.

    Raises:
        WeightsError: as for :meth:`Graph.load`.
    """
    folder = Path(folder)
    shards = [name for group in _read(folder).get("weightsManifest", []) for name in group["paths"]]
    return sum(_shard(folder, name).stat().st_size for name in shards)


def _read(folder: Path) -> dict[str, Any]:
    if not folder.is_dir():
        raise WeightsError(f"there is no folder {folder}; give one that holds {FILE} and its shards")
    path = folder / FILE
    if not path.is_file():
        raise WeightsError(f"{folder} holds no {FILE}; give the folder of a TensorFlow.js graph-model")
    try:
        model = json.loads(path.read_bytes())
    except ValueError as error:
        raise WeightsError(f"{path} is not JSON ({error}); install it again") from error
    form = model.get("format") if isinstance(model, dict) else None
    if form != "graph-model":
        raise WeightsError(f"{path} has the format {form!r}; only a TensorFlow.js 'graph-model' can be run")
    return model


def _node(entry: Mapping[str, Any]) -> Node:
    """Control inputs, written ``^name``, order side effects; there are none here."""
    inputs = [_first_output(name) for name in entry.get("input", []) if not name.startswith("^")]
    return Node(entry["name"], entry["op"], tuple(inputs), entry.get("attr", {}))


def _first_output(name: str) -> str:
    node, _, number = name.partition(":")
    if number not in ("", "0"):
        raise WeightsError(f"an input is {name!r}, but operations with several results cannot be run")
    return node


def _needed(nodes: Mapping[str, Node], output: str, folder: Path) -> tuple[Node, ...]:
    """The nodes that ``output`` depends on, each after its inputs: a depth-first walk without recursion."""
    order: dict[str, Node] = {}
    begun: set[str] = set()
    waiting = [output]
    while waiting:
        name = waiting[-1]
        if name not in nodes:
            raise WeightsError(f"{folder / FILE} takes the result of {name!r}, but has no such node")
        ahead = [each for each in nodes[name].inputs if each not in order]
        if begun.intersection(ahead):
            raise WeightsError(f"{folder / FILE} has a loop through {name!r}; models with control flow cannot be run")
        if ahead and name not in order:
            begun.add(name)
            waiting += ahead
        else:
            order.setdefault(name, nodes[name])
            begun.discard(name)
            waiting.pop()
    return tuple(order.values())


def _shard(folder: Path, name: str) -> Path:
    path = folder / name
    if not path.is_file():
        raise WeightsError(f"{folder} lacks {name}, which its {FILE} names; install it again")
    return path


def _weights(folder: Path, manifest: Sequence[Mapping[str, Any]]) -> dict[str, Tensor]:
    weights: dict[str, Tensor] = {}
    for group in manifest:
        sizes = [_bytes(entry, folder) for entry in group["weights"]]
        data = np.frombuffer(b"".join(_shard(folder, name).read_bytes() for name in group["paths"]), np.uint8)
        if sum(sizes) != len(data):
            raise WeightsError(
                f"the shards in {folder} hold {len(data)} bytes of weights, but {FILE} lists {sum(sizes)}; install it "
                "again"
            )
        start = 0
        for entry, size in zip(group["weights"], sizes, strict=True):
            values = data[start : start + size].copy().view(_WEIGHT_TYPES[entry["dtype"]])
            weights[entry["name"]] = torch.from_numpy(values.reshape(entry["shape"]))
            start += size
    return weights


def _bytes(entry: Mapping[str, Any], folder: Path) -> int:
    if "quantization" in entry:
        raise WeightsError(f"the weights in {folder} are quantised ({entry['name']!r}); only whole ones can be run")
    if entry["dtype"] not in _WEIGHT_TYPES:
        raise WeightsError(
            f"the weight {entry['name']!r} in {folder} is {entry['dtype']}; {', '.join(_WEIGHT_TYPES)} can be run"
        )
    return math.prod(entry["shape"]) * np.dtype(_WEIGHT_TYPES[entry["dtype"]]).itemsize
