"""Where every result goes: next to its input, into a file, or into a folder that mirrors the input's.

No two results of a run share a name, whatever letter case the file system ignores: where ``a.jpg`` and ``a.png`` would
both become ``a.png``, the first becomes ``a_jpg.png``. Names depend on the inputs alone, so running again finds them.
"""

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cache
from itertools import chain, count
from pathlib import Path

import numpy as np

from cotir.errors import ConfigError
from cotir.files import SUFFIXES, kind_for
from cotir.files.encoder import Kind
from cotir.image import Carried, Picture
from cotir.interfaces.inputs import Group, Inputs

_LONGEST_NAME = 255
"""Bytes of a file name on every common file system."""


class Names:
    """File names already given in one folder."""

    def __init__(self) -> None:
        self._taken: set[str] = set()

    def take(self, source: str, rest: str, *, tagged: bool) -> str:
        """A new name for a result.

        Args:
            source: name of the picture it is made from.
            rest: what follows its stem, with the suffix.
            tagged: tell it from its namesakes by the source's suffix (``a_jpg``) rather than by a number (``a_2``).
        """
        stem, suffix = _split(source)
        tag = f"{stem}_{suffix[1:].lower()}" if tagged and suffix else stem
        bases = chain([stem], [tag] if tag != stem else [], (f"{tag}_{number}" for number in count(2)))
        names = (shortened(base, rest) for base in bases)
        name = next(name for name in names if name.casefold() not in self._taken)
        self._taken.add(name.casefold())
        return name


@dataclass(frozen=True)
class Job:
    """One picture to restore and the names of what comes of it."""

    source: Path
    target: Path
    format: str | None
    """For :func:`cotir.files.write`; None goes by the target's suffix."""
    comparison: Path | None = None
    """The before | after picture, if there is to be one."""
    mark: str = ""
    names: Names = field(default_factory=Names, repr=False)

    @property
    def is_named(self) -> bool:
        """Whether the user wrote the target's very name."""
        return self.format is None

    def settle(self, kind: Kind) -> "Job":
        """The same job with another target where the file turned out to be of another kind than its name says."""
        if self.target.suffix.lower() in kind.suffixes:
            return self
        name = self.names.take(self.source.name, self.mark + kind.suffixes[0], tagged=True)
        return replace(self, target=self.target.with_name(name))


class Targets:
    """Gives every picture its targets.

    Args:
        inputs: what will be restored.
        output: ``-o``; None writes next to the input. An existing folder, a name that ends in a slash or has no
            picture's suffix is a folder, anything else a file.
        format: one of :data:`cotir.files.FORMATS`.
        compare: give every picture a before | after picture too.

    Raises:
        ConfigError: the output does not fit the inputs or the format.
    """

    def __init__(self, inputs: Inputs, output: str | None, *, format: str, compare: bool = False) -> None:
        self._format, self._compare = format, compare
        self._folder = self._file = None
        if output is not None and _is_file_name(output):
            self._file = _checked_file(Path(output), inputs, format)
        elif output is not None:
            self._folder = Path(output)
            if self._folder.exists() and not self._folder.is_dir():
                raise ConfigError(f"-o {output} is no folder and no picture's name; give a folder or a name like a.png")
        self._roots = _roots(inputs)
        self._named: dict[str, Names] = {}

    def jobs(self, group: Group) -> Iterator[Job]:
        """The jobs of a group, in its order."""
        if self._file is not None:
            comparison = self._file.with_name(shortened(self._file.stem, "_compare.png")) if self._compare else None
            yield from (Job(group.folder / name, self._file, None, comparison) for name in group.names)
            return
        folder, mark = self._place(group)
        # a folder's names can be forgotten once it is done, those of files named one by one cannot
        real = os.path.realpath(folder)
        names = self._named.setdefault(real, Names()) if group.root is None else self._named.get(real, Names())
        kept = dict.fromkeys(name for name in group.names if self._ending(name) == _split(name)[1])
        if len(kept) < len(group.names):
            # whoever keeps its suffix chooses first
            kept = {name: names.take(name, mark + _split(name)[1], tagged=False) for name in kept}
        for name in group.names:
            target = kept.get(name) or names.take(name, mark + self._ending(name), tagged=name not in kept)
            comparison = folder / names.take(name, "_compare.png", tagged=True) if self._compare else None
            yield Job(group.folder / name, folder / target, self._format, comparison, mark, names)

    def _place(self, group: Group) -> tuple[Path, str]:
        """The folder of a group's results, and what marks their names."""
        if self._folder is None:
            return group.folder, "_restored"
        if group.root is None:
            return self._folder, ""
        return self._folder / self._roots[group.root] / group.folder.relative_to(group.root), ""

    def _ending(self, name: str) -> str:
        return _ending(_split(name)[1], self._format)


def jobs(inputs: Inputs, targets: Targets) -> Iterator[Job]:
    """All jobs of a run, found while they are asked for."""
    for group in inputs.groups():
        yield from targets.jobs(group)


def output_folder(output: str | None) -> Path | None:
    """The folder results go to, if ``-o`` names one."""
    return None if output is None or _is_file_name(output) else Path(output)


def _is_file_name(output: str) -> bool:
    path = Path(output)
    return path.suffix.lower() in SUFFIXES and not path.is_dir() and not output.endswith(("/", os.sep))


def _checked_file(path: Path, inputs: Inputs, format: str) -> Path:
    if inputs.folders or len(inputs.files) != 1:
        raise ConfigError(f"-o {path} names one file, but there is more than one picture to restore; give a folder")
    kind = _kind(path.suffix[1:].lower() if format == "keep" else format)
    if path.suffix.lower() not in kind.suffixes:
        why = f"{path.suffix} is not written here" if format == "keep" else f"--format is {format}"
        raise ConfigError(f"-o {path}: {why}; end the name in {kind.suffixes[0]}")
    return path


def _roots(inputs: Inputs) -> dict[Path, Path]:
    """Where each input folder is mirrored, under the output: a lone one directly, several each under its own name."""
    if not inputs.files and len(inputs.folders) == 1:
        return {inputs.folders[0]: Path()}
    names = Names()
    return {root: Path(names.take(root.resolve().name, "", tagged=False)) for root in inputs.folders}


def _split(name: str) -> tuple[str, str]:
    """Stem and suffix; a suffix that is no picture's belongs to the stem."""
    stem, suffix = os.path.splitext(name)  # noqa: PTH122 - a path for each of a million names takes too long
    return (stem, suffix) if suffix.lower() in SUFFIXES else (name, "")


@cache
def _kind(format: str) -> Kind:
    return kind_for(Picture(np.zeros((1, 1, 3), np.float32), Carried(format=format)), "the picture", "keep")


@cache
def _ending(suffix: str, format: str) -> str:
    """The suffix of a result, as far as the source's name tells."""
    if format != "keep":
        kind = _kind(format)
    elif suffix:
        kind = _kind(suffix[1:].lower())
    else:
        return ""
    return suffix if suffix.lower() in kind.suffixes else kind.suffixes[0]


def shortened(base: str, rest: str) -> str:
    """``base + rest``, with the base cut, and marked by a digest of it, where a file system would refuse the length."""
    room = _LONGEST_NAME - len(os.fsencode(rest))
    data = os.fsencode(base)
    if len(data) <= room:
        return base + rest
    digest = hashlib.sha256(data).hexdigest()[:8]
    return f"{data[: room - 9].decode(errors='ignore')}-{digest}{rest}"
