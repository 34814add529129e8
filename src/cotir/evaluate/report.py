"""One HTML page about an evaluation: tables, charts, what is missing, and the best, median and worst pictures."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from cotir.bench.tars import write_whole
from cotir.errors import ConfigError
from cotir.evaluate.page import Cell, Page, Section, Table, Tile, write_page
from cotir.evaluate.page_charts import charts_of
from cotir.evaluate.page_tables import tables_of
from cotir.evaluate.picks import shelves_of
from cotir.evaluate.records import RESULTS, RUN, Row, read_results
from cotir.evaluate.sheets import write_sheets
from cotir.evaluate.tables import Entry
from cotir.evaluate.text_tables import to_latex, to_markdown

LISTED = 200
"""Missing results that are listed one by one; all are counted."""


def write_report(run: Path, out: Path | None = None) -> Path:
    """Write the page, the tables as ``table.md`` and ``table.tex``, and the sheets of real photos.

    What was there is replaced.

    Args:
        run: folder of an evaluation. ``results.parquet`` is needed; ``run.json`` and ``images`` may be missing.
        out: the file to write; ``report.html`` in the run folder if not given.

    Returns:
        The page's file.

    Raises:
        ConfigError: there are no results, they cannot be read, or the page cannot be written.
    """
    rows = read_results(run)
    if not rows:
        raise ConfigError(f"{run / RESULTS}: holds no row; run 'cotir eval' on at least one picture, then try again")
    about, raw = _about(run / RUN)
    photos = len({row.photo for row in rows})
    tables = tables_of(rows, about)
    page = Page(
        title=run.resolve().name,
        subtitle=f"CoTIR evaluation · {len(rows):,} results over {photos:,} photos",
        sections=[
            Section("Tables", tables=tables),
            Section("Charts", charts=list(charts_of(rows, about))),
            _missing(rows),
            _pictures(rows, run),
        ],
        tiles=_tiles(rows),
        # what results have in common needs no prefix; methods have a table
        facts={name.removeprefix("facts."): value for name, value in _flat(about) if not name.startswith("methods.")},
        raw=raw,
    )
    write_sheets(rows, run)
    write_whole(run / "table.md", to_markdown(tables).encode())
    write_whole(run / "table.tex", to_latex(tables).encode())
    return write_page(run / "report.html" if out is None else out, page)


def _missing(rows: Sequence[Row]) -> Section:
    missing = [row for row in rows if row.missing is not None]
    if not missing:
        return Section("Missing results", f"None of {len(rows):,} is missing.")
    cells = [
        [Cell(words) for words in (str(Entry(row.method, row.prompt)), row.key, row.deg, row.missing or "")]
        for row in missing[:LISTED]
    ]
    note = f"The first {LISTED} of {len(missing):,}." if len(missing) > LISTED else ""
    table = Table("Why", note, ["method", "picture", "damage", "reason"], cells, folded=len(missing) > 20)
    counted = f"{len(missing):,} of {len(rows):,} are missing; they are in no mean."
    return Section("Missing results", counted, tables=[table])


def _pictures(rows: Sequence[Row], run: Path) -> Section:
    shelves = shelves_of(rows, run)
    if not shelves:
        return Section("Pictures", "No restored picture was kept.")
    text = (
        "Best, median and worst by what was gained in PSNR; clean pictures are left out. Real photos: a few, for all."
    )
    return Section("Pictures", text, shelves=shelves)


def _tiles(rows: Sequence[Row]) -> list[Tile]:
    missing = sum(row.missing is not None for row in rows)
    return [
        Tile("methods", len({row.method for row in rows}), "methods"),
        Tile("pictures", len({row.key for row in rows}), "pictures"),
        Tile("photos", len({row.photo for row in rows}), "photos"),
        Tile("recipes", len({row.deg for row in rows}), "recipes"),
        Tile("results", len(rows) - missing, "results"),
        Tile("missing", missing, "missing", bad=missing > 0),
    ]


def _about(path: Path) -> tuple[dict[str, Any], str]:
    """What was run and the text it was read from; empty if it is not there or no JSON object."""
    try:
        raw = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return {}, ""
    try:
        about = json.loads(raw)
    except ValueError:
        return {}, raw
    if not isinstance(about, dict):
        return {}, raw
    methods = about.get("methods")
    known = methods.items() if isinstance(methods, dict) else ()
    return about | {"methods": {name: facts for name, facts in known if isinstance(facts, dict)}}, raw


def _flat(value: object, name: str = "") -> Iterator[tuple[str, str]]:
    """Dotted names and values as text; what is null is left out."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _flat(inner, f"{name}.{key}" if name else str(key))
    elif isinstance(value, list):
        yield name, ", ".join(map(str, value))
    elif value is not None:
        yield name, str(value)
