"""The whole state of a run on disk: written beside, synced, renamed, and only then are old ones removed.

    checkpoints/step-00000200/
        state.json                  step, data position, multipliers, what the run is made from, sizes of the files
        weights.safetensors         the trained weights
        average.safetensors         their moving average, if one is kept
        optimizer.safetensors       moments by the name of the weight
        random-0.json               random states of process 0, and so on

A folder without its temporary name is whole, unless somebody cut it afterwards: sizes and hashes are checked on the way
back, and a checkpoint that fails is passed over for the one before it.
"""

import json
import os
import random
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.distributed.tensor import DTensor, distribute_tensor

from cotir.bench.tars import file_sha256
from cotir.errors import TrainingError
from cotir.storage import check_keys, read_json, read_safetensors, shapes, write_safetensors

STATE = "state.json"
_NAME = re.compile(r"step-(\d{8})")


@dataclass(frozen=True)
class State:
    """Everything but tensors and random states."""

    step: int
    position: int
    """Samples seen by all processes together."""
    seconds: float
    """Of training, over all sittings."""
    multipliers: Mapping[str, Any]
    problems: int
    """Samples that could not be read so far."""
    skipped: int
    """Steps left out because their loss was not finite."""
    facts: Mapping[str, Any]
    """What the run is made from: the steering keys of its configuration, and fingerprints of base and data."""
    files: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Size and SHA-256 of every other file."""
    format: int = 1


class Checkpoints:
    """The checkpoints of a run.

    Args:
        folder: where they lie.
        keep: how many of the newest stay.
    """

    def __init__(self, folder: Path, keep: int) -> None:
        self.folder, self.keep = folder, keep

    def write(
        self,
        state: State,
        tensors: Mapping[str, Mapping[str, Tensor]],
        rank: int,
        wait: Callable[[], None],
        main: bool,
    ) -> Path:
        """Write a checkpoint; every process calls this at the same step.

        Args:
            state: of the main process.
            tensors: whole tensors by file and name, used by the main process alone.
            rank: of this process.
            wait: returns when every process has called it.
            main: whether this is the main process.

        Returns:
            Its folder.

        Raises:
            OSError: the disk is full or fails; nothing is left behind and older checkpoints stay.
        """
        final = self.folder / f"step-{state.step:08d}"
        part = self.folder / f".step-{state.step:08d}.part"
        try:
            if main:
                shutil.rmtree(part, ignore_errors=True)
                part.mkdir(parents=True)
                for name, group in tensors.items():
                    write_safetensors(group, part / f"{name}.safetensors")
            wait()
            (part / f"random-{rank}.json").write_text(json.dumps(random_state()), encoding="utf-8")
            wait()
            if main:
                self._finish(state, part, final)
        finally:
            if main:
                shutil.rmtree(part, ignore_errors=True)
        wait()
        return final

    def newest(self, note: Callable[[str], None]) -> tuple[State, Path] | None:
        """The newest whole checkpoint, or None if there is none at all; ``note`` is told of every one passed over.

        Raises:
            TrainingError: there are checkpoints and none is whole.
        """
        found = self.steps()
        complaints = []
        for path in found:
            try:
                return self.read_state(path), path
            except TrainingError as error:
                complaints.append(str(error))
                note(f"{error}; taking the one before")
        if complaints:
            raise TrainingError(
                f"no checkpoint in {self.folder} is whole: {'; '.join(complaints)}. Put a whole one back, or train "
                "from the start in another folder (run=FOLDER)"
            )
        return None

    def steps(self) -> list[Path]:
        """Folders of finished checkpoints, the newest first."""
        if not self.folder.is_dir():
            return []
        return sorted((path for path in self.folder.iterdir() if _NAME.fullmatch(path.name)), reverse=True)

    def numbers(self) -> set[int]:
        """Steps that there is a finished checkpoint of."""
        return {int(path.name.removeprefix("step-")) for path in self.steps()}

    @staticmethod
    def read_state(path: Path) -> State:
        """What a checkpoint says, after its files have been compared with it.

        Raises:
            TrainingError: it is not whole; the message names the file.
        """
        try:
            values = json.loads((path / STATE).read_text(encoding="utf-8"))
            state = State(**values)
        except (OSError, ValueError, TypeError) as error:
            raise TrainingError(f"the checkpoint {path} is not whole: {STATE} cannot be read ({error})") from error
        if state.format != 1:
            raise TrainingError(f"the checkpoint {path} has format {state.format}, this version reads format 1")
        for name, facts in state.files.items():
            try:
                data = _facts(path / name)
            except OSError as error:
                raise TrainingError(f"the checkpoint {path} is not whole: {name} is missing ({error})") from error
            if data != facts:
                raise TrainingError(
                    f"the checkpoint {path} is not whole: {name} has {data['bytes']:,} bytes and should have "
                    f"{facts['bytes']:,}" + ("" if data["bytes"] != facts["bytes"] else ", other ones")
                )
        return state

    def _finish(self, state: State, part: Path, final: Path) -> None:
        files = {path.name: _facts(path) for path in sorted(part.iterdir())}
        values = asdict(state) | {"files": files}
        (part / STATE).write_text(json.dumps(values, indent=1), encoding="utf-8")
        for path in part.iterdir():
            _sync(path)
        shutil.rmtree(final, ignore_errors=True)
        part.rename(final)
        _sync(self.folder)
        for old in self.steps()[self.keep :]:
            shutil.rmtree(old, ignore_errors=True)


def random_state() -> dict[str, Any]:
    """The random states of this process, as JSON takes them."""
    version, numbers, gauss = random.getstate()
    name, keys, *rest = np.random.get_state(legacy=True)
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    return {
        "python": [version, list(numbers), gauss],
        "numpy": [name, np.asarray(keys).tolist(), *rest],
        "torch": torch.get_rng_state().tolist(),
        "cuda": [each.cpu().tolist() for each in cuda],
    }


def restore_random_state(path: Path, rank: int) -> None:
    """Set the random states of this process; a process that was not there before keeps its own."""
    file = path / f"random-{rank}.json"
    if not file.is_file():
        return
    state = read_json(file)
    version, numbers, gauss = state["python"]
    random.setstate((version, tuple(numbers), gauss))
    name, keys, *rest = state["numpy"]
    np.random.set_state((name, np.asarray(keys, np.uint32), *rest))
    torch.set_rng_state(torch.tensor(state["torch"], dtype=torch.uint8))
    if torch.cuda.is_available() and len(state["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all([torch.tensor(each, dtype=torch.uint8) for each in state["cuda"]])


def whole(tensor: Tensor) -> Tensor:
    """A tensor on the CPU, gathered from all processes where it is split over them; a collective call then."""
    return (tensor.full_tensor() if isinstance(tensor, DTensor) else tensor).detach().cpu()


def gather(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """:func:`whole` of each."""
    return {name: whole(tensor) for name, tensor in tensors.items()}


def fill(target: Tensor, value: Tensor) -> None:
    """Copy a whole tensor into one that may be split over processes."""
    with torch.no_grad():
        if isinstance(target, DTensor):
            target.copy_(distribute_tensor(value.to(target.device), target.device_mesh, target.placements))
        else:
            target.copy_(value)


def optimizer_tensors(optimizer: torch.optim.Optimizer, trained: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The optimiser's memory as ``<weight>/<moment>``."""
    return {
        f"{name}/{key}": whole(torch.as_tensor(value))
        for name, parameter in trained.items()
        for key, value in optimizer.state.get(parameter, {}).items()
    }


def load_optimizer(
    optimizer: torch.optim.Optimizer, trained: Mapping[str, Tensor], stored: Mapping[str, Tensor]
) -> None:
    """Give an optimiser the memory that :func:`optimizer_tensors` wrote.

    Raises:
        TrainingError: the memory is of other weights.
    """
    memory: dict[str, dict[str, Tensor]] = {name: {} for name in trained}
    for place, value in stored.items():
        name, _, moment = place.rpartition("/")
        if name not in memory:
            raise TrainingError(f"the checkpoint's optimiser has moments of {name}, which is not trained here")
        memory[name][moment] = value
    for name, parameter in trained.items():
        if stored and not memory[name]:
            raise TrainingError(f"the checkpoint's optimiser has no moments of {name}: it belongs to another run")
        for moment, value in memory[name].items():
            # AdamW counts its steps on the CPU; the moments lie where the weight does
            placed = value if value.ndim == 0 else value.to(parameter.device)
            if isinstance(parameter, DTensor) and value.shape == parameter.shape:
                placed = distribute_tensor(placed, parameter.device_mesh, parameter.placements)
            optimizer.state[parameter][moment] = placed.clone()


def load_tensors(path: Path, into: Mapping[str, Tensor]) -> None:
    """Copy a file of tensors into weights of the same names and shapes.

    Raises:
        WeightsError: a tensor is missing, unexpected or of another shape.
    """
    stored = read_safetensors(path)
    check_keys(shapes(into), shapes(stored), source=path)
    for name, target in into.items():
        fill(target, stored[name])


def differences(now: Mapping[str, Any], then: Mapping[str, Any]) -> Iterator[str]:
    """What has changed between two sets of facts, in words."""
    for key in sorted({*now, *then}):
        if now.get(key) != then.get(key):
            yield f"{key} is {now.get(key)!r} and was {then.get(key)!r}"


def _facts(path: Path) -> dict[str, Any]:
    return {"bytes": path.stat().st_size, "sha256": file_sha256(path)}


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
