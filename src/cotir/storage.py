"""Tensors on disk: mapped reads, strict accounting, and folders that appear whole or not at all."""

import errno
import json
import os
import re
import shutil
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from cotir.errors import WeightsError

Shapes = Mapping[str, tuple[int, ...]]

_DIFFUSERS_FILE = "diffusion_pytorch_model.safetensors"
_SPELLED_OUT = 6  # keys of a kind that an error message names before it counts


def shapes(tensors: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    """Return the shape of every tensor."""
    return {key: tuple(value.shape) for key, value in tensors.items()}


def check_keys(needed: Shapes, given: Shapes, *, source: Path | str, hint: str = "") -> None:
    """Account for every tensor.

    Args:
        needed: names and shapes that have to be there.
        given: names and shapes that are.
        source: where they are, for the message.
        hint: what to do about it, for the message.

    Raises:
        WeightsError: one message that names everything missing, unexpected and of the wrong shape.
    """
    wrong = [
        f"{key} is {list(given[key])} and should be {list(needed[key])}"
        for key in needed.keys() & given.keys()
        if given[key] != needed[key]
    ]
    missing, unexpected = needed.keys() - given.keys(), given.keys() - needed.keys()
    if missing or unexpected or wrong:
        problems = [_named("missing", missing), _named("unexpected", unexpected), _named("of the wrong shape", wrong)]
        raise WeightsError("; ".join(filter(None, [f"{source} does not fit", *problems, hint])))


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """Read a safetensors file into CPU tensors that are the file's mapped pages.

    Raises:
        WeightsError: if it is missing or damaged.
    """
    if not path.is_file():
        raise WeightsError(f"{path} does not exist")
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"{path} is not a readable safetensors file: {error}") from error


def read_diffusers(folder: Path) -> dict[str, Tensor]:
    """Read the weights of a diffusers model folder, in one file or in the shards of an index.

    Raises:
        WeightsError: if a file is missing or damaged, or a shard does not hold exactly what the index lists.
    """
    index = folder / f"{_DIFFUSERS_FILE}.index.json"
    if not index.is_file():
        if not (folder / _DIFFUSERS_FILE).is_file():
            raise WeightsError(f"{folder} is no diffusers model folder: no {_DIFFUSERS_FILE} and no index of shards")
        return read_safetensors(folder / _DIFFUSERS_FILE)
    shard_of: dict[str, str] = read_json(index).get("weight_map", {})
    tensors: dict[str, Tensor] = {}
    for shard in sorted(set(shard_of.values())):
        found = read_safetensors(folder / shard)
        listed = [key for key, name in shard_of.items() if name == shard]
        sizes = shapes(found)
        check_keys({key: sizes.get(key, ()) for key in listed}, sizes, source=folder / shard)
        tensors |= found
    return tensors


def write_safetensors(tensors: Mapping[str, Tensor], path: Path) -> None:
    """Write tensors to a safetensors file; tensors that share memory are written each.

    Raises:
        OSError: the disk is full, or fails otherwise.
    """
    seen: set[int] = set()
    separate: dict[str, Tensor] = {}
    for key, tensor in tensors.items():
        tensor = tensor.detach().contiguous()
        separate[key] = tensor.clone() if tensor.data_ptr() in seen else tensor
        seen.add(tensor.data_ptr())
    try:
        save_file(separate, path, metadata={"format": "pt"})
    except SafetensorError as error:  # it wraps what the disk says, as in "... (os error 28)"
        found = re.search(r"os error (\d+)", str(error))
        code = int(found[1]) if found else errno.EIO
        raise OSError(code, os.strerror(code), str(path)) from error


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        WeightsError: if the file is missing or holds something else.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise WeightsError(f"{path} does not exist") from None
    except (OSError, ValueError) as error:
        raise WeightsError(f"{path} is not readable JSON: {error}") from error
    if not isinstance(value, dict):
        raise WeightsError(f"{path} holds a JSON {type(value).__name__}, where an object is needed")
    return value


@contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """Fill a folder beside its final place and rename it at the end; after an error nothing is left.

    Raises:
        WeightsError: if ``folder`` exists.
    """
    if folder.exists():
        raise WeightsError(f"{folder} exists: choose another place, or remove it first")
    part = folder.with_name(f".{folder.name}.{uuid.uuid4().hex}.part")
    part.mkdir(parents=True)
    try:
        yield part
        for path in part.rglob("*"):
            if path.is_file():
                _sync(path)
        part.rename(folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _sync(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _named(kind: str, keys: Iterable[str]) -> str:
    ordered = sorted(keys)
    if not ordered:
        return ""
    more = f" and {len(ordered) - _SPELLED_OUT} more" if len(ordered) > _SPELLED_OUT else ""
    return f"{len(ordered)} {kind} ({', '.join(ordered[:_SPELLED_OUT])}{more})"
