"""Tiny TensorFlow.js graph-models, written by hand as the converter writes them."""

import base64
import json
from math import pi, sqrt

import numpy as np

from cotir.evaluate.specialists import RELEASE, TASKS

TYPES = {"float32": "DT_FLOAT", "int32": "DT_INT32"}


def attribute(value):
    """A value in the JSON of TensorFlow's attributes."""
    if isinstance(value, bool):
        return {"b": value}
    if isinstance(value, int):
        return {"i": str(value)}
    if isinstance(value, list):
        return {"list": {"i": [str(each) for each in value]}}
    return {"type": value} if value.startswith("DT_") else {"s": base64.b64encode(value.encode()).decode()}


class SmallGraph:
    """Nodes and weights; every method that adds a node returns its name."""

    def __init__(self):
        self.nodes = [{"name": "x", "op": "Placeholder", "attr": {"dtype": {"type": "DT_FLOAT"}}}]
        self.arrays = {}

    def node(self, operation, *inputs, **attributes):
        name = f"n{len(self.nodes)}"
        attr = {key: attribute(value) for key, value in attributes.items()}
        self.nodes.append({"name": name, "op": operation, "input": list(inputs), "attr": attr})
        return name

    def const(self, values, dtype="float32"):
        name = self.node("Const", dtype=TYPES[dtype])
        self.arrays[name] = np.asarray(values, dtype)
        return name

    def ints(self, values):
        return self.const(values, "int32")

    def size_of(self, value):
        """Names of the numbers N, H, W and C of a node's result."""
        shape = self.node("Shape", value)
        return [
            self.node("StridedSlice", shape, self.ints([i]), self.ints([i + 1]), self.ints([1]), shrink_axis_mask=1)
            for i in range(4)
        ]

    def convolution(self, value, kernel, stride=1, padding="SAME"):
        settings = {"strides": [1, stride, stride, 1], "padding": padding, "data_format": "NHWC"}
        return self.node("Conv2D", value, self.const(kernel), **settings)

    def layer_norm(self, value, weight, bias, epsilon):
        """As jax2tf spells it out."""
        n, h, w, _ = self.size_of(value)
        channels, last = len(weight), self.ints([3])
        mean = self.node("Mul", self.node("Sum", value, last), self.const(1 / channels))
        squares = self.node("Mul", self.node("Sum", self.node("Square", value), last), self.const(1 / channels))
        variance = self.node("Maximum", self.const(0), self.node("Sub", squares, self.node("Square", mean)))
        one = self.node("Pack", n, h, w, self.ints(1), axis=0)
        epsilon_added = self.node("AddV2", self.node("Reshape", variance, one), self.const(epsilon))
        slope = self.node("Mul", self.node("Rsqrt", epsilon_added), self.const(np.reshape(weight, (1, 1, 1, -1))))
        deviation = self.node("Sub", value, self.node("Reshape", mean, one))
        return self.node("AddV2", self.node("Mul", deviation, slope), self.const(np.reshape(bias, (1, 1, 1, -1))))

    def gelu(self, value, half=0.5):
        """As jax2tf spells it out."""
        cube = self.node("Mul", self.node("Mul", self.const(0.044715), value), self.node("Square", value))
        inside = self.node("Mul", self.const(sqrt(2 / pi)), self.node("AddV2", value, cube))
        one_more = self.node("AddV2", self.const(1), self.node("Tanh", inside))
        return self.node("Mul", self.node("Mul", value, self.const(half)), one_more)

    def write(self, folder, output, shards=1):
        """Write ``model.json`` and the shards into ``folder``, which is made; returns it."""
        folder.mkdir(parents=True, exist_ok=True)
        data = b"".join(array.tobytes() for array in self.arrays.values())
        names = [f"group1-shard{i + 1}of{shards}.bin" for i in range(shards)]
        for i, name in enumerate(names):
            (folder / name).write_bytes(data[len(data) * i // shards : len(data) * (i + 1) // shards])
        weights = [
            {"name": name, "shape": list(array.shape), "dtype": str(array.dtype)} for name, array in self.arrays.items()
        ]
        identity = {"name": "Identity", "op": "Identity", "input": [output], "attr": {}}
        model = {
            "format": "graph-model",
            "modelTopology": {"node": [*reversed(self.nodes), identity]},
            "signature": {"inputs": {"x": {"name": "x:0"}}, "outputs": {"y": {"name": "Identity:0"}}},
            "weightsManifest": [{"paths": names, "weights": weights}],
        }
        (folder / "model.json").write_text(json.dumps(model), encoding="utf-8")
        return folder


def write_line(folder, factor, summand):
    """A model that gives ``factor * x + summand``."""
    graph = SmallGraph()
    return graph.write(folder, graph.node("AddV2", graph.node("Mul", "x", graph.const(factor)), graph.const(summand)))


LINES = {task.name: (1 - i / 10, i / 20) for i, task in enumerate(TASKS, 1)}
"""Factor and summand of each task's small model: in another order they make another picture."""


def write_specialists(folder, release=RELEASE):
    """All packages as npm installs them into ``folder``, each with its small model; returns ``folder``."""
    for task in TASKS:
        models = write_line(task.folder(folder / "node_modules"), *LINES[task.name])
        (models.parent / "package.json").write_text(json.dumps({"version": release}), encoding="utf-8")
    return folder
