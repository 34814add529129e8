"""What to restore: names, folders and patterns of the command line, as groups of pictures found one folder at a time.

Only names are looked at here. No picture is opened, and no more than one folder's names are held at once.
"""

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from glob import glob, has_magic
from pathlib import Path

from cotir.files import SUFFIXES

_EARLIER = re.compile(r"(.+)_(restored|compare)")


@dataclass(frozen=True)
class Group:
    """Names of pictures in one folder, found under the input folder ``root`` or named one by one (``root`` is None)."""

    folder: Path
    names: Sequence[str]
    root: Path | None = None


@dataclass(frozen=True)
class Survey:
    """What a walk through the inputs found."""

    pictures: int
    left_out: int
    """Outputs of earlier runs among the inputs."""
    unreadable: tuple[tuple[Path, str], ...]
    """Folders that could not be listed, and why."""
    folders: frozenset[str]
    """Resolved paths of all folders walked."""


@dataclass
class _Tally:
    left_out: int
    unreadable: dict[Path, str]
    folders: set[str]


@dataclass(frozen=True)
class Inputs:
    """Everything named on the command line, patterns already expanded.

    Names that do not exist stay among ``files``: reading them says what is wrong. Files and folders with a dot in front
    are not looked at unless named, and links to folders are not followed.
    """

    files: tuple[Path, ...]
    folders: tuple[Path, ...]
    left_out: int = 0
    recursive: bool = False
    excluded: Path | None = None
    """A folder that is not walked into, because results go there."""

    @classmethod
    def of(cls, arguments: Sequence[str], *, recursive: bool = False, excluded: Path | None = None) -> "Inputs":
        """Sort out arguments: a name that exists is taken as it is, another one as a pattern if it can be one.

        An output of an earlier run is left out where its original is named as well, as a shell's ``*.jpg`` does.
        """
        named: dict[tuple[str, str], Path] = {}
        folders: dict[str, Path] = {}
        for argument in arguments:
            for path in _expanded(argument):
                if path.is_dir():
                    folders.setdefault(os.path.realpath(path), path)
                else:
                    named.setdefault(_place(path), path)
        files = list(named.values())
        originals = {(path.parent, original) for path in files for original in _names_of(path)}
        kept = tuple(path for path in files if not any((path.parent, name) in originals for name in _original(path)))
        return cls(kept, tuple(folders.values()), len(files) - len(kept), recursive, excluded)

    def groups(self) -> Iterator[Group]:
        """The pictures: first those named, then folder by folder, sorted by name."""
        yield from self._groups(_Tally(0, {}, set()))

    @cached_property
    def survey(self) -> Survey:
        """Count what :meth:`groups` will give."""
        tally = _Tally(self.left_out, {}, set())
        pictures = sum(len(group.names) for group in self._groups(tally))
        return Survey(pictures, tally.left_out, tuple(tally.unreadable.items()), frozenset(tally.folders))

    def own(self, path: Path) -> bool:
        """Whether a path is one of the pictures to restore."""
        real = os.path.realpath(path)
        if real in self._named:
            return True
        folder, name = os.path.split(real)
        return folder in self.survey.folders and _is_picture(name) and not _is_output(name)

    @cached_property
    def _named(self) -> frozenset[str]:
        return frozenset(os.path.realpath(path) for path in self.files)

    def _groups(self, tally: _Tally) -> Iterator[Group]:
        named = {_place(path) for path in self.files}
        together: dict[Path, list[str]] = {}
        for path in self.files:
            together.setdefault(path.parent, []).append(path.name)
        for folder, names in together.items():
            yield Group(folder, names)
        for root in self.folders:
            pending = [root]
            while pending:
                folder = pending.pop()
                real = os.path.realpath(folder)
                if real in tally.folders or (folder != root and real == self._barred):
                    continue
                tally.folders.add(real)
                pictures, below = _listed(folder, tally)
                names = [name for name in pictures if (real, name) not in named]
                if names:
                    yield Group(folder, names, root)
                if self.recursive:
                    pending.extend(folder / name for name in reversed(below))

    @cached_property
    def _barred(self) -> str | None:
        return None if self.excluded is None else os.path.realpath(self.excluded)


def _expanded(argument: str) -> list[Path]:
    path = Path(argument)
    if os.path.lexists(path) or not has_magic(argument):
        return [path]
    found = [Path(name) for name in sorted(glob(argument, recursive=True))]  # noqa: PTH207 - Path's takes no absolute pattern
    return [match for match in found if _is_picture(match.name) and not match.is_dir()] or [path]


def _listed(folder: Path, tally: _Tally) -> tuple[list[str], list[str]]:
    """Names of a folder's pictures and sub-folders, each sorted."""
    pictures, below = [], []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                if entry.is_dir():
                    below += [] if entry.is_symlink() else [entry.name]
                elif _is_picture(entry.name):
                    pictures.append(entry.name)
    except OSError as error:
        tally.unreadable[folder] = error.strerror or type(error).__name__
        return [], []
    fresh = sorted(name for name in pictures if not _is_output(name))
    tally.left_out += len(pictures) - len(fresh)
    return fresh, sorted(below)


def _place(path: Path) -> tuple[str, str]:
    """What makes two spellings the same file; a link and what it points at are two."""
    return os.path.realpath(path.parent), path.name


def _is_picture(name: str) -> bool:
    return not name.startswith(".") and Path(name).suffix.lower() in SUFFIXES


def _is_output(name: str) -> bool:
    return _EARLIER.fullmatch(Path(name).stem) is not None


def _names_of(path: Path) -> tuple[str, str]:
    """What an output of this picture is called before its ``_restored``: see :mod:`cotir.interfaces.targets`."""
    return path.stem, f"{path.stem}_{path.suffix[1:].lower()}"


def _original(path: Path) -> list[str]:
    """The name of the picture that this one is an output of, if it looks like one."""
    match = _EARLIER.fullmatch(path.stem)
    return [match[1]] if match else []
