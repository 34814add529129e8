"""The result tables of README and model card, and what their text says, from the results of ``cotir eval``.

    python scripts/readme_table.py RUN

Prints Markdown: PSNR gained over the input by groups of pictures, PSNR of undamaged ones, medians of seconds and
memory; then mixtures seen and unseen, the comparisons of methods with their rivals on mixtures, and gains by kind of
damage of those that the model card names, as far as the run has them.
"""

import argparse
import json
from pathlib import Path

from cotir.evaluate.records import read_results
from cotir.evaluate.statistics import Interval
from cotir.evaluate.tables import IDENTITY, Entry, Line, comparisons, costs, gains, means, means_by_type

MIXTURES = "2 to 4 kinds"
GROUPS = ("one kind", MIXTURES, "all damage")
CARD = (Entry("classical", "none"), Entry("cotir:nano", "vague"), Entry("cotir:nano", "precise"))
HEADS = ("method", *GROUPS, "undamaged, PSNR", "s / MP", "MB")


def main() -> None:
    """Print the table and the comparisons."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    run = parser.parse_args().run
    rows = read_results(run)
    clean = {line.entry: line.cells["clean"] for line in means(rows, "psnr", ["clean"])}
    cost = {each.entry: each for each in costs(rows, json.loads((run / "run.json").read_text(encoding="utf-8")))}
    lines = gains(rows, [*GROUPS, "seen", "unseen"])
    print(f"| {' | '.join(HEADS)} |\n|{'---|' * len(HEADS)}")
    for line in lines:
        cells = [_cell(line.cells[group]) for group in GROUPS]
        took = cost.get(line.entry)
        spent = ("-", "-") if took is None else (f"{took.seconds_per_megapixel:.3g}", f"{took.peak_mb:,.0f}")
        print(f"| {' | '.join((str(line.entry), *cells, f'{clean[line.entry].mean:.1f}', *spent))} |")
    print("\nMixtures, seen and unseen:\n")
    for line in lines:
        print(f"- {line.entry}: {_seen(line)}")
    print(f"\nDifferences of {MIXTURES}, in dB of PSNR, with p of a paired test:\n")
    for found in comparisons(rows, "psnr", MIXTURES):
        print(f"- {found.entry} over {found.rival}: {_cell(found.difference)}, p = {found.p:.2g}")
    shown = [entry for entry in CARD if entry in clean]
    print(f"\n| damage | input dB | {' | '.join(map(str, shown))} |\n|{'---|' * (2 + len(shown))}")
    for deg, cells in means_by_type([row for row in rows if row.group == "single"], "psnr").items():
        before = cells[Entry(IDENTITY, "none")].mean
        gained = [f"{cells[entry].mean - before:+.2f}" for entry in shown]
        print(f"| {deg.replace('_', ' ')} | {before:.2f} | {' | '.join(gained)} |")


def _cell(mean: Interval) -> str:
    return f"{mean.mean:+.2f} ({mean.low:+.2f} to {mean.high:+.2f})"


def _seen(line: Line) -> str:
    return f"{line.cells['seen'].mean:+.2f} and {line.cells['unseen'].mean:+.2f}"


if __name__ == "__main__":
    main()
