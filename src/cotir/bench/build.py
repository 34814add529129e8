"""Building a benchmark: photos surveyed, samples shared out over shards, shards made by workers, all of it described.

A shard is the unit of work and of resumption. Beside the shards a build keeps ``.parts``: what it is a build of, and an
index of every finished shard. A killed build, run again, takes up what has both a shard and an index, makes the rest,
and ends with the same bytes. ``manifest.json`` comes last, so where it is, all is.
"""

import json
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from cotir.bench.executor import run
from cotir.bench.generator import Generator, Material, TraceWriter
from cotir.bench.layout import write_prompts, write_test_list
from cotir.bench.manifest import BUILD, MANIFEST, PARTS, as_text, check_folder, facts_of, manifest_of
from cotir.bench.order import Job, Order, jobs_of
from cotir.bench.photos import (
    SOURCES,
    Inspector,
    Skipped,
    find_files,
    read_credits,
    settle,
    split_photos,
    write_credits,
)
from cotir.bench.schema import Split
from cotir.bench.tars import (
    INDEX,
    Row,
    index_files,
    index_shard,
    remove_partial,
    test_files,
    to_table,
    write_files,
    write_index,
    write_shard,
    write_whole,
)
from cotir.errors import ConfigError


@dataclass(frozen=True)
class Outcome:
    """What came of a job."""

    job: Job
    samples: int
    bytes: int
    made: bool
    """False where it was there already."""
    usage: Mapping[str, float]
    """What the trace writer counted."""
    seconds: Mapping[str, float]
    """Where the worker's time went; see :meth:`cotir.bench.generator.Generator.take_seconds`."""


@dataclass(frozen=True)
class Built:
    """A finished benchmark."""

    root: Path
    samples: Mapping[Split, int]
    skipped: tuple[Skipped, ...]
    usage: Mapping[str, float]
    """What the trace writer counted."""
    seconds: Mapping[str, float]
    """Where the workers' time went, all together."""


class Watcher:
    """Is told how a build goes on; this one keeps quiet."""

    def begin(self, stage: str, total: int) -> None:
        """A stage of ``total`` photos or samples begins."""

    def advance(self, count: int, size: int = 0) -> None:
        """So many more are done, in so many bytes; an item that was there already counts without bytes."""

    def skipped(self, photo: Skipped) -> None:
        """A file is left out."""


def build(order: Order, watcher: Watcher | None = None) -> Built:
    """Build a benchmark, or go on with one that was interrupted.

    Raises:
        ConfigError: the photos or the folder cannot be used, or the folder holds another build.
        ImageError: a photo changed while the build ran.
    """
    watcher = watcher or Watcher()
    if order.out.resolve().is_relative_to(order.photos.resolve()):
        raise ConfigError(f"{order.out}: lies in the photo folder, and would be taken for photos; build elsewhere")
    material, skipped = _survey(order, watcher)
    facts = facts_of(order, material)
    check_folder(order.out, facts)
    remove_partial(order.out)
    jobs = jobs_of(order)
    watcher.begin("samples", sum(job.stop - job.start for job in jobs))
    usage: Counter[str] = Counter()
    seconds: Counter[str] = Counter()
    if _is_whole(order.out, jobs):
        watcher.advance(sum(job.stop - job.start for job in jobs))
    else:
        write_whole(order.out / BUILD, as_text(facts))
        start = partial(Builder, material, order.out, order.writer)
        for outcome in run(order.executor, start, jobs, workers=order.workers, address=order.address):
            watcher.advance(outcome.samples, outcome.bytes if outcome.made else 0)
            usage.update(outcome.usage)
            seconds.update(outcome.seconds)
        _finish(order, material, skipped, facts, jobs)
    counts: dict[Split, int] = {
        split: sum(job.stop - job.start for job in jobs if job.split == split) for split in ("train", "test")
    }
    return Built(order.out, counts, skipped, usage, seconds)


class Builder:
    """Does jobs; made once in every worker."""

    def __init__(self, material: Material, out: Path, writer: Callable[[], TraceWriter] | None) -> None:
        self._writer = writer() if writer else None
        self._generator = Generator(material, self._writer)
        self._out = out

    def __call__(self, job: Job) -> Outcome:
        """Make a shard, or find that it is there."""
        part = self._out / PARTS / job.part
        if part.is_file() and (not job.shard or (self._out / job.shard).is_file()):
            return Outcome(job, job.stop - job.start, 0, False, {}, {})
        found = self._indexed(job)
        rows = found or self._made(job)
        write_index(part, [to_table(rows)])
        size = sum(row.hq_bytes + row.lq_bytes + row.meta_bytes for row in rows)
        return Outcome(job, len(rows), size, found is None, self._usage(), self._generator.take_seconds())

    def _indexed(self, job: Job) -> list[Row] | None:
        """The rows of a shard that is there without its index, if it is the right one."""
        if not job.shard or not (self._out / job.shard).is_file():
            return None
        try:
            rows = index_shard(self._out, job.shard)
        except ConfigError:
            return None
        return rows if [row.key for row in rows] == job.keys else None

    def _made(self, job: Job) -> list[Row]:
        recipe = self._generator.material.recipes.by_type[job.deg]
        samples = (self._generator.sample(recipe, job.split, index) for index in range(job.start, job.stop))
        if job.shard:
            write_shard(self._out / job.shard, samples)
            return index_shard(self._out, job.shard)
        for sample in samples:
            write_files(self._out, sample)
        return index_files(self._out, job.keys)

    def _usage(self) -> Mapping[str, float]:
        take = getattr(self._writer, "take_usage", None)
        return take() if take else {}


def _survey(order: Order, watcher: Watcher) -> tuple[Material, tuple[Skipped, ...]]:
    credits = read_credits(order.photos)
    files = find_files(order.photos)
    watcher.begin("photos", len(files))
    found = []
    start = partial(Inspector, order.photos, order.size)
    for inspection in run("local", start, files, workers=min(order.workers, len(files))):
        found.append(inspection)
        watcher.advance(1)
    survey = settle(found, credits)
    for photo in survey.skipped:
        watcher.skipped(photo)
    held_out = order.recipes.test_photos if order.recipes.test_samples else 0.0
    sources = split_photos(survey.sources, held_out)
    return Material(order.photos, order.recipes, sources, order.seed, order.size), survey.skipped


def _is_whole(out: Path, jobs: Iterable[Job]) -> bool:
    """Whether a finished build has all its files, each shard of the right length."""
    if not (out / MANIFEST).is_file() or not (out / INDEX).is_file():
        return False
    sizes = {entry["shard"]: entry["bytes"] for entry in json.loads((out / MANIFEST).read_bytes())["shards"]}
    for job in jobs:
        if job.shard:
            path = out / job.shard
            if not path.is_file() or path.stat().st_size != sizes.get(job.shard):
                return False
        elif not all((out / name).is_file() for key in job.keys for name in test_files(key)):
            return False
    return True


def _finish(
    order: Order, material: Material, skipped: tuple[Skipped, ...], facts: Mapping[str, Any], jobs: Iterable[Job]
) -> None:
    """Write all that describes the shards, the manifest last."""
    out = order.out
    jobs = list(jobs)
    write_index(out / INDEX, _parts(out, jobs))
    write_prompts(out, order.recipes)
    write_test_list(out, (key for job in jobs if job.split == "test" for key in job.keys))
    write_whole(out / SOURCES, write_credits(material.sources).encode())
    write_whole(out / MANIFEST, as_text(manifest_of(order, material, skipped, facts, jobs)))
    shutil.rmtree(out / PARTS)


def _parts(out: Path, jobs: Iterable[Job]) -> Iterator[Any]:
    import pyarrow.parquet as pq

    for job in jobs:
        yield pq.read_table(out / PARTS / job.part)
