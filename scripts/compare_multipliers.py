"""Which dual rule meets the constraints without tuning: every rule over a grid of delta and of its own step.

    python scripts/compare_multipliers.py PHOTOS RUNS [--steps 300]

Short runs from the bundled nano on the same samples: four kinds of damage, alone and in pairs, so that there is time to
learn to speak of them. One more run has no multipliers, for comparison. A run that is there already is not done again.
A run *satisfies* when the mean distance of each part over its last tenth is at most delta (and a hundredth), and
*diverges* when its flow loss there is not finite or worse than in its first tenth. Writes RUNS/table.md and
RUNS/plot.svg.
"""

import argparse
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cotir.train.journal import Silent
from cotir.train.loop import Trainer
from cotir.train.records import read_log, rising
from cotir.train.run_file import load_config

ROOT = Path(__file__).parents[1]
PARTS = ("scene", "degradation", "plan")
DELTAS = (0.3, 0.35, 0.4)
RECIPE = """
severity: {1: [0.3, 0.9], 2: [0.3, 0.8]}
share: {single: 0.5, seen: 0.4, clean: 0.1}
test: {photos: 0.1, samples: 1}
single: [noise, haze, low_light, jpeg]
seen: [low_light + noise, haze + noise, haze + jpeg, noise + jpeg]
unseen: []
clean: true
"""
STEPS_OF_RULE = {
    "released": ("lr", (1e-4, 1e-3, 1e-2)),
    "ascent": ("lr", (1e-3, 1e-2, 1e-1)),
    "pi": ("ki", (1.5e-3, 5e-3, 1.5e-2)),
}
"""The option that is each rule's dual learning rate, and its values; the middle one of ``pi`` is its default."""


@dataclass(frozen=True)
class Cell:
    """One run of the grid."""

    rule: str
    option: str
    value: float
    delta: float

    @property
    def name(self) -> str:
        """Its folder."""
        return f"{self.rule}-{self.option}{self.value:g}-delta{self.delta:g}"


UNCONSTRAINED = Cell("fixed", "value", 0.0, DELTAS[0])


@dataclass(frozen=True)
class Result:
    """What a run came to, over its last tenth."""

    cell: Cell
    distances: tuple[float, ...]
    """Of the parts, in their order."""
    multipliers: tuple[float, ...]
    flow: float
    first_flow: float

    @property
    def satisfies(self) -> bool:
        """All three constraints hold."""
        return all(distance <= self.cell.delta + 0.01 for distance in self.distances)

    @property
    def diverges(self) -> bool:
        """The flow loss is lost."""
        return not math.isfinite(self.flow) or self.flow > self.first_flow


def cells() -> Iterator[Cell]:
    """The grid, and the run without multipliers."""
    yield UNCONSTRAINED
    for rule, (option, values) in STEPS_OF_RULE.items():
        for value in values:
            for delta in DELTAS:
                yield Cell(rule, option, value, delta)


def run(cell: Cell, photos: Path, runs: Path, steps: int, threads: int) -> Result:
    """Train one cell, or read what it came to before."""
    folder = runs / cell.name
    deltas = ", ".join(f"{part}: {cell.delta}" for part in PARTS)
    overrides = [
        f"run={folder}",
        f"data.path={photos}",
        f"data.recipe={runs / 'recipe.yaml'}",
        f"threads={threads}",
        f"objective.delta={{{deltas}}}",
        f"objective.multipliers={{rule: {cell.rule}, options: {{{cell.option}: {cell.value:.6f}}}}}",
        f"schedule.stages=[{{until: {steps}, crop: 32, batch: 8}}]",
        "schedule.vague={0: 0.5}",
        "optimizer.warmup=20",
        "log.every=1",
        "log.trackers=[]",
        "validation.every=0",
        f"checkpoint.every={max(steps // 4, 1)}",
    ]
    if not (folder / "weights").is_dir():
        Trainer(load_config(ROOT / "configs/train/nano.yaml", overrides), Silent()).run()
    rows = rising(read_log(folder / "log.jsonl"))
    tenth = max(len(rows) // 10, 1)
    late = rows[-tenth:]

    def mean(key: str, some: list) -> float:
        return float(np.mean([row[key] for row in some]))

    distances = tuple(mean(f"d_{part}", late) for part in PARTS)
    multipliers = tuple(mean(f"lambda_{part}", late) for part in PARTS)
    return Result(cell, distances, multipliers, mean("flow", late), mean("flow", rows[:tenth]))


def table(results: list[Result]) -> str:
    """Markdown: a row per run, then the share of good ones by rule."""
    lines = [
        "| rule | step | delta | d scene | d degradation | d plan | lambda | flow | satisfied | diverged |",
        "|---" * 10 + "|",
    ]
    for result in results:
        cell = result.cell
        numbers = " | ".join(f"{d:.3f}" for d in result.distances)
        multipliers = ", ".join(f"{value:.2g}" for value in result.multipliers)
        verdict = f"{'yes' if result.satisfies else 'no'} | {'yes' if result.diverges else 'no'}"
        lines.append(
            f"| {cell.rule} | {cell.option} {cell.value:g} | {cell.delta:g} | {numbers} | {multipliers} | "
            f"{result.flow:.3f} | {verdict} |"
        )
    lines += ["", "| rule | satisfied and not diverged |", "|---|---|"]
    for rule in STEPS_OF_RULE:
        mine = [result for result in results if result.cell.rule == rule]
        good = sum(result.satisfies and not result.diverges for result in mine)
        lines.append(f"| {rule} | {good} of {len(mine)} |")
    return "\n".join(lines) + "\n"


def plot(results: list[Result]) -> str:
    """SVG: a panel per rule, step against delta, coloured by the worst part's distance over delta."""
    size, gap, top = 72, 60, 40
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{3 * (3 * size + gap) + gap}" height="{3 * size + 110}" ',
        'font-family="sans-serif" font-size="12">',
        '<rect width="100%" height="100%" fill="white"/>',
    ]
    for column, (rule, (option, values)) in enumerate(STEPS_OF_RULE.items()):
        left = gap + column * (3 * size + gap)
        parts.append(f'<text x="{left}" y="24" font-weight="bold">{rule}: {option} across, delta down</text>')
        for across, value in enumerate(values):
            x = left + across * size
            parts.append(f'<text x="{x + size / 2}" y="{top + 3 * size + 18}" text-anchor="middle">{value:g}</text>')
            for down, delta in enumerate(DELTAS):
                result = next(r for r in results if r.cell == Cell(rule, option, value, delta))
                worst = max(result.distances) / delta
                good = result.satisfies and not result.diverges
                parts.append(
                    f'<rect x="{x}" y="{top + down * size}" width="{size - 3}" height="{size - 3}" '
                    f'fill="{"#4c9f70" if good else "#d1603d"}"/><text x="{x + size / 2}" '
                    f'y="{top + down * size + size / 2 + 4}" text-anchor="middle" fill="white">{worst:.2f}</text>'
                )
        for down, delta in enumerate(DELTAS):
            parts.append(
                f'<text x="{left - 6}" y="{top + down * size + size / 2 + 4}" text-anchor="end">{delta:g}</text>'
            )
    note = "number: distance of the worst part over delta, last tenth; green: all constraints met, flow loss not worse"
    parts.append(f'<text x="{gap}" y="{top + 3 * size + 48}">{note}</text></svg>')
    return "\n".join(parts)


def main() -> None:
    """Run the grid."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path)
    parser.add_argument("runs", type=Path)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--only", metavar="NAME", help="one cell by its folder's name; no table, no plot")
    options = parser.parse_args()
    options.runs.mkdir(parents=True, exist_ok=True)
    (options.runs / "recipe.yaml").write_text(RECIPE, encoding="utf-8")
    results = []
    for cell in cells():
        if options.only not in (None, cell.name):
            continue
        result = run(cell, options.photos, options.runs, options.steps, options.threads)
        results.append(result)
        print(cell.name, [round(d, 3) for d in result.distances], round(result.flow, 3), flush=True)
    if options.only:
        return
    (options.runs / "table.md").write_text(table(results), encoding="utf-8")
    (options.runs / "plot.svg").write_text(plot(results), encoding="utf-8")


if __name__ == "__main__":
    main()
