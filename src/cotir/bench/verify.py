"""Whether a built benchmark is what its manifest and index say, to the last byte."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cotir.bench.manifest import MANIFEST
from cotir.bench.tars import IMAGE, INDEX, file_sha256, index_shard, test_files
from cotir.errors import ConfigError, CoTIRError


@dataclass(frozen=True)
class Fault:
    """Something that is not as it should be."""

    file: str
    """Relative to the benchmark's folder."""
    what: str


@dataclass(frozen=True)
class Verdict:
    """What was looked at, and what is wrong with it."""

    shards: int
    samples: int
    faults: tuple[Fault, ...]


def verify(root: Path, on_progress: Callable[[int, int], None] | None = None) -> Verdict:
    """Check every hash of a benchmark: index and lists, shards as wholes, every member, every test file.

    Args:
        root: its folder.
        on_progress: is called with the number of samples checked and their total.

    Raises:
        ConfigError: the folder has no readable manifest, or no index.
    """
    try:
        manifest = json.loads((root / MANIFEST).read_bytes())
        listed, shards, counts = manifest["files"], manifest["shards"], manifest["samples"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{root / MANIFEST}: cannot be read ({error}); the benchmark is not finished") from error
    faults = [fault for name, sha256 in listed.items() for fault in _file(root, name, sha256)]
    total = sum(counts.values())
    checked = 0
    by_shard = _rows(root)
    known = {entry["shard"] for entry in shards}
    for path in sorted((root / IMAGE).rglob("*.tar")):
        name = path.relative_to(root).as_posix()
        if name not in known:
            faults.append(Fault(name, "is not in the manifest; delete it"))
    for entry in shards:
        faults += _shard(root, entry, by_shard.pop(entry["shard"], []))
        checked += entry["samples"]
        if on_progress:
            on_progress(checked, total)
    tests = by_shard.pop("", [])
    for row in tests:
        for name, suffix in zip(test_files(row["key"]), ("hq", "lq", "meta"), strict=True):
            faults += _file(root, name, row[f"{suffix}_sha256"])
    if on_progress:
        on_progress(total, total)
    faults += [Fault(INDEX, f"lists the shard {name}, which the manifest does not have") for name in by_shard]
    if len(tests) != counts["test"]:
        faults.append(Fault(INDEX, f"lists {len(tests)} test samples; the manifest says {counts['test']}"))
    return Verdict(len(shards), checked + len(tests), tuple(faults))


def _rows(root: Path) -> dict[str, list[dict[str, Any]]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = ["key", "shard", *(f"{name}_{what}" for name in ("hq", "lq", "meta") for what in _PLACES)]
    try:
        rows = pq.read_table(root / INDEX, columns=columns).to_pylist()
    except (OSError, pa.ArrowException) as error:
        raise ConfigError(f"{root / INDEX}: cannot be read ({error}); build again") from error
    by_shard: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        by_shard.setdefault(row["shard"], []).append(row)
    return by_shard


_PLACES = ("offset", "bytes", "sha256")


def _file(root: Path, name: str, sha256: str) -> Iterator[Fault]:
    try:
        found = file_sha256(root / name)
    except OSError as error:
        yield Fault(name, f"cannot be read ({error.strerror}); build again")
        return
    if found != sha256:
        yield Fault(name, f"has the sha256 {found[:16]}..., not {sha256[:16]}...; delete it and build again")


def _shard(root: Path, entry: dict[str, Any], rows: list[dict[str, Any]]) -> Iterator[Fault]:
    """Faults of one shard. Its members are looked at only where the whole is right, or all of them would be named."""
    name = entry["shard"]
    faults = list(_file(root, name, entry["sha256"]))
    yield from faults
    if faults:
        return
    try:
        found = index_shard(root, name)
    except CoTIRError as error:
        yield Fault(name, str(error))
        return
    if [row["key"] for row in rows] != [row.key for row in found]:
        yield Fault(name, "holds other samples than the index lists; delete the index and build again")
        return
    for row, there in zip(rows, found, strict=True):
        wrong = [column for column in row if row[column] != getattr(there, column)]
        if wrong:
            yield Fault(name, f"has another {', '.join(wrong)} of {row['key']} than the index says; build again")
