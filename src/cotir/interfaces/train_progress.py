"""What ``cotir train`` prints: a live line on a terminal, a plain one now and then in a log file."""

import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from cotir.interfaces.report import is_live, say

_INTERVAL = 30.0
"""Seconds between lines where no bar can be shown."""


class TrainProgress(AbstractContextManager["TrainProgress"]):
    """Tells about a run; see :class:`cotir.train.journal.Watch`.

    Args:
        steps: of the whole run.
        console: where to; standard error by default.
        clock: seconds, for the plain lines.
    """

    def __init__(self, steps: int, console: Console | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._console = console or Console(stderr=True)
        self._steps, self._clock, self._said = steps, clock, -_INTERVAL
        columns = (
            BarColumn(bar_width=20),
            MofNCompleteColumn(),
            TextColumn("{task.description}", markup=False),
            TimeElapsedColumn(),
        )
        self._live = is_live(self._console)
        self._progress = Progress(*columns, console=self._console, disable=not self._live)
        self._task = self._progress.add_task("", total=steps)

    def __enter__(self) -> "TrainProgress":
        """Show the line."""
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave the line as it is."""
        self._progress.stop()

    def update(self, row: Mapping[str, float]) -> None:
        """A logged step."""
        text = summary(row, self._steps)
        self._progress.update(self._task, completed=int(row["step"]), description=text)
        if not self._live and self._clock() - self._said >= _INTERVAL:
            self._said = self._clock()
            say(f"step {int(row['step'])}/{self._steps}  {text}", error=True)

    def note(self, text: str) -> None:
        """Words, above the line."""
        if self._live:
            self._progress.console.print(text, markup=False, highlight=False)
        else:
            say(text, error=True)


def summary(row: Mapping[str, float], steps: int) -> str:
    """One line: losses, distances with their multipliers, speed and what is left of the run at the speed of now."""
    parts = [f"loss {row['loss']:.4g}", f"flow {row['flow']:.4g}"]
    for part in ("scene", "degradation", "plan", "reading"):
        if f"d_{part}" in row:
            parts.append(f"{part[0]} {row[f'd_{part}']:.3f}*{row.get(f'lambda_{part}', 0.0):.2g}")
    speed = row.get("samples_per_second", 0.0)
    if speed > 0:
        left = (steps - row["step"]) * row["batch"] / speed
        parts.append(f"{speed:.3g}/s  {row['crop']:.0f} px  ETA {_duration(left)}")
    return "  ".join(parts)


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    return f"{days} d {hours} h" if days else f"{hours}:{minutes:02d}:{seconds:02d}"
