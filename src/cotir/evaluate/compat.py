"""Scores folders of results as the released evaluation script does, so that published outputs can be scored again.

Pictures are matched by their full names, ending included, and compared as RGB in [0, 1] without cropping; each folder
of results gets a ``metrics_summary.txt``: a header, and the means joined by `` & ``. The released script leaves out
what has no partner without a word; here it is listed.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from cotir.bench.tars import write_whole
from cotir.colour import unit
from cotir.errors import ConfigError, ImageError
from cotir.evaluate.formulas import Image as Pixels
from cotir.evaluate.metrics import METRICS, Metric
from cotir.files import DAMAGE

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff")
SUMMARY = "metrics_summary.txt"

_RELEASED_NAMES = {"pyiqa_psnr": "psnr", "pyiqa_ssim": "ssim"}
"""Of metrics that are called otherwise here."""


@dataclass(frozen=True)
class Results:
    """A folder of results under the released layout."""

    method: str
    """The name of its row: of the folder itself, or of the one above where there are folders by prompt."""
    folder: Path


@dataclass(frozen=True)
class Summary:
    """The scores of one folder."""

    results: Results
    means: dict[str, float]
    """By metric, in the order of the columns."""
    count: int
    without_reference: tuple[str, ...]
    without_result: tuple[str, ...]

    def text(self) -> str:
        """The two lines of the summary file."""
        names = [_RELEASED_NAMES.get(name, name) for name in self.means]
        values = [f"{value:.{METRICS[name].digits}f}" for name, value in self.means.items()]
        return f"{' & '.join(['method', *names])}\n{' & '.join([self.results.method, *values])}\n"


def find_results(root: Path) -> list[Results]:
    """Folders of results: ``root`` itself, its sub-folders, or one level further down, as ``METHOD/precise``.

    Raises:
        ConfigError: there is none.
    """
    if _pictures(root):
        return [Results(root.resolve().name, root)]
    found: list[Results] = []
    for method in sorted(path for path in root.iterdir() if path.is_dir()):
        folders = [method] if _pictures(method) else sorted(path for path in method.iterdir() if path.is_dir())
        found += [Results(method.name, folder) for folder in folders if _pictures(folder)]
    if not found:
        raise ConfigError(f"{root}: holds no folder of results; they are ROOT, ROOT/METHOD or ROOT/METHOD/PROMPT")
    return found


def summarise(
    results: Results, hq: Path, metrics: Sequence[Metric], told: Callable[[int, int], None] = lambda done, of: None
) -> Summary:
    """Score a folder and write its summary file.

    Args:
        results: the folder.
        hq: folder of the originals.
        metrics: the columns, in order.
        told: is told how many pictures of how many are done.

    Raises:
        ConfigError: no picture has a partner, or a folder cannot be read.
        ImageError: a picture cannot be read or scored.
    """
    restored, wanted = _pictures(results.folder), _pictures(hq)
    shared = sorted(restored.keys() & wanted.keys())
    if not shared:
        raise ConfigError(f"{results.folder}: no picture is named as one of {hq}; names match with their ending")
    scores = []
    for number, name in enumerate(shared, 1):
        scores.append(_score(restored[name], wanted[name], metrics))
        told(number, len(shared))
    means = {metric.name: float(np.mean([each[metric.name] for each in scores])) for metric in metrics}
    alone = (tuple(sorted(names)) for names in (restored.keys() - wanted.keys(), wanted.keys() - restored.keys()))
    summary = Summary(results, means, len(shared), *alone)
    write_whole(results.folder / SUMMARY, summary.text().encode())
    return summary


def _score(restored: Path, wanted: Path, metrics: Sequence[Metric]) -> Mapping[str, float]:
    pictures = _read(restored), _read(wanted)
    try:
        scores = {metric.name: metric(*pictures) for metric in metrics}
    except ImageError as error:
        raise ImageError(f"{restored}: {error}") from error
    undefined = [name for name, value in scores.items() if not np.isfinite(value)]
    if undefined:
        raise ImageError(f"{restored}: {', '.join(undefined)} gave no number; leave the metric or the picture out")
    return scores


def _pictures(folder: Path) -> dict[str, Path]:
    try:
        return {
            path.name: path for path in sorted(folder.iterdir()) if path.suffix.lower() in SUFFIXES and path.is_file()
        }
    except OSError as error:
        raise ConfigError(f"{folder}: cannot be read ({error.strerror}); name a folder of pictures") from error


def _read(path: Path) -> Pixels:
    """As the released script: Pillow's RGB, whatever the file is, over 255."""
    try:
        with Image.open(path) as image:
            return unit(np.asarray(image.convert("RGB")))
    except DAMAGE as error:
        raise ImageError(f"{path}: cannot be read ({error})") from error
