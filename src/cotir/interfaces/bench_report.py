"""What ``cotir bench`` prints: a bar with rates while it runs, photos left out, summaries and tables."""

import json
import sys
import time
from contextlib import AbstractContextManager
from dataclasses import asdict
from types import TracebackType
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from cotir.bench.build import Built, Watcher
from cotir.bench.photos import Skipped
from cotir.bench.plan import Cluster, Pilot, forecast
from cotir.bench.stats import Stats
from cotir.interfaces.report import legible, say

if TYPE_CHECKING:
    from rich.progress import TaskID

_INTERVAL = 30.0
"""Seconds between lines where no bar can be shown, as in a log file."""


class Bar(AbstractContextManager["Bar"]):
    """A bar on standard error; without a terminal, a line now and then.

    Args:
        what: is counted.
    """

    def __init__(self, what: str) -> None:
        self._console = Console(stderr=True)
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeElapsedColumn(),
            TextColumn("ETA"),
            TimeRemainingColumn(),
            console=self._console,
            transient=True,
            disable=not self._console.is_terminal,
            redirect_stdout=sys.stdout.isatty(),
            speed_estimate_period=600,
        )
        self._task: TaskID = self._progress.add_task(what, total=None, rate="")
        self._what, self._said = what, time.monotonic()

    def __enter__(self) -> "Bar":
        """Show the bar."""
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Take the bar away."""
        self._progress.stop()

    def begin(self, what: str, total: int) -> None:
        """Start to count something else."""
        self._what = what
        self._progress.reset(self._task, total=total, description=what, rate="")

    def update(self, done: int, total: int, rate: str = "") -> None:
        """So much is done."""
        self._progress.update(self._task, completed=done, total=total, rate=rate)
        if not self._console.is_terminal and time.monotonic() - self._said > _INTERVAL:
            self._said = time.monotonic()
            say(f"{self._what} {done}/{total}  {rate}", "dim", error=True)


class BuildReport(Watcher, AbstractContextManager["BuildReport"]):
    """Tells about a build."""

    def __init__(self) -> None:
        self._bar = Bar("photos")
        self._total = self._done = self._made = self._bytes = 0
        self._started = self._stage_started = time.monotonic()

    def __enter__(self) -> "BuildReport":
        """Show the bar."""
        self._bar.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Take the bar away."""
        self._bar.__exit__(kind, error, trace)

    def begin(self, stage: str, total: int) -> None:
        """Show another stage in the bar."""
        self._total, self._done, self._made, self._bytes = total, 0, 0, 0
        self._stage_started = time.monotonic()
        self._bar.begin(stage, total)

    def advance(self, count: int, size: int = 0) -> None:
        """Count what is done; what was there already does not enter the rate."""
        self._done += count
        self._made += count if size else 0
        self._bytes += size
        self._bar.update(self._done, self._total, self._rate() if size else "")

    def skipped(self, photo: Skipped) -> None:
        """Name a photo that is left out, and why."""
        say(f"{legible(photo.file)}: {legible(photo.reason)}", "yellow", error=True)

    def add_summary(self, built: Built) -> None:
        """Print what was built, how quickly, and what a model was paid for it."""
        seconds = time.monotonic() - self._started
        there = self._done - self._made
        old = f", {there} of them from an earlier run" if there else ""
        rate = f", {self._rate()}" if self._made else ""
        counts = f"{built.samples['train']} training and {built.samples['test']} test samples"
        say(f"{counts}{old} in {legible(built.root)}; {seconds:.1f} s{rate}", "bold")
        if built.seconds:
            total = sum(built.seconds.values())
            shares = sorted(built.seconds.items(), key=lambda stage: -stage[1])
            say("time: " + ", ".join(f"{name} {100 * spent / total:.0f} %" for name, spent in shares), "dim")
        if built.skipped:
            say(f"{len(built.skipped)} files of the photo folder were left out, see above and manifest.json", "yellow")
        if built.usage:
            say("traces: " + ", ".join(f"{name} {count:g}" for name, count in sorted(built.usage.items())))

    def _rate(self) -> str:
        seconds = max(time.monotonic() - self._stage_started, 1e-6)
        return f"{self._made / seconds:.1f} samples/s, {self._bytes / seconds / 1e6:.1f} MB/s"


def say_plan(pilot: Pilot, samples: int, cores: int) -> None:
    """Print what was measured, and what a large build takes on one machine and on several."""
    say(
        f"measured: {pilot.samples} samples at {pilot.size} x {pilot.size} in {pilot.seconds:.1f} s "
        f"with {pilot.workers} workers: {pilot.rate:.1f} samples/s per core, {pilot.rate_without_png:.1f} without PNG, "
        f"{pilot.bytes_per_sample / 1e6:.2f} MB per sample",
        "bold",
    )
    total = sum(pilot.stages.values())
    say("time: " + ", ".join(f"{name} {100 * spent / total:.0f} %" for name, spent in pilot.stages.items()))
    say(f"the survey of {pilot.photos} photos took {pilot.survey_seconds:.1f} s")
    say(f"{samples:,} samples:", "bold")
    say(f"  {'nodes':>5} x {'cores':>5}  {'hours':>9}  {'TB':>6}  {'MB/s to disk':>12}")
    for cluster in (Cluster(1, pilot.workers), *(Cluster(nodes, cores) for nodes in (1, 2, 4, 8, 16, 32))):
        each = forecast(pilot, cluster, samples)
        say(
            f"  {cluster.nodes:>5} x {cluster.cores:>5}  {each.hours:>9,.1f}  {each.terabytes:>6.2f}  "
            f"{each.megabytes_per_second:>12,.0f}"
        )


def say_stats(stats: Stats, *, as_json: bool) -> None:
    """Print what a benchmark holds."""
    if as_json:
        say(json.dumps(asdict(stats), indent=1))
        return
    say(
        f"{stats.samples} samples of {stats.photos} photos in {stats.shards} shards and the test split, "
        f"{stats.bytes / 1e9:.2f} GB",
        "bold",
    )
    say("traces: " + ", ".join(f"{writer} {count}" for writer, count in stats.writers.items()))
    say(f"{'group':7} {'train':>8} {'test':>6} {'dB':>6}  type", "bold")
    for each in stats.types:
        psnr = "" if each.psnr is None else f"{each.psnr:.1f}"
        say(f"{each.group:7} {each.train:>8} {each.test:>6} {psnr:>6}  {each.deg}")
    say(f"{'samples':>8} {'severity':>9}  kind", "bold")
    for each in stats.kinds:
        say(f"{each.samples:>8} {each.severity:>9.2f}  {each.kind}")
