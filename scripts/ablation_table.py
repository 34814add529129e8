"""The table of compare_ablations.py, from scores: means, their intervals, and paired differences."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cotir.bench.schema import GROUPS
from cotir.train.objective import PARTS

FORMS = ("vague", "precise")
DAMAGED = tuple(group for group in GROUPS if group != "clean")
COLUMNS = {"all damage": DAMAGED, **{group: (group,) for group in DAMAGED}, "clean, PSNR": ("clean",)}
TOLD = ("flow", *(f"{what}_{part}" for what in ("d", "lambda") for part in PARTS))
REFERENCE = "pi"

Rows = list[dict[str, Any]]
Found = Mapping[str, Mapping[int, dict[str, Any]]]
"""What scores.json holds, by row and seed."""


@dataclass(frozen=True)
class Estimate:
    """A mean with its 95 % interval."""

    mean: float
    low: float
    high: float

    def cell(self, sign: str = "+") -> str:
        """For a table."""
        return f"{self.mean:{sign}.2f} ({self.low:{sign}.2f} to {self.high:{sign}.2f})"


def bootstrap(values: NDArray[np.float64], photos: Sequence[str], draws: int = 4000) -> Estimate:
    """Mean over seeds and pictures, with an interval by resampling photos and seeds.

    Every draw takes as many seeds as there are, with replacement, and as many photos; a photo comes with all its
    pictures, which are hard or easy together. Each photo is scored for each seed, so both are drawn independently and a
    draw's mean is over their product (Owen 2007, "The pigeonhole bootstrap", Annals of Applied Statistics 1). The
    interval goes from the 2.5th to the 97.5th percentile of the draws' means. It speaks of other photos and other
    seeds, of the seeds too boldly where they are few: of three, the variance between them counts by two thirds. Of one
    seed it speaks of other photos alone.

    Args:
        values: (seeds, pictures); of a difference, the paired differences.
        photos: of each picture.
        draws: how many.
    """
    which = np.unique(np.array(photos), return_inverse=True)[1]
    counts = np.bincount(which)
    sums = np.stack([np.bincount(which, weights=row) for row in values])
    rng = np.random.default_rng(0)
    seeds, places = (rng.multinomial(n, np.full(n, 1 / n), size=draws) for n in sums.shape)
    means = ((seeds @ sums) * places).sum(axis=1) / (len(sums) * (places @ counts))
    low, high = np.quantile(means, (0.025, 0.975))
    return Estimate(float(values.mean()), float(low), float(high))


def gains(rows: Rows, groups: Sequence[str], form: str) -> list[float]:
    """Gain over the input in dB under an instruction; what is clean has none, so its PSNR stands for it."""
    mine = [row for row in rows if row["group"] in groups]
    return [row[f"psnr_{form}"] - (row["group"] != "clean") * row["psnr_input"] for row in mine]


def block(found: Found, reference: Mapping[int, dict[str, Any]] | None = None) -> list[str]:
    """A table of gains; if a reference is given, of differences to its gains for the same seeds and pictures."""
    lines = [f"| run | seeds | instruction | {' | '.join(COLUMNS)} |", "|---" * (3 + len(COLUMNS)) + "|"]
    for name, scores in found.items():
        common = sorted(scores.keys() & (scores if reference is None else reference).keys())
        if not common or scores is reference:
            continue
        for form in FORMS:
            cells = []
            for groups in COLUMNS.values():
                values = np.array([gains(scores[seed]["rows"], groups, form) for seed in common])
                if reference is not None:
                    values = values - np.array([gains(reference[seed]["rows"], groups, form) for seed in common])
                photos = [row["photo"] for row in scores[common[0]]["rows"] if row["group"] in groups]
                sign = "" if reference is None and "clean" in groups else "+"
                cells.append(bootstrap(values, photos).cell(sign) if photos else "-")
            lines.append(f"| {name} | {len(common)} | {form} | {' | '.join(cells)} |")
    return lines


def table(found: Found) -> str:
    """Markdown: gains, differences to the reference, and what the reasoning came to in training."""
    lines = ["Gain over the input in dB (95 % interval); of clean pictures the PSNR:", "", *block(found)]
    if REFERENCE in found and len(found) > 1:
        lines += ["", f"Difference to `{REFERENCE}`, paired:", "", *block(found, found[REFERENCE])]
    lines += ["", "Last tenth of training, mean over seeds:", "", f"| run | {' | '.join(TOLD)} |"]
    lines.append("|---" * (1 + len(TOLD)) + "|")
    for name, scores in found.items():
        ends = [each["training"] for each in scores.values()]
        cells = [f"{np.mean([end[key] for end in ends]):.3g}" if key in ends[0] else "-" for key in TOLD]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"
