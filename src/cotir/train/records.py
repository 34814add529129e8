"""What a training run has written about itself: rows of numbers, one JSON object a line."""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np
from numpy.typing import NDArray

from cotir.errors import ConfigError

Row = dict[str, Any]
Values = NDArray[np.float64]


def read_log(path: Path) -> list[Row]:
    """Read the rows of a file that may still be written to: a last line that is not whole is left out.

    Raises:
        ConfigError: the file cannot be read, or a line before the last is no JSON object.
    """
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error}); give the folder of a training run") from error
    rows: list[Row] = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError:  # bytes that are no text raise a kind of it
            row = None
        if isinstance(row, dict):
            rows.append(row)
        elif number < len(lines):
            start = line[:60].decode(errors="backslashreplace")
            raise ConfigError(f"{path}: line {number} is no JSON object: {start!r}; delete this line, then try again")
    return rows


def rising(rows: Sequence[Row]) -> list[Row]:
    """The rows with rising steps: where a run goes on from a checkpoint, what it did again replaces what was before.

    Rows without a step are left out.
    """
    kept: list[Row] = []
    for row in rows:
        if not is_finite(row.get("step")):
            continue
        while kept and kept[-1]["step"] >= row["step"]:
            kept.pop()
        kept.append(row)
    return kept


def columns(rows: Sequence[Row], *keys: str) -> tuple[Values, ...]:
    """Steps, then the values of each key, of those rows that have a number for all keys; float64 (n,) each."""
    names = ("step", *keys)
    table = [[row[name] for name in names] for row in rows if all(is_number(row.get(name)) for name in names)]
    return tuple(np.array(table, dtype=np.float64).reshape(-1, len(names)).T)


def is_number(value: object) -> TypeGuard[float]:
    """Whether it is one, finite or not; true and false are none."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def is_finite(value: object) -> TypeGuard[float]:
    """Whether it is a number other than NaN and infinity."""
    return is_number(value) and math.isfinite(value)
