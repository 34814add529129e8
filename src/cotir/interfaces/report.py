"""What a run tells the person in front of it: one line per picture, a progress bar, and the count at the end.

Results go to standard output, failures and the bar to standard error.
"""

import sys
import time
import traceback
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.text import Text


def legible(text: object) -> str:
    """One printable line: line ends become spaces, control characters and bytes that are no text become escapes."""
    line = str(text).replace("\r", "").replace("\n", " ")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in line)


def is_live(console: Console) -> bool:
    """Whether a bar can be drawn: not where the cursor cannot be moved, nor in a file that looks like a terminal."""
    return console.is_terminal and not console.is_dumb_terminal and console.file.isatty()


def say(text: str, style: str = "", *, error: bool = False) -> None:
    """Print one line, never wrapped and never read as markup."""
    Console(stderr=error, highlight=False).print(Text(text, style), soft_wrap=True)


def say_error(message: object) -> None:
    """Print one red line on standard error."""
    say(f"error: {legible(message)}", "red", error=True)


def unforeseen(error: Exception) -> str:
    """One line about a failure nobody foresaw; a memory that is full is told in words."""
    name = type(error).__name__
    if isinstance(error, MemoryError) or name == "OutOfMemoryError":
        return f"{name}: not enough memory for this picture on this device"
    return f"{name}: {error}" if str(error) else name


@dataclass(frozen=True)
class Done:
    """A picture that was restored."""

    target: Path
    size: tuple[int, int]
    """Width and height in pixels."""
    notes: Sequence[str] = ()
    diagnosis: str = ""
    """What the model saw, in a few words, if it can tell."""
    explanation: Sequence[str] = ()
    """The whole of it, line by line, if it was asked for."""


class Report(AbstractContextManager["Report"]):
    """Tells about a run over ``total`` pictures and counts them."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.done = self.skipped = self.failed = 0
        self._started = time.monotonic()
        console = Console(stderr=True)
        self._bar = Progress(
            TextColumn("{task.description}", markup=False),  # a file may be called "[red].png"
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("ETA"),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
            # without a terminal behind it, standard output belongs to whoever reads it
            redirect_stdout=sys.stdout.isatty(),
            speed_estimate_period=600,
        )
        self._pictures = self._bar.add_task("pictures", total=total)
        self._passes = self._bar.add_task("", visible=False)

    def __enter__(self) -> "Report":
        """Show the bar."""
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Take the bar away."""
        self._bar.stop()

    def begin(self, source: Path) -> None:
        """Say in the bar which picture is next."""
        self._bar.update(self._passes, description=legible(source.name), completed=0, visible=False)

    def progress(self, done: int, total: int) -> None:
        """Take in that ``done`` of the picture's ``total`` passes through the model are over."""
        self._bar.update(self._passes, completed=done, total=total, visible=total > 1)
        self._bar.update(self._pictures, completed=self.done + self.skipped + self.failed + done / total)

    def add_done(self, source: Path, done: Done, seconds: float) -> None:
        """A picture was restored."""
        self.done += 1
        thought = f"{done.diagnosis}  " if done.diagnosis else ""
        notes = f"  ({legible('; '.join(done.notes))})" if done.notes else ""
        size = f"{done.size[0]} x {done.size[1]}"
        self._tell(f"{legible(source)}  {size}  {seconds:.1f} s  {thought}-> {legible(done.target)}{notes}")
        for line in done.explanation:
            self._tell(f"  {line}")

    def add_skipped(self, source: Path, target: Path) -> None:
        """A picture was left alone because its result is there."""
        self.skipped += 1
        self._tell(f"{legible(source)}  skipped: {legible(target)} exists", "dim")

    def add_failed(self, source: Path, message: object, *, trace: BaseException | None = None) -> None:
        """A picture could not be restored; with ``trace``, the traceback of that is printed too."""
        self.failed += 1
        line = str(message)
        self._tell(legible(line if line.startswith(f"{source}:") else f"{source}: {line}"), "red", error=True)
        if trace is not None:
            say("".join(traceback.format_exception(trace)), error=True)

    def _tell(self, line: str, style: str = "", *, error: bool = False) -> None:
        say(line, style, error=error)
        self._bar.update(self._pictures, completed=self.done + self.skipped + self.failed)

    def add_summary(self, left_out: int) -> None:
        """Print the count; ``left_out`` outputs of earlier runs were not among the pictures."""
        note = f"; outputs of earlier runs left out: {left_out}" if left_out else ""
        say(f"{self._counts()} in {time.monotonic() - self._started:.1f} s{note}", "bold")

    def add_interruption(self, *, overwrite: bool) -> None:
        """Say what an interrupted run has done and how to go on."""
        how = "the same command with --skip-existing" + (" in place of --overwrite" if overwrite else "")
        say(
            f"interrupted: {self._counts()} of {self.total}. Every file written is complete; to continue, run {how}",
            "yellow",
            error=True,
        )

    def _counts(self) -> str:
        return f"{self.done} done, {self.skipped} skipped, {self.failed} failed"
