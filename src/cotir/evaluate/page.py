"""One HTML page of tables, charts and pictures that needs nothing else, from records that know nothing of evaluation.

Every number in a table stands in full beside its text, in ``data-value`` with the ends of its interval in ``data-low``
and ``data-high``, so that a script or a test can read it back.
"""

import html
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from string import Template

from cotir.bench.tars import write_whole
from cotir.errors import ConfigError
from cotir.evaluate.gallery import Embedded, Shelf, embed, gallery

_LONG = 24
"""Characters of a fact that gets a line of its own."""


@dataclass(frozen=True)
class Cell:
    """A place in a table: a number with its text, or a text alone.

    A number that is nan is shown as "-".
    """

    text: str
    value: float | None = None
    low: float | None = None
    high: float | None = None
    best: bool = False
    """Whether it is the best of those it is compared with."""


@dataclass(frozen=True)
class Table:
    """A table; the first cell of a row is its name.

    Raises:
        ConfigError: it has no row or no column, or a row has not as many cells as there are heads.
    """

    title: str
    note: str
    heads: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    folded: bool = False
    """Whether it has to be opened to be seen."""

    def __post_init__(self) -> None:
        if not self.heads or not self.rows:
            raise ConfigError(f"the table {self.title!r} is empty; leave it out, or give it heads and rows")
        for number, row in enumerate(self.rows, 1):
            if len(row) != len(self.heads):
                raise ConfigError(
                    f"the table {self.title!r}: row {number} has {len(row)} cells under {len(self.heads)} heads; "
                    "give every row a cell for each head"
                )


@dataclass(frozen=True)
class Tile:
    """A number at the top of the page."""

    name: str
    value: int
    key: str
    bad: bool = False


@dataclass(frozen=True)
class Section:
    """A part of the page: a text, charts as HTML figures, then tables, then pictures."""

    title: str
    text: str = ""
    charts: Sequence[str] = ()
    tables: Sequence[Table] = ()
    shelves: Sequence[Shelf] = ()


@dataclass(frozen=True)
class Page:
    """All there is on a page."""

    title: str
    subtitle: str
    sections: Sequence[Section]
    tiles: Sequence[Tile] = ()
    facts: Mapping[str, str] | None = None
    """What was run, by name."""
    raw: str = ""
    """The same as it was found, to open."""


def write_page(path: Path, page: Page) -> Path:
    """Write the page as one file; what was there is replaced.

    Raises:
        ConfigError: the page has no section, or cannot be written.
    """
    if not page.sections:
        raise ConfigError(f"{path}: the page would be empty; give it a section")
    embedded = embed(shelf for section in page.sections for shelf in section.shelves)
    template = Template(files("cotir.evaluate").joinpath("report.html").read_text(encoding="utf-8"))
    text = template.substitute(
        title=html.escape(page.title),
        subtitle=html.escape(page.subtitle),
        tiles="".join(map(_tile, page.tiles)),
        facts=_facts(page.facts or {}, page.raw),
        sections="".join(_section(each, embedded) for each in page.sections),
        pictures=embedded.style,
    )
    try:
        # a name may hold what is no text, such as a file name's bytes
        write_whole(path, text.encode("utf-8", "replace"))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be written ({error}); choose another place for the page") from error
    return path


def _tile(tile: Tile) -> str:
    kind = ' class="down"' if tile.bad else ""
    return (
        f'<div><dt>{html.escape(tile.name)}</dt><dd{kind} data-key="{html.escape(tile.key)}" '
        f'data-value="{tile.value}">{tile.value:,}</dd></div>'
    )


def _facts(facts: Mapping[str, str], raw: str) -> str:
    entries = "".join(
        f"<div class='{'long' if len(value) > _LONG else 'short'}'><dt>{html.escape(name)}</dt>"
        f"<dd>{html.escape(value)}</dd></div>"
        for name, value in facts.items()
    )
    listed = f'<dl class="config">{entries}</dl>' if entries else ""
    return listed + (f"<details><summary>run.json</summary><pre>{html.escape(raw)}</pre></details>" if raw else "")


def _section(section: Section, embedded: Embedded) -> str:
    text = f'<p class="soft">{html.escape(section.text)}</p>' if section.text else ""
    charts = f'<div class="grid2">{"".join(section.charts)}</div>' if any(section.charts) else ""
    tables = "".join(map(_table, section.tables))
    pictures = gallery(section.shelves, embedded) if section.shelves else ""
    return f"<section><h2>{html.escape(section.title)}</h2>{text}{charts}{tables}{pictures}</section>"


def _table(table: Table) -> str:
    kinds = (' class="text"' if _is_words(cell) else "" for cell in table.rows[0])
    heads = "".join(f'<th scope="col"{k}>{html.escape(n)}</th>' for k, n in zip(kinds, table.heads, strict=True))
    rows = "".join(
        f'<tr><th scope="row">{html.escape(row[0].text)}</th>{"".join(map(_cell, row[1:]))}</tr>' for row in table.rows
    )
    note = f'<p class="note">{html.escape(table.note)}</p>' if table.note else ""
    title = html.escape(table.title)
    grid = (
        f'<div class="wide"><table aria-label="{title}"><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table>'
        f"</div>{note}"
    )
    if table.folded:
        return f"<details><summary>{title}</summary>{grid}</details>"
    return f"<h3>{title}</h3>{grid}"


def _cell(cell: Cell) -> str:
    if _is_words(cell):
        return f'<td class="text">{html.escape(cell.text)}</td>'
    if cell.value is None or math.isnan(cell.value):
        return "<td>-</td>"
    ends = [
        (n, float(end))
        for n, end in (("low", cell.low), ("high", cell.high))
        if end is not None and not math.isnan(end)
    ]
    data = "".join(f' data-{name}="{end!r}"' for name, end in (("value", float(cell.value)), *ends))
    digits = len(cell.text.partition(".")[2])
    interval = f"<small>{' to '.join(f'{end:.{digits}f}' for _, end in ends)}</small>" if len(ends) == 2 else ""
    kind = ' class="best"' if cell.best else ""
    return f"<td{kind}{data}>{html.escape(cell.text)}{interval}</td>"


def _is_words(cell: Cell) -> bool:
    return cell.value is None and cell.text not in ("", "-")
