"""What a benchmark's folder says about itself: the build it is of, its recipes, counts, photos left out and shards."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from cotir.bench.generator import Material
from cotir.bench.order import Job, Order
from cotir.bench.photos import SOURCES, Skipped
from cotir.bench.recipes import to_plain
from cotir.bench.schema import GENERATOR
from cotir.bench.tars import IMAGE, INDEX, TEST, file_sha256
from cotir.errors import ConfigError

MANIFEST, PARTS = "manifest.json", ".parts"
BUILD = f"{PARTS}/build.json"
_FORMAT = 1
"""Of the manifest and the index; raised when an old reader could misread a new benchmark."""


def facts_of(order: Order, material: Material) -> dict[str, Any]:
    """All that the bytes of a benchmark depend on."""
    recipes = {
        "recipes": [to_plain(recipe) for recipe in order.recipes],
        "crops_per_photo": order.recipes.crops_per_photo,
        "samples_per_shard": order.recipes.samples_per_shard,
        "test": {"photos": order.recipes.test_photos, "samples": order.recipes.test_samples},
    }
    photos = {split: [asdict(source) for source in sources] for split, sources in material.sources.items()}
    return {
        "format": _FORMAT,
        "generator": GENERATOR,
        "opencv": cv2.__version__,
        "numpy": np.__version__,
        "samples": order.samples,
        "size": order.size,
        "seed": order.seed,
        "traces": order.traces,
        "recipes": _digest(recipes),
        "photos": _digest(photos),
    }


def check_folder(out: Path, facts: Mapping[str, Any]) -> None:
    """Raise ConfigError where a folder holds another build, or something else."""
    if out.exists() and not out.is_dir():
        raise ConfigError(f"{out}: is a file; name a folder to build in")
    found = next((path for path in (out / MANIFEST, out / BUILD) if path.is_file()), None)
    if found is None:
        if any((out / name).exists() for name in (IMAGE, TEST, INDEX)):
            raise ConfigError(f"{out}: holds another benchmark; name a new folder")
        return
    try:
        there = json.loads(found.read_bytes())
        there = there.get("build", there)
    except (ValueError, AttributeError) as error:
        raise ConfigError(f"{found}: cannot be read ({error}); delete {out} or name a new folder") from error
    differing = [name for name in facts if there.get(name) != facts[name]]
    if differing:
        which = ", ".join(f"{name} was {there.get(name)!r} and is {facts[name]!r}" for name in differing)
        raise ConfigError(f"{out}: holds another build ({which}); name a new folder, or use the old arguments")


def manifest_of(
    order: Order, material: Material, skipped: Sequence[Skipped], facts: Mapping[str, Any], jobs: Sequence[Job]
) -> dict[str, Any]:
    """Describe a build whose index is written; equal builds give equal manifests."""
    counts = {
        (deg, split): sum(job.stop - job.start for job in jobs if (job.deg, job.split) == (deg, split))
        for deg in order.recipes.by_type
        for split in ("train", "test")
    }
    return {
        "build": facts,
        "samples": {split: sum(n for (_, s), n in counts.items() if s == split) for split in ("train", "test")},
        "photos": {split: len(sources) for split, sources in material.sources.items()},
        "skipped": [asdict(photo) for photo in skipped],
        "recipes": [
            {**to_plain(recipe), "train": counts[recipe.deg, "train"], "test": counts[recipe.deg, "test"]}
            for recipe in order.recipes
        ],
        "shards": _shards(order.out),
        "files": {name: file_sha256(order.out / name) for name in (INDEX, SOURCES, f"{TEST}/test.jsonl")
                  if (order.out / name).is_file()},
    }  # fmt: skip


def _shards(out: Path) -> list[dict[str, Any]]:
    import pyarrow.parquet as pq

    names = ("shard", "shard_bytes", "shard_sha256")
    shards: dict[str, dict[str, Any]] = {}
    for batch in pq.ParquetFile(out / INDEX).iter_batches(columns=list(names)):
        for shard, size, sha256 in zip(*(batch.column(name).to_pylist() for name in names), strict=True):
            if shard:
                entry = shards.setdefault(shard, {"shard": shard, "samples": 0, "bytes": size, "sha256": sha256})
                entry["samples"] += 1
    return list(shards.values())


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def as_text(value: Any) -> bytes:
    """Indented JSON, the file's bytes."""
    return (json.dumps(value, indent=1, ensure_ascii=False) + "\n").encode()
