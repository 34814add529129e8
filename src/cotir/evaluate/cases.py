"""Test pictures: of a bench's test split, of two folders paired by name, or photographs without a reference."""

import hashlib
import io
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import numpy as np
from PIL import Image

from cotir import files
from cotir.bench.shards import Bench
from cotir.bench.tars import file_sha256
from cotir.errors import ConfigError, ImageError
from cotir.evaluate.methods import Pixels
from cotir.image import Picture, quantise
from cotir.prompts import DEFAULT_INSTRUCTION, Instruction

REAL, PAIRS = "real", "pairs"
"""Degradation types and groups of pictures of which nobody knows what is wrong with them; of pairs there is HQ."""


@dataclass(frozen=True, eq=False)
class Pair:
    """The pixels of a test picture."""

    lq: Pixels
    hq: Pixels | None


@dataclass(frozen=True)
class Case:
    """A test picture without its pixels, which :meth:`load` reads."""

    key: str
    deg: str
    """Degradation type, ``clean``, ``pairs`` or ``real``."""
    group: str
    """``single``, ``seen``, ``unseen`` or ``clean``, of a bench; else ``pairs`` or ``real``."""
    kinds: tuple[str, ...] | None
    """What is wrong with it, in light-path order; None where nobody knows."""
    severities: tuple[float, ...]
    """Of the kinds, in [0, 1]."""
    photo: str
    """What it was made from; pictures of one photo are not independent."""
    instruction: Instruction | None
    """None where there is only the default instruction, which is vague."""
    load: Callable[[], Pair]
    """Read the pixels; raises :class:`ImageError` or :class:`ConfigError` where they cannot be read."""

    def words(self, prompt: str) -> str | None:
        """The instruction of a form, empty for ``none``; None where there is no such instruction."""
        if prompt == "none":
            return ""
        if self.instruction is None:
            return DEFAULT_INSTRUCTION if prompt == "vague" else None
        return getattr(self.instruction, prompt)


@dataclass(frozen=True)
class TestSet:
    """Test pictures, and what tells this set from another."""

    __test__ = False  # pytest must not take it for a test

    name: str
    fingerprint: str
    cases: tuple[Case, ...]
    has_reference: bool
    ignored: tuple[Path, ...] = ()
    """Files of the folders that are no pictures, by their endings."""

    def first(self, count: int | None) -> "TestSet":
        """At most ``count`` pictures, spread over the set; all of them if None."""
        if count is None or count >= len(self.cases):
            return self
        places = np.linspace(0, len(self.cases) - 1, count).round().astype(int)
        cases = tuple(self.cases[place] for place in places)
        return replace(self, fingerprint=digest([self.fingerprint, *(case.key for case in cases)]), cases=cases)


def of_bench(root: Path) -> TestSet:
    """The test split of a bench.

    Raises:
        ConfigError: it cannot be read, or has no test split.
    """
    bench = Bench(root, "test")
    if not len(bench):
        raise ConfigError(f"{root}: the bench has no test split; build it with 'test' samples in its recipe file")
    cases = []
    for number in range(len(bench)):
        meta = bench.meta(number)
        kinds = tuple(each.kind for each in meta.applied)
        severities = tuple(each.severity for each in meta.applied)
        load = _BenchLoader(bench, number)
        words, photo = meta.instruction, meta.source.file
        cases.append(Case(meta.key, meta.deg, meta.group, kinds, severities, photo, words, load))
    columns = (bench.table[name].to_pylist() for name in ("key", "hq_sha256", "lq_sha256", "meta_sha256"))
    return TestSet(str(root), digest(sorted(map(str, zip(*columns, strict=True)))), tuple(cases), has_reference=True)


def of_folders(lq: Path, hq: Path) -> TestSet:
    """Pictures of two folders that have the same names but for their endings.

    All are read once before anything is restored: a bad pair among many would else be found hours later.

    Raises:
        ConfigError: a folder cannot be read or is empty, or pictures have no partner, one of another size or an alpha
            channel, or cannot be read.
    """
    inputs, wanted = find_pictures(lq), find_pictures(hq)
    for one, other, names in ((lq, hq, inputs.keys() - wanted.keys()), (hq, lq, wanted.keys() - inputs.keys())):
        if names:
            raise ConfigError(f"{one}: {listed(names)} has no partner in {other}; pairs have one name")
    cases = tuple(
        Case(key, PAIRS, PAIRS, None, (), key, None, _FileLoader(inputs[key], wanted[key])) for key in sorted(inputs)
    )
    troubles = [trouble for case in cases if (trouble := _trouble(case))]
    if troubles:
        raise ConfigError(
            f"{len(troubles):,} of {len(cases):,} pairs cannot be compared; mend them or take them out: "
            + "; ".join(troubles[:5])
            + ("; ..." if len(troubles) > 5 else "")
        )
    mark = fingerprint([*inputs.values(), *wanted.values()])
    return TestSet(f"{lq} and {hq}", mark, cases, has_reference=True, ignored=(*_no_pictures(lq), *_no_pictures(hq)))


def of_photos(folder: Path) -> TestSet:
    """Photographs without a reference.

    Raises:
        ConfigError: the folder cannot be read or holds none.
    """
    found = find_pictures(folder)
    cases = tuple(Case(key, REAL, REAL, None, (), key, None, _FileLoader(found[key], None)) for key in sorted(found))
    mark = fingerprint(found.values())
    return TestSet(str(folder), mark, cases, has_reference=False, ignored=_no_pictures(folder))


def find_pictures(folder: Path) -> dict[str, Path]:
    """The pictures of a folder, without its sub-folders, by their names without ending.

    Raises:
        ConfigError: it cannot be read, holds no picture, or two that differ in their ending alone.
    """
    try:
        paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in files.SUFFIXES and path.is_file())
    except OSError as error:
        raise ConfigError(f"{folder}: cannot be read ({error.strerror}); name a folder of pictures") from error
    if not paths:
        raise ConfigError(f"{folder}: holds no picture ({', '.join(files.SUFFIXES)})")
    found: dict[str, Path] = {}
    for path in paths:
        if path.stem in found:
            raise ConfigError(f"{folder}: {found[path.stem].name} and {path.name} have one name; keep one of them")
        found[path.stem] = path
    return found


def _no_pictures(folder: Path) -> tuple[Path, ...]:
    """Files that :func:`find_pictures` passes over; hidden ones are nobody's pictures."""
    files_there = (path for path in sorted(folder.iterdir()) if path.is_file() and not path.name.startswith("."))
    return tuple(path for path in files_there if path.suffix.lower() not in files.SUFFIXES)


def read_pixels(path: Path) -> Pixels:
    """A picture at 8 bits, as metrics compare it.

    Raises:
        ImageError: it cannot be read, or has an alpha channel.
    """
    return _pixels(files.read(path), str(path))


def encode_png(pixels: Pixels) -> bytes:
    """A picture as a PNG file."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def listed(names: Iterable[str], most: int = 5) -> str:
    """Names for a message: the first few, and how many more."""
    ordered = sorted(names)
    rest = len(ordered) - most
    return ", ".join(ordered[:most]) + (f" and {rest:,} more" if rest > 0 else "")


def digest(parts: Iterable[str]) -> str:
    """SHA-256 of texts, in hex."""
    return hashlib.sha256("\n".join(parts).encode(errors="surrogateescape")).hexdigest()


@dataclass(frozen=True)
class _BenchLoader:
    bench: Bench
    number: int

    def __call__(self) -> Pair:
        sample = self.bench[self.number]
        lq, hq = (
            _decode(data, f"{sample.meta.key}.{part}.png") for data, part in ((sample.lq, "lq"), (sample.hq, "hq"))
        )
        return _paired(lq, hq, sample.meta.key)


@dataclass(frozen=True)
class _FileLoader:
    lq: Path
    hq: Path | None

    def __call__(self) -> Pair:
        lq = read_pixels(self.lq)
        return Pair(lq, None) if self.hq is None else _paired(lq, read_pixels(self.hq), str(self.lq))


def _trouble(case: Case) -> str:
    """Why a pair cannot be compared, empty where it can."""
    try:
        case.load()
    except ImageError as error:
        return str(error)
    return ""


def _paired(lq: Pixels, hq: Pixels, name: str) -> Pair:
    if lq.shape != hq.shape:
        sizes = " and ".join(f"{each.shape[1]}x{each.shape[0]}" for each in (lq, hq))
        raise ImageError(f"{name}: LQ and HQ are {sizes}; pairs are of one size, none is cropped")
    return Pair(lq, hq)


def _decode(data: bytes, name: str) -> Pixels:
    return _pixels(files.decode(data, name=name), name)


def _pixels(picture: Picture, name: str) -> Pixels:
    if picture.carried.alpha is not None:
        raise ImageError(f"{name}: has an alpha channel, which metrics cannot compare; flatten it first")
    return cast(Pixels, quantise(picture.pixels, 8))


def fingerprint(paths: Iterable[Path]) -> str:
    """Tells one set of files from another by names and contents, wherever they lie."""
    return digest(f"{path.name} {path.stat().st_size} {file_sha256(path)}" for path in paths)
