"""Shards on the disk: WebDataset tars written whole and byte for byte the same, and their index.

A tar holds, sample after sample, the members of :mod:`cotir.bench.schema`, with no time, owner or mode that could
differ. ``index.parquet`` has a row for every sample: where its members start, how long they are, and their sha256.
Samples of the test split are files of their own; in the index they have no shard.
"""

import hashlib
import os
import secrets
import tarfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, fields
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from cotir.bench.schema import HQ, LQ, MEMBERS, META, Metadata, Sample, Split
from cotir.errors import ConfigError

if TYPE_CHECKING:
    import pyarrow as pa

IMAGE, TEST = "image", "test"
INDEX = "index.parquet"


@dataclass(frozen=True)
class Row:
    """A sample in the index. Offsets are those of a member's first byte in the tar; 0 in the test split."""

    key: str
    split: Split
    group: str
    deg: str
    kinds: tuple[str, ...]
    severities: tuple[float, ...]
    shard: str
    """Relative to the benchmark's folder, with forward slashes; empty in the test split."""
    shard_bytes: int
    shard_sha256: str
    hq_offset: int
    hq_bytes: int
    hq_sha256: str
    lq_offset: int
    lq_bytes: int
    lq_sha256: str
    meta_offset: int
    meta_bytes: int
    meta_sha256: str
    source_sha256: str
    writer: str
    psnr: float | None


@dataclass(frozen=True)
class _Member:
    """What the index keeps of a file in a shard. The pictures themselves go: a whole shard would fill the memory."""

    offset: int
    length: int
    sha256: str
    text: bytes
    """Of the metadata; empty for pictures."""

    @classmethod
    def of(cls, offset: int, data: bytes, suffix: str) -> "_Member":
        return cls(offset, len(data), hashlib.sha256(data).hexdigest(), data if suffix == META else b"")


@contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """Write a file beside its place, put it on the disk and then in its place; after an error there is nothing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.parent / f".cotir-{secrets.token_hex(8)}.part"
    try:
        with partial.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        with suppress(FileNotFoundError):
            partial.unlink()


def write_whole(path: Path, data: bytes) -> None:
    """Write bytes as :func:`whole_file` does."""
    with whole_file(path) as file:
        file.write(data)


def remove_partial(root: Path) -> None:
    """Take away what a killed run has left half-written."""
    for partial in root.rglob(".cotir-*.part"):
        partial.unlink(missing_ok=True)


def shard_path(deg: str, number: int) -> str:
    """Place of a shard in a benchmark's folder."""
    return f"{IMAGE}/{deg}/{deg}-{number:06d}.tar"


def write_shard(path: Path, samples: Iterable[Sample]) -> None:
    """Write samples one by one as they are made; memory holds one at a time."""
    with whole_file(path) as file, tarfile.open(fileobj=file, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for sample in samples:
            for name, data in sample.members():
                # of a fresh TarInfo, time, owner and group are 0 and nameless
                member = tarfile.TarInfo(name)
                member.size = len(data)
                tar.addfile(member, BytesIO(data))
            tar.members.clear()  # pyright: ignore[reportAttributeAccessIssue] - or it remembers every member written


def test_files(key: str) -> tuple[str, str, str]:
    """Places of the pictures (HQ, LQ) and the metadata of a sample of the test split."""
    return f"{TEST}/hq/{key}.png", f"{TEST}/lq/{key}.png", f"{TEST}/meta/{key}.json"


def write_files(root: Path, sample: Sample) -> None:
    """Write a sample of the test split as three files."""
    for place, data in zip(
        test_files(sample.meta.key), (sample.hq, sample.lq, sample.meta.to_json().encode()), strict=True
    ):
        write_whole(root / place, data)


def index_shard(root: Path, shard: str) -> list[Row]:
    """Read a shard of a benchmark's folder from end to end.

    Raises:
        ConfigError: it is no whole tar, or its members are not samples.
    """
    path = root / shard
    members: dict[str, dict[str, _Member]] = {}
    try:
        with tarfile.open(path, "r:") as tar:
            for member in tar:
                key, _, suffix = member.name.partition(".")
                content = tar.extractfile(member)
                if content is None:
                    raise ConfigError(f"{path}: holds {member.name}, which is no file; build the shard again")
                members.setdefault(key, {})[suffix] = _Member.of(member.offset_data, content.read(), suffix)
        size, sha256 = path.stat().st_size, file_sha256(path)
        return [_row(members[key], shard, size, sha256) for key in members]
    except (OSError, tarfile.TarError, KeyError) as error:
        raise ConfigError(f"{path}: is damaged ({error}); delete it and build again") from error


def index_files(root: Path, keys: Sequence[str]) -> list[Row]:
    """Rows of samples of the test split.

    Raises:
        ConfigError: a file is missing.
    """
    try:
        return [_row(_files(root, key), "", 0, "") for key in keys]
    except OSError as error:
        raise ConfigError(f"{error.filename}: cannot be read ({error.strerror}); build again") from error


def to_table(rows: Sequence[Row]) -> "pa.Table":
    """Rows as a table with one column for every field of :class:`Row`."""
    import pyarrow as pa

    types: dict[Any, pa.DataType] = {str: pa.string(), int: pa.int64()}
    special = {"kinds": pa.list_(pa.string()), "severities": pa.list_(pa.float64()), "psnr": pa.float64()}
    schema = pa.schema([(f.name, special.get(f.name) or types.get(f.type, pa.string())) for f in fields(Row)])
    return pa.Table.from_pylist([asdict(row) for row in rows], schema=schema)


def write_index(path: Path, tables: Iterable["pa.Table"]) -> None:
    """Write an index part by part; equal rows give equal bytes."""
    import pyarrow.parquet as pq

    with whole_file(path) as file, pq.ParquetWriter(file, to_table(()).schema, compression="zstd") as writer:
        for table in tables:
            writer.write_table(table)


def file_sha256(path: Path) -> str:
    """Of a whole file, read in pieces."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _files(root: Path, key: str) -> dict[str, _Member]:
    places = zip(MEMBERS, test_files(key), strict=True)
    return {suffix: _Member.of(0, (root / place).read_bytes(), suffix) for suffix, place in places}


def _row(members: dict[str, _Member], shard: str, size: int, sha256: str) -> Row:
    meta = Metadata.from_json(members[META].text)
    places: dict[str, Any] = {}
    for name, suffix in (("hq", HQ), ("lq", LQ), ("meta", META)):
        member = members[suffix]
        places |= {f"{name}_offset": member.offset, f"{name}_bytes": member.length, f"{name}_sha256": member.sha256}
    return Row(
        key=meta.key,
        split=meta.split,
        group=meta.group,
        deg=meta.deg,
        kinds=tuple(each.kind for each in meta.applied),
        severities=tuple(each.severity for each in meta.applied),
        shard=shard,
        shard_bytes=size,
        shard_sha256=sha256,
        source_sha256=meta.source.sha256,
        writer=meta.writer,
        psnr=meta.psnr,
        **places,
    )
