"""Pairs read from a bench that was built: its training split in a shuffled order, its test split for validation."""

from pathlib import Path
from typing import cast

import cv2
import numpy as np

from cotir.bench.layout import PROMPTS
from cotir.bench.shards import Bench, Shuffle
from cotir.errors import ConfigError, ImageError, PromptError
from cotir.prompts import Instruction
from cotir.train.config import DataConfig
from cotir.train.pairs import Pair, Pixels, Place, Source, crop_of, digest, rng_of


class BenchSource(Source):
    """Reads a bench: its training split in a balanced order, its test split for validation.

    Raises:
        ConfigError: the bench is not whole: a shard or a prompt file is missing, short or empty.
    """

    def __init__(self, config: DataConfig, seed: int) -> None:
        self.config, self.seed = config, seed
        self.bench, self.test = Bench(config.path), Bench(config.path, "test")
        if not len(self.bench):
            raise ConfigError(f"{config.path}: the bench has no training sample; build it with --samples")
        self.order = Shuffle(self.bench.rows_by_type, seed, balanced=config.balanced)
        _check_shards(self.bench)
        self.vague = _prompts(config.path / PROMPTS / "gen_prompt.txt")
        folder = config.path / PROMPTS / "spe_prompt"
        self.precise = {deg: _prompts(folder / f"{deg}.txt") for deg in self.bench.rows_by_type}

    def pair(self, place: Place) -> Pair:
        """See :class:`Source`."""
        rng = rng_of(self.seed, "bench", place.position)
        return self._pair(self.bench, self.order[place.position], place, rng)

    def held_out(self, count: int, crop: int) -> list[Pair]:
        """See :class:`Source`."""
        if not len(self.test):
            raise ConfigError(f"{self.config.path}: the bench has no test split to validate on; set validation.every 0")
        order = Shuffle(self.test.rows_by_type, 0)
        return [self._pair(self.test, order[n], Place(n, crop), rng_of(0, "held out", n)) for n in range(count)]

    @property
    def fingerprint(self) -> str:
        """See :class:`Source`."""
        columns = (self.bench.table[name].to_pylist() for name in ("key", "hq_sha256", "lq_sha256", "meta_sha256"))
        return digest(sorted(zip(*columns, strict=True)))

    def _pair(self, bench: Bench, row: int, place: Place, rng: np.random.Generator) -> Pair:
        key = bench.row(row).key
        try:
            sample = bench[row]
        except (ConfigError, PromptError) as error:
            raise type(error)(f"{key}: {error}") from error
        hq, lq = (_decode(data, f"{key}.{part}.png") for data, part in ((sample.hq, "hq"), (sample.lq, "lq")))
        if hq.shape != lq.shape or min(hq.shape[:2]) < place.crop:
            raise ImageError(f"{key}: HQ is {hq.shape[:2]} and LQ {lq.shape[:2]}; a crop of {place.crop} needs both")
        pictures = crop_of(rng, hq, lq, place.crop, self.config.downscale)
        meta = sample.meta
        words = meta.instruction
        if bench is self.bench:
            precise = self.precise[meta.deg]
            vague = self.vague[int(rng.integers(len(self.vague)))]
            words = Instruction(vague, precise[int(rng.integers(len(precise)))])
        return Pair(*pictures, meta.deg, words, meta.trace, place.position)


def _check_shards(bench: Bench) -> None:
    columns = ("shard", "hq_offset", "hq_bytes", "lq_offset", "lq_bytes", "meta_offset", "meta_bytes")
    shards, *numbers = (bench.table[name].to_pylist() for name in columns)
    needed: dict[str, int] = {}
    for shard, *places in zip(shards, *numbers, strict=True):
        needed[shard] = max(needed.get(shard, 0), *(places[i] + places[i + 1] for i in range(0, len(places), 2)))
    for shard, size in needed.items():
        path = bench.root / shard
        if not path.is_file():
            raise ConfigError(
                f"{path}: the shard is missing; run the same 'cotir bench build' again, it makes the rest"
            )
        if path.stat().st_size < size:
            raise ConfigError(
                f"{path}: the shard ends at byte {path.stat().st_size:,} and the index needs {size:,}; delete it and "
                "run the same 'cotir bench build' again"
            )


def _prompts(path: Path) -> tuple[str, ...]:
    try:
        lines = tuple(line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip())
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: the prompt file cannot be read ({error}); build the bench again") from error
    if not lines:
        raise ConfigError(f"{path}: the prompt file is empty; write one instruction a line, or build the bench again")
    return lines


def _decode(data: bytes, name: str) -> Pixels:
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB) if data else None
    if pixels is None:
        raise ImageError(f"{name}: is no readable PNG")
    return cast(Pixels, pixels)
