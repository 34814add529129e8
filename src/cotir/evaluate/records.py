"""What evaluation keeps: a row for every method, instruction and picture, in a journal while it runs, then as parquet.

RUN/rows.jsonl          a line for every row, written as it is made; a run that was stopped goes on from it
RUN/results.parquet     the same as one table (:func:`write_results`)
RUN/run.json            what was run: test set, metrics, methods, versions, machine, command
RUN/images/METHOD/KEY.png    restored pictures, where they are kept; LQ and HQ lie in images/lq and images/hq
RUN/report.html, table.md, table.tex
"""

import io
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from cotir.bench.tars import write_whole
from cotir.errors import ConfigError


@dataclass(frozen=True)
class Row:
    """One method's result on one picture."""

    method: str
    """Its specification, such as ``cotir:nano,steps=4``."""
    version: str
    prompt: str
    """``vague``, ``precise``, or ``none`` for methods that read no instruction."""
    key: str
    """The picture."""
    deg: str
    """Its degradation type, as in ``haze-rain``; ``clean``; ``pairs`` or ``real`` where nobody knows."""
    group: str
    """``single``, ``seen``, ``unseen``, ``clean``; ``pairs``, or ``real`` without a reference."""
    kinds: tuple[str, ...]
    """What is wrong with it, in light-path order; empty where nothing is, or nobody knows."""
    severities: tuple[float, ...]
    """Of the kinds, in [0, 1]."""
    photo: str
    """What it was made from: pictures of one photo are not independent."""
    height: int
    width: int
    metrics: dict[str, float]
    """By the names in :data:`cotir.evaluate.metrics.METRICS`; nan where a metric is not defined."""
    seconds: float
    cpu_seconds: float
    peak_mb: float
    """Most memory the process held meanwhile, above what it held before the method was loaded, in MB (1e6 bytes)."""
    steps: tuple[str, ...] = ()
    """Of a chain: what it ran."""
    findings: dict[str, tuple[float, float]] | None = None
    """Confidence and severity by kind, for methods that say."""
    image: str | None = None
    """The restored picture, from the run's folder on."""
    missing: str | None = None
    """Why there is no result; metrics are then nan."""

    @property
    def megapixels(self) -> float:
        """Size of the picture, in 1e6 pixels."""
        return self.height * self.width / 1e6


JOURNAL, RESULTS, RUN, IMAGES = "rows.jsonl", "results.parquet", "run.json", "images"

_LISTS = ("kinds", "severities", "steps")
_COLUMNS = {
    **dict.fromkeys(("method", "version", "prompt", "key", "deg", "group"), "string"),
    "kinds": "string", "severities": "double", "photo": "string", "height": "int32", "width": "int32",
    **dict.fromkeys(("seconds", "cpu_seconds", "peak_mb"), "double"),
    "steps": "string", "findings": "string", "image": "string", "missing": "string",
}  # fmt: skip
"""Columns of the table that are no metric, and their types; those of :data:`_LISTS` hold lists of it."""

Identity = tuple[str, str, str, str]
"""Method, version, prompt, key: what a row is of."""


def identity(row: Row) -> Identity:
    """What a row is of."""
    return row.method, row.version, row.prompt, row.key


class Journal:
    """The rows of a run on disk, one JSON object a line; of two rows of one identity the later one counts.

    Raises:
        ConfigError: a line but the last is damaged. A torn last line, as of a process that was killed, is cut off.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows: dict[Identity, Row] = {}
        lines = path.read_bytes().split(b"\n") if path.exists() else []
        whole = lines[:-1]  # what follows the last line break was not finished
        for number, line in enumerate(whole, 1):
            try:
                row = from_json(line)
            except (ValueError, TypeError, KeyError) as error:
                raise ConfigError(f"{path}: line {number} is damaged ({error}); delete this line") from error
            self.rows.pop(identity(row), None)
            self.rows[identity(row)] = row
        if lines and lines[-1]:
            with path.open("r+b") as file:
                file.truncate(sum(len(line) + 1 for line in whole))

    def newest(self, versions: Mapping[str, str | None]) -> list[Row]:
        """The rows of the version that a method has now; a table that mixes two would mean neither."""
        return [row for row in self.rows.values() if versions.get(row.method, row.version) == row.version]

    def add(self, row: Row) -> None:
        """Write a row; it is on disk when this returns."""
        with self.path.open("ab") as file:
            file.write(to_json(row).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
        self.rows.pop(identity(row), None)  # so that the newest stands last
        self.rows[identity(row)] = row

    def has(self, row: Identity) -> bool:
        """Whether a row is there with a result; one that is missing is tried again."""
        return row in self.rows and self.rows[row].missing is None


def to_json(row: Row) -> str:
    """One line; numbers that are none become null, as JSON has no nan."""
    values = asdict(row)
    values["metrics"] = {name: value if np.isfinite(value) else None for name, value in row.metrics.items()}
    return json.dumps(values, allow_nan=False)


def from_json(line: str | bytes) -> Row:
    """Undo :func:`to_json`."""
    values = json.loads(line)
    metrics = {name: float("nan") if value is None else float(value) for name, value in values["metrics"].items()}
    findings = values["findings"] and {kind: (float(a), float(b)) for kind, (a, b) in values["findings"].items()}
    sequences = {name: tuple(values[name]) for name in _LISTS}
    return Row(**{**values, **sequences, "metrics": metrics, "findings": findings})


def write_results(run: Path, rows: Iterable[Row]) -> None:
    """Write the table, whole or not at all: a line for every row, a column for every field and every metric.

    Findings are JSON text; a metric that a row lacks is nan.
    """
    require("pyarrow")
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = list(rows)
    metrics = list(dict.fromkeys(name for row in rows for name in row.metrics))
    columns: dict[str, Any] = {}
    for name, kind in _COLUMNS.items():
        values: list[Any] = [getattr(row, name) for row in rows]
        if name == "findings":
            values = [None if value is None else json.dumps(value) for value in values]
        if name in _LISTS:
            columns[name] = pa.array([list(value) for value in values], pa.list_(pa.type_for_alias(kind)))
        else:
            columns[name] = pa.array(values, pa.type_for_alias(kind))
    for name in metrics:
        columns[name] = pa.array([row.metrics.get(name, float("nan")) for row in rows], pa.float64())
    buffer = io.BytesIO()
    pq.write_table(pa.table(columns), buffer)
    write_whole(run / RESULTS, buffer.getvalue())


def read_results(run: Path) -> list[Row]:
    """The table of a run, as rows.

    Raises:
        ConfigError: there is none, or it cannot be read.
    """
    require("pyarrow")
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        lines = pq.read_table(run / RESULTS).to_pylist()
        return [_row(line) for line in lines]
    except (OSError, pa.ArrowException, KeyError, TypeError) as error:
        raise ConfigError(f"{run / RESULTS}: cannot be read ({error}); run 'cotir eval' with -o {run} first") from error


def _row(line: dict[str, Any]) -> Row:
    own = {name: line.pop(name) for name in _COLUMNS}
    findings = own["findings"] and {kind: tuple(pair) for kind, pair in json.loads(own["findings"]).items()}
    lists = {name: tuple(own[name]) for name in _LISTS}
    return Row(**{**own, **lists, "findings": findings, "metrics": line})


def require(module: str) -> Any:
    """A module of the extra ``eval``.

    Raises:
        ConfigError: it is not installed.
    """
    try:
        return import_module(module)
    except ImportError as error:
        raise ConfigError(f"evaluation needs {module} ({error}): pip install 'cotir[eval]'") from error
