"""The photos a benchmark is made from: found, checked, credited, and split so that none is in both train and test."""

import csv
import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cotir.bench.schema import Source, Split
from cotir.errors import ConfigError, ImageError
from cotir.files import decode
from cotir.image import quantise

SOURCES = "SOURCES.csv"
"""Optional, in the photo folder: columns ``file`` and any of ``licence`` (or ``license``) and ``author``."""

_FILE = ("file", "filename", "name", "path")
_LICENCE = ("licence", "license")
_AUTHOR = ("author", "artist", "photographer", "creator", "credit")


@dataclass(frozen=True)
class Inspection:
    """What was found in one file; ``problem`` is empty where it is a photo to use."""

    file: str
    sha256: str = ""
    pixels_sha256: str = ""
    problem: str = ""


@dataclass(frozen=True)
class Skipped:
    """A file that no sample is made from, and why."""

    file: str
    reason: str


@dataclass(frozen=True)
class Survey:
    """A photo folder, sorted out."""

    sources: tuple[Source, ...]
    """Usable photos, sorted by their hash, so that names and order on the disk do not matter."""
    skipped: tuple[Skipped, ...]


class Inspector:
    """Looks at files of a folder; made once in every worker."""

    def __init__(self, root: Path, size: int) -> None:
        self._root, self._size = root, size

    def __call__(self, file: str) -> Inspection:
        """Read one file, named relative to the folder, whole."""
        try:
            data = (self._root / file).read_bytes()
        except OSError as error:
            return Inspection(file, problem=f"cannot be read ({error.strerror or error})")
        try:
            picture = decode(data, name=file)
        except ImageError as error:
            return Inspection(file, problem=str(error).removeprefix(f"{file}: "))
        if min(picture.width, picture.height) < self._size:
            return Inspection(file, problem=f"is {picture.width} x {picture.height}; each side needs {self._size}")
        alpha = picture.alpha(8)
        if alpha is not None and (alpha < 255).any():
            return Inspection(file, problem="is transparent in places; flatten it first")
        pixels = quantise(picture.pixels, 8)
        shape = f"{picture.width}x{picture.height}:".encode()
        return Inspection(file, hashlib.sha256(data).hexdigest(), hashlib.sha256(shape + pixels.tobytes()).hexdigest())


def find_files(root: Path) -> list[str]:
    """All files of a folder and the folders below, relative to it and sorted; hidden ones and the credits left out.

    Raises:
        ConfigError: it is no folder, or holds no file.
    """
    if not root.is_dir():
        raise ConfigError(f"{root}: is no folder; name a folder of clean photos")
    below = (path.relative_to(root) for path in root.rglob("*") if path.is_file())
    files = sorted(p.as_posix() for p in below if not any(part.startswith(".") for part in p.parts))
    files = [file for file in files if file != SOURCES]
    if not files:
        raise ConfigError(f"{root}: holds no file; name a folder of clean photos")
    return files


def settle(inspections: Iterable[Inspection], credits: Mapping[str, Source]) -> Survey:
    """Sort out what was found, in whatever order it comes: of equal pictures the first by name stays."""
    sources: list[Source] = []
    skipped: list[Skipped] = []
    first: dict[str, str] = {}
    for found in sorted(inspections, key=lambda each: each.file):
        if found.problem:
            skipped.append(Skipped(found.file, found.problem))
            continue
        earlier = first.setdefault(found.pixels_sha256, found.file)
        if earlier != found.file:
            skipped.append(Skipped(found.file, f"is the same picture as {earlier}"))
            continue
        credit = credits.get(found.file) or Source("", found.file)
        sources.append(Source(found.sha256, found.file, credit.licence, credit.author))
    return Survey(tuple(sorted(sources, key=lambda source: source.sha256)), tuple(skipped))


def read_credits(root: Path) -> dict[str, Source]:
    """Licences and authors by file, from ``SOURCES.csv`` if there is one; other columns are ignored.

    Raises:
        ConfigError: the file cannot be read, or has no column for the file's name.
    """
    path = root / SOURCES
    if not path.is_file():
        return {}
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            return dict(_credits(csv.DictReader(file), path))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ConfigError(f"{path}: cannot be read ({error}); save it as CSV in UTF-8") from error


def split_photos(sources: Sequence[Source], part: float) -> dict[Split, tuple[Source, ...]]:
    """Hold out about ``part`` of the photos for the test split, by their hashes alone.

    A photo stays on its side when others come or go, except that each side keeps at least one.

    Raises:
        ConfigError: there are not enough photos.
    """
    if not sources:
        raise ConfigError("there is no usable photo; see the reasons above")
    if part == 0:
        return {"train": tuple(sources), "test": ()}
    if len(sources) < 2:
        raise ConfigError("there is one usable photo; train and test share none: give two, or hold none out")
    ranked = sorted(sources, key=lambda source: _draw(source.sha256))
    count = sum(_draw(source.sha256) < part for source in sources)
    held = set(ranked[: min(max(count, 1), len(sources) - 1)])
    return {
        "train": tuple(source for source in sources if source not in held),
        "test": tuple(source for source in sources if source in held),
    }


def write_credits(splits: Mapping[Split, Sequence[Source]]) -> str:
    """The benchmark's own ``SOURCES.csv``: every photo used, its hash, split, licence and author."""
    rows = [(source, split) for split, sources in splits.items() for source in sources]
    rows.sort(key=lambda row: row[0].file)
    lines = [("file", "licence", "author", "sha256", "split")]
    lines += [(source.file, source.licence, source.author, source.sha256, split) for source, split in rows]
    return "".join(",".join(map(_quoted, line)) + "\n" for line in lines)


def _draw(sha256: str) -> float:
    """A number in [0, 1) that belongs to a photo."""
    return int(hashlib.sha256(f"split {sha256}".encode()).hexdigest()[:13], 16) / 16**13


def _credits(rows: "csv.DictReader[str]", path: Path) -> Iterator[tuple[str, Source]]:
    columns = {(name or "").strip().lower(): name for name in rows.fieldnames or ()}

    def column(names: Sequence[str]) -> str | None:
        return next((columns[name] for name in names if name in columns), None)

    file, licence, author = column(_FILE), column(_LICENCE), column(_AUTHOR)
    if file is None:
        raise ConfigError(f"{path}: has the columns {', '.join(columns)}; it needs one called file")
    for row in rows:
        name = (row[file] or "").strip().removeprefix("./")
        words = [(row[each] or "").strip() if each else "" for each in (licence, author)]
        if name:
            yield name, Source("", name, *words)


def _quoted(cell: str) -> str:
    return '"' + cell.replace('"', '""') + '"' if any(mark in cell for mark in ',"\n\r') else cell
