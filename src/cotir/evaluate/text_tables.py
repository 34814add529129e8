"""The tables of an evaluation as Markdown and as LaTeX, for a README and for a paper."""

import math
import re
from collections.abc import Iterable

from cotir.evaluate.page import Cell, Table

_LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "\u2191": r"$\uparrow$", "\u2193": r"$\downarrow$",
}  # fmt: skip


def to_markdown(tables: Iterable[Table]) -> str:
    """Tables for a README: a heading, the note, and the best numbers in bold, intervals in brackets."""
    parts = []
    for table in tables:
        heads = [_plain(head) for head in table.heads]
        lines = [f"| {' | '.join(heads)} |", "|" + "---|" * len(heads)]
        lines += [f"| {' | '.join(_markdown(cell) for cell in row)} |" for row in table.rows]
        parts.append("\n".join([f"### {_plain(table.title)}", "", *([table.note, ""] if table.note else []), *lines]))
    return "\n\n".join(parts) + "\n"


def to_latex(tables: Iterable[Table]) -> str:
    """Tables for a paper that loads booktabs: the best numbers in bold, without intervals."""
    parts = []
    for table in tables:
        lines = [r"\begin{table}", rf"\caption{{{_latex(table.title)}. {_latex(table.note)}}}"]
        lines += [rf"\begin{{tabular}}{{l{'r' * (len(table.heads) - 1)}}}", r"\toprule"]
        lines += [_row(map(_latex, table.heads)), r"\midrule"]
        lines += [_row(_bold(cell) for cell in row) for row in table.rows]
        parts.append("\n".join([*lines, r"\bottomrule", r"\end{tabular}", r"\end{table}"]))
    return "\n\n".join(parts) + "\n"


def _markdown(cell: Cell) -> str:
    text = f"**{_shown(cell)}**" if cell.best else _plain(_shown(cell))
    if cell.low is None or cell.high is None or not math.isfinite(cell.low + cell.high):
        return text
    # as many digits as the mean is written with
    digits = len(match[1]) if (match := re.search(r"\.(\d+)", cell.text)) else 0
    sign = "+" if cell.text.startswith(("+", "-")) else ""
    return f"{text} ({cell.low:{sign}.{digits}f} to {cell.high:{sign}.{digits}f})"


def _shown(cell: Cell) -> str:
    return "-" if cell.value is not None and not math.isfinite(cell.value) else cell.text


def _plain(text: str) -> str:
    return text.replace("|", r"\|").replace("\n", " ")


def _row(cells: Iterable[str]) -> str:
    return " & ".join(cells) + r" \\"


def _bold(cell: Cell) -> str:
    return rf"\textbf{{{_latex(_shown(cell))}}}" if cell.best else _latex(_shown(cell))


def _latex(text: str) -> str:
    return "".join(_LATEX.get(character, character) for character in text)
