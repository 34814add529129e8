"""Reading a built benchmark back: any sample at once, all in a shuffled order that can be resumed, or as a stream."""

import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from cotir.bench.schema import HQ, LQ, MEMBERS, META, Metadata, Sample, Split
from cotir.bench.tars import IMAGE, INDEX, Row, test_files
from cotir.errors import ConfigError


class Bench:
    """A built benchmark, for reading any sample.

    Args:
        root: its folder.
        split: which of its samples to count.

    Raises:
        ConfigError: the folder has no readable index.
    """

    def __init__(self, root: str | os.PathLike[str], split: Split = "train") -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        self.root, self.split = Path(root), split
        try:
            self.table = pq.read_table(self.root / INDEX, filters=[("split", "==", split)])
        except (OSError, pa.ArrowException) as error:
            raise ConfigError(f"{self.root / INDEX}: cannot be read ({error}); build the benchmark first") from error

    def __len__(self) -> int:
        """Number of samples."""
        return self.table.num_rows

    def __getitem__(self, number: int) -> Sample:
        """Read one sample by its row, without touching the rest of its shard.

        Raises:
            ConfigError: the shard is not as the index says.
        """
        row = self.row(number)
        parts = ((HQ, row.hq_offset, row.hq_bytes), (LQ, row.lq_offset, row.lq_bytes))
        hq, lq = (self._read(row, *part) for part in parts)
        return Sample(hq, lq, self.meta(number))

    def meta(self, number: int) -> Metadata:
        """Read what is known of one sample by its row, without its pictures.

        Raises:
            ConfigError: the shard is not as the index says.
        """
        row = self.row(number)
        return Metadata.from_json(self._read(row, META, row.meta_offset, row.meta_bytes))

    def row(self, number: int) -> Row:
        """A row of the index."""
        if not 0 <= number < len(self):
            raise IndexError(f"there is no sample {number}; the {self.split} split has {len(self)}")
        values = self.table.slice(number, 1).to_pylist()[0]
        return Row(**{**values, "kinds": tuple(values["kinds"]), "severities": tuple(values["severities"])})

    @cached_property
    def rows_by_type(self) -> dict[str, np.ndarray]:
        """Row numbers (int64) of every degradation type."""
        types = np.asarray(self.table["deg"].to_pylist(), dtype=object)
        return {deg: np.flatnonzero(types == deg) for deg in sorted(set(types))}

    def _read(self, row: Row, suffix: str, offset: int, length: int) -> bytes:
        place = row.shard or test_files(row.key)[MEMBERS.index(suffix)]
        try:
            with (self.root / place).open("rb") as file:
                file.seek(offset)
                data = file.read(length)
        except OSError as error:
            raise ConfigError(f"{self.root / place}: cannot be read ({error.strerror}); build again") from error
        if len(data) != length:
            raise ConfigError(f"{self.root / place}: ends before {row.key}.{suffix}; delete it and build again")
        return data


@dataclass(frozen=True)
class Shuffle:
    """An endless order of samples in which a position is all the state there is.

    The number at a position is computed, not drawn, so that reading can begin anywhere: a run that stopped after
    ``n`` samples goes on from position ``n``, and worker ``k`` of ``w`` takes positions ``k``, ``k + w``, ``k + 2w``...

    With ``balanced``, every round gives one sample of each degradation type, in an order of its own, and a type goes
    through all its samples before one comes again; rare types come as often as common ones. Without it, every round
    gives each sample once.
    """

    rows_by_type: Mapping[str, npt.NDArray[np.int64]]
    seed: int = 0
    balanced: bool = True

    def __post_init__(self) -> None:
        if not self.rows_by_type or not all(len(rows) for rows in self.rows_by_type.values()):
            raise ConfigError("there is nothing to shuffle: a type without samples, or no type at all")

    def __getitem__(self, position: int) -> int:
        """The row number at a position, 0 or more."""
        if position < 0:
            raise IndexError(f"the position is {position}; it begins at 0")
        if not self.balanced:
            rows = self._all
            round_, place = divmod(position, len(rows))
            return int(rows[self._permutation("all", round_, len(rows))[place]])
        round_, place = divmod(position, len(self._types))
        deg = self._types[self._permutation("types", round_, len(self._types))[place]]
        rows = self.rows_by_type[deg]
        turn, within = divmod(round_, len(rows))
        return int(rows[self._permutation(f"type {deg}", turn, len(rows))[within]])

    def numbers(self, start: int = 0, rank: int = 0, world: int = 1) -> Iterator[tuple[int, int]]:
        """Positions and row numbers from a position on, without end: the part of one of ``world`` workers."""
        if not 0 <= rank < world:
            raise ConfigError(f"rank is {rank} of {world}; it must lie between 0 and {world - 1}")
        position = start + (rank - start) % world
        while True:
            yield position, self[position]
            position += world

    @cached_property
    def _types(self) -> list[str]:
        return sorted(self.rows_by_type)

    @cached_property
    def _all(self) -> npt.NDArray[np.int64]:
        return np.sort(np.concatenate(list(self.rows_by_type.values())))

    def _permutation(self, what: str, round_: int, count: int) -> npt.NDArray[np.int64]:
        return _permutation(self.seed, what, round_, count)


def stream(
    root: str | os.PathLike[str], types: Iterable[str] | None = None, *, buffer: int = 0, seed: int = 0
) -> Iterator[Sample]:
    """All training samples once, shard after shard, through webdataset: no index needed, quick on slow disks.

    Args:
        root: the benchmark's folder.
        types: degradation types; all of them if None.
        buffer: samples held back to shuffle with, besides the shards; 0 keeps the order.
        seed: of the shuffling.

    Raises:
        ConfigError: a type has no shard, or webdataset is missing.
    """
    try:
        from webdataset.compat import WebDataset
    except ImportError as error:
        raise ConfigError(f"streaming needs webdataset ({error}); pip install 'cotir[bench]'") from error
    folder = Path(root) / IMAGE
    names = sorted(path.name for path in folder.iterdir()) if types is None and folder.is_dir() else list(types or ())
    shards = []
    for name in names:
        found = sorted(str(path) for path in (folder / name).glob("*.tar"))
        if not found:
            raise ConfigError(f"{folder / name}: there is no shard; the type is spelt otherwise, or not built")
        shards += found
    if not shards:
        raise ConfigError(f"{folder}: there is no shard; build the benchmark first")
    if buffer:
        shards = [shards[number] for number in _permutation(seed, "shards", 0, len(shards))]
    samples: Any = WebDataset(shards, shardshuffle=False, empty_check=False)
    if buffer:
        samples = samples.shuffle(buffer, seed=seed)
    for sample in samples:
        yield Sample(sample[HQ], sample[LQ], Metadata.from_json(sample[META]))


@lru_cache(maxsize=512)
def _permutation(seed: int, what: str, round_: int, count: int) -> npt.NDArray[np.int64]:
    digest = hashlib.sha256(f"{what} {round_} {seed}".encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:16], "big")).permutation(count)
