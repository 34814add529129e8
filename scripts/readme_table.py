"""The README's result table, and what its text says of it, from the results of ``cotir eval``.

    python scripts/readme_table.py RUN

Prints Markdown: PSNR gained over the input by groups of pictures, PSNR of undamaged ones, medians of seconds and
memory; then mixtures seen and unseen, and the comparisons of nano with its rivals on mixtures.
"""

import argparse
import json
from pathlib import Path

from cotir.evaluate.records import read_results
from cotir.evaluate.statistics import Interval
from cotir.evaluate.tables import Line, comparisons, costs, gains, means

MIXTURES = "2 to 4 kinds"
GROUPS = ("one kind", MIXTURES, "all damage")
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


def _cell(mean: Interval) -> str:
    return f"{mean.mean:+.2f} ({mean.low:+.2f} to {mean.high:+.2f})"


def _seen(line: Line) -> str:
    return f"{line.cells['seen'].mean:+.2f} and {line.cells['unseen'].mean:+.2f}"


if __name__ == "__main__":
    main()
