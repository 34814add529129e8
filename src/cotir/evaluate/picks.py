"""Which pictures of a method are looked at: best, median and worst, or some of those without a reference."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from cotir.evaluate.cases import REAL
from cotir.evaluate.gallery import Number, Picture, Shelf, View
from cotir.evaluate.metrics import METRICS
from cotir.evaluate.records import IMAGES, Row
from cotir.evaluate.tables import IDENTITY, Entry, entries, rows_of
from cotir.files import DAMAGE

SAMPLE = 3
"""Real photos shown of a method."""


def shelves_of(rows: Sequence[Row], run: Path) -> list[Shelf]:
    """Pictures of every method of which some are kept, chosen by PSNR gain, or by PSNR where the input's is unknown.

    Clean pictures are left out, for a restoration cannot gain on them. Real photos are the same few for all.
    """
    real = sorted({row.key for row in rows if row.group == REAL and _is_kept(row)})
    sample = {real[i] for i in np.unique(np.linspace(0, len(real) - 1, SAMPLE).round().astype(int))} if real else set()
    inputs = input_psnr(rows, run)
    shelves = []
    for entry in entries(rows):
        kept = [row for row in rows_of(rows, entry) if _is_kept(row)]
        pictures = _judged(kept, inputs, run)
        pictures += [_picture("sample", row, inputs, run) for row in kept if row.key in sample]
        if pictures:
            shelves.append(Shelf(str(entry), pictures))
    return shelves


def input_psnr(rows: Sequence[Row], run: Path) -> dict[str, float]:
    """PSNR of the damaged pictures by key: of ``identity``, or else of the pictures kept in the run's folder."""
    known = {row.key: _psnr(row) for row in rows_of(rows, Entry(IDENTITY, "none"))}
    return known or dict(_computed({row.key for row in rows if np.isfinite(_psnr(row))}, run / IMAGES))


def _computed(keys: Iterable[str], folder: Path) -> Iterable[tuple[str, float]]:
    for key in keys:
        lq, hq = (_read(folder / name / f"{key}.png") for name in ("lq", "hq"))
        if lq is not None and hq is not None and lq.shape == hq.shape:
            yield key, METRICS["psnr"](lq, hq)


def _judged(rows: Iterable[Row], inputs: Mapping[str, float], run: Path) -> list[Picture]:
    """The best, the median and the worst; of one or two rows, some of these are the same."""
    rows = [row for row in rows if row.group not in ("clean", REAL) and np.isfinite(_psnr(row))]
    gains = {row.key: _psnr(row) - inputs.get(row.key, np.nan) for row in rows}
    if not np.isfinite(list(gains.values())).any():
        gains = {row.key: _psnr(row) for row in rows}
    ranked = sorted((row for row in rows if np.isfinite(gains[row.key])), key=lambda row: gains[row.key])
    if not ranked:
        return []
    names: dict[int, list[str]] = {}
    for name, place in (("best", len(ranked) - 1), ("median", (len(ranked) - 1) // 2), ("worst", 0)):
        names.setdefault(place, []).append(name)
    return [_picture(" and ".join(each), ranked[place], inputs, run) for place, each in names.items()]


def _picture(title: str, row: Row, inputs: Mapping[str, float], run: Path) -> Picture:
    folder = run / IMAGES
    views = [View("LQ", folder / "lq" / f"{row.key}.png"), View("restored", run / str(row.image))]
    if row.group != REAL:
        views.append(View("HQ", folder / "hq" / f"{row.key}.png"))
    psnr, gain = _psnr(row), _psnr(row) - inputs.get(row.key, np.nan)
    numbers = [Number("gain", float(gain), f"{gain:+.2f} dB")] if np.isfinite(gain) else []
    if np.isfinite(psnr):
        numbers.append(Number("psnr", float(psnr), f"PSNR {psnr:.2f} dB"))
    damage = ", ".join(row.kinds).replace("_", " ") or row.deg
    return Picture(title, f"{damage} · {row.key}", views, numbers, row.key)


def _psnr(row: Row) -> float:
    return row.metrics.get("psnr", np.nan)


def _is_kept(row: Row) -> bool:
    return row.image is not None and row.missing is None


def _read(path: Path) -> np.ndarray | None:
    try:
        with Image.open(path) as image:
            return np.asarray(image.convert("RGB"), np.float32) / 255
    except DAMAGE:
        return None
