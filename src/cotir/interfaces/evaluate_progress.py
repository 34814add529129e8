"""What ``cotir eval`` prints: a bar with the time left on a terminal, a line now and then in a log file."""

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from cotir.evaluate.records import Row
from cotir.interfaces.report import is_live, say

_INTERVAL = 30.0
"""Seconds between lines where no bar can be shown."""


class EvaluateProgress(AbstractContextManager["EvaluateProgress"]):
    """Tells about an evaluation; see :class:`cotir.evaluate.run.Watch`.

    Args:
        console: where to; standard error by default.
        clock: seconds, for the plain lines.
    """

    def __init__(self, console: Console | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._console = console or Console(stderr=True)
        self._clock, self._said, self._live = clock, -_INTERVAL, is_live(self._console)
        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=20),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
        )
        self._progress = Progress(*columns, console=self._console, disable=not self._live)
        self._task = self._progress.add_task("", total=0)
        self._done = self._todo = 0
        self._started = clock()

    def __enter__(self) -> "EvaluateProgress":
        """Show the bar."""
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave the bar as it is."""
        self._progress.stop()

    def start(self, todo: int, done: int) -> None:
        """A method begins."""
        self._done, self._todo, self._started, self._said = 0, todo, self._clock(), -_INTERVAL
        self._progress.reset(self._task, total=todo + done, completed=done, description="")

    def result(self, row: Row) -> None:
        """A result was made, or is missing."""
        name = row.method if row.prompt == "none" else f"{row.method} {row.prompt}"
        if row.missing is not None:
            self.note(f"{name}: {row.key} is missing: {row.missing}")
        self._advance(name)

    def scored(self, name: str, done: int, of: int) -> None:
        """A result that was there already was scored."""
        if done == 1:
            self.start(of, 0)
        self._advance(name)

    def note(self, text: str) -> None:
        """Words, above the bar."""
        self._progress.console.print(text, style="yellow", markup=False, highlight=False, soft_wrap=True)

    def _advance(self, name: str) -> None:
        self._done += 1
        self._progress.update(self._task, advance=1, description=name)
        now = self._clock()
        if not self._live and (now - self._said >= _INTERVAL or self._done == self._todo):
            self._said = now
            left = (now - self._started) / self._done * (self._todo - self._done)
            say(f"{name}  {self._done}/{self._todo}, {left:.0f} s left", error=True)
