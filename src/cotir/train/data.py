"""The data of a run: which source it reads, and which pairs every process takes at every step."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import cv2
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from cotir.errors import TrainingError
from cotir.train.bench_source import BenchSource
from cotir.train.config import DataConfig, StageConfig
from cotir.train.edit_source import EditSource
from cotir.train.pairs import Pair, Place, Source
from cotir.train.photo_source import PhotoSource


def make_source(config: DataConfig, seed: int) -> Source:
    """The source that a configuration names."""
    return {"photos": PhotoSource, "edits": EditSource, "bench": BenchSource}[config.source](config, seed)


@dataclass(frozen=True)
class Share:
    """Which part of every step's samples a process takes."""

    rank: int
    world: int

    def positions(self, start: int, stage: StageConfig) -> Iterator[list[int]]:
        """Positions of its micro-batches of one step that begins at ``start``."""
        for micro in range(stage.accumulate):
            first = start + (micro * self.world + self.rank) * stage.batch
            yield list(range(first, first + stage.batch))

    def step_size(self, stage: StageConfig) -> int:
        """Samples of one step over all processes."""
        return stage.batch * stage.accumulate * self.world


class Batches(Sampler[list[Place]]):
    """Places of micro-batches from a step and position on, through all stages, to the end of the run."""

    def __init__(self, stages: tuple[StageConfig, ...], share: Share, step: int, position: int) -> None:
        self.stages, self.share, self.step, self.position = stages, share, step, position

    def __iter__(self) -> Iterator[list[Place]]:
        step, position = self.step, self.position
        for stage in self.stages:
            while step < stage.until:
                for micro in self.share.positions(position, stage):
                    yield [Place(each, stage.crop) for each in micro]
                position += self.share.step_size(stage)
                step += 1


class _Told(Dataset[Any]):
    """Pairs, or the error that stops the run: raised in a worker, it would come out wrapped in a traceback."""

    def __init__(self, source: Source) -> None:
        self.source = source

    def __getitem__(self, place: Place) -> Pair | TrainingError:
        try:
            return self.source[place]
        except TrainingError as error:
            return error


def loader(source: Source, batches: Batches, workers: int) -> Iterator[list[Pair]]:
    """Micro-batches of pairs, made in ``workers`` processes beside, or in this one if 0.

    Raises:
        TrainingError: too many pairs in a row cannot be read.
    """
    made: DataLoader[Any] = DataLoader(
        _Told(source),
        batch_sampler=batches,
        collate_fn=list,
        num_workers=workers,
        prefetch_factor=4 if workers else None,
        worker_init_fn=_quiet,
        generator=torch.Generator(),  # its own: the workers' seed must not be drawn from the run's
    )
    for pairs in made:
        for pair in pairs:
            if isinstance(pair, TrainingError):
                raise pair
        yield pairs


def _quiet(worker: int) -> None:
    """Leave the cores to the training, and signals to the main process, which saves and then ends its workers.

    A terminal sends Ctrl-C to the whole group of processes, and cluster managers send SIGTERM so.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    cv2.setNumThreads(0)
    torch.set_num_threads(1)
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()


def _end_with(parent: int) -> None:
    """End this worker soon after its parent was killed: torch's own look-out waits for a pipe that nobody reads."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)
