"""How much of what a model leaves is tone: PSNR gained on a bench, as it is and with light and colour put right.

    python scripts/tone_error.py BENCH [--model nano] [--threads 2]

*affine* fits every channel of the result to the original by a gain and an offset (least squares), *16 cells* adds the
difference of the means of 4 x 4 cells, smoothly. No method can do that: it says where the error lies.
"""

import argparse
from collections import defaultdict
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from cotir import CoTIRPipeline
from cotir.evaluate import cases
from cotir.evaluate.statistics import bootstrap
from cotir.train.photo_regions import unit
from cotir.train.validation import psnr

Image = NDArray[np.float32]
FORMS = ("vague", "precise")
CELLS = (4, 4)


def main() -> None:
    """Print a table: a line for damage of one kind and one for mixtures, for the input and every instruction."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bench", type=Path)
    parser.add_argument("--model", default="nano")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    model = CoTIRPipeline.from_pretrained(options.model)
    model.set_progress_bar_config(disable=True)
    found: dict[tuple[str, str], list[dict[str, float]]] = defaultdict(list)
    photos: dict[tuple[str, str], list[str]] = defaultdict(list)
    for case in cases.of_bench(options.bench).cases:
        pair = case.load()
        if not case.kinds or pair.hq is None or case.instruction is None:
            continue
        group = "one kind" if len(case.kinds) == 1 else "mixtures"
        results = {"input": unit(pair.lq)}
        for form in FORMS:
            results[form] = np.asarray(model(unit(pair.lq), getattr(case.instruction, form), explain=False).image)
        before = psnr(pair.lq, pair.hq)
        for name, result in results.items():
            found[name, group].append({which: gain - before for which, gain in scores(result, pair.hq).items()})
            photos[name, group].append(case.photo)
    print("| | damage | as it is | affine | 16 cells |\n|---|---|---|---|---|")
    for (name, group), rows in found.items():
        means = [bootstrap(np.array([row[which] for row in rows]), photos[name, group]) for which in rows[0]]
        cells = [f"{mean.mean:+.2f} ({mean.low:+.2f} to {mean.high:+.2f})" for mean in means]
        print(f"| {name} | {group} | {' | '.join(cells)} |")


def scores(result: NDArray, hq: NDArray[np.uint8]) -> dict[str, float]:
    """PSNR of a result as it is and with its tone put right."""
    wanted, shown = unit(hq), unit(result) if result.dtype == np.uint8 else result.astype(np.float32)
    forms = {"as it is": shown, "affine": affine(shown, wanted), "16 cells": in_cells(shown, wanted)}
    return {name: psnr(_bytes(each), hq) for name, each in forms.items()}


def affine(shown: Image, wanted: Image) -> Image:
    """Every channel under the gain and offset that bring it nearest to the original."""
    fits = [np.polyfit(shown[..., c].ravel(), wanted[..., c].ravel(), 1) for c in range(3)]
    return np.stack([np.polyval(fit, shown[..., c]) for c, fit in enumerate(fits)], axis=-1).astype(np.float32)


def in_cells(shown: Image, wanted: Image) -> Image:
    """With the original's means of cells."""
    height, width = shown.shape[:2]
    difference = cv2.resize(wanted - shown, CELLS, interpolation=cv2.INTER_AREA)
    return shown + cv2.resize(difference, (width, height), interpolation=cv2.INTER_CUBIC)


def _bytes(pixels: Image) -> NDArray[np.uint8]:
    return (pixels.clip(0, 1) * 255).round().astype(np.uint8)


if __name__ == "__main__":
    main()
