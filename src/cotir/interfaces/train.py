"""``cotir train``: run a training, tell what one would take, draw a report. Heavy imports wait inside the commands."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Annotated, NoReturn

import typer

from cotir.errors import ConfigError, CoTIRError, TrainingError
from cotir.interfaces.report import legible, say, say_error

FAILED, USAGE = 1, 2
"""Exit codes: the run cannot go on; nothing was tried. A run that was asked to stop ends with 128 + the signal."""

_EXAMPLES = """
[bold]Examples[/bold]

cotir train configs/train/nano.yaml data.path=photos            a laptop will do

cotir train configs/train/nano.yaml data.path=photos --dry-run  what it would take

cotir train report runs/nano                                    curves and pictures in one page

accelerate launch --config_file configs/accelerate/ddp-8.yaml -m cotir train configs/train/cotir-4b.yaml

The same command goes on where a run stopped. Ctrl-C and SIGTERM save first.

[bold]Exit codes[/bold]: 0 done, 1 the run cannot go on, 2 nothing was tried,
130 stopped by Ctrl-C, 143 by SIGTERM.
"""


class Stop:
    """Remembers a first Ctrl-C or SIGTERM; a second one ends the process as usual.

    Args:
        what: is brought to its end first, for the message.
    """

    def __init__(self, what: str = "this step") -> None:
        self.signal, self._what = 0, what
        self._previous = {}

    def __enter__(self) -> "Stop":
        """Take the signals over."""
        for number in (signal.SIGINT, signal.SIGTERM):
            self._previous[number] = signal.signal(number, self._ask)
        return self

    def __exit__(self, *error: object) -> None:
        """Give them back."""
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def __call__(self) -> bool:
        """Whether a stop was asked for."""
        return bool(self.signal)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        self.signal = number
        signal.signal(number, self._previous[number])
        say(f"stopping after {self._what}; again to stop at once", "yellow", error=True)


def train(
    config: Annotated[
        str, typer.Argument(metavar="CONFIG.yaml|report", help="The run file; or 'report' and the folder of a run.")
    ],
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY=VALUE...|RUN]", help="Keys to change, as optimizer.rate=1e-4.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the resolved configuration and what it takes; train nothing.")
    ] = False,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="PAGE.html", show_default="RUN/report.html", help="Of 'report'."),
    ] = None,
) -> None:
    """Train a model, or draw the report of a run."""
    with _ended_well():
        if config == "report":
            _report(overrides or [], output)
            return
        from cotir.train.run_file import load_config, to_yaml

        resolved = load_config(config, overrides or [])
        if dry_run:
            if os.environ.get("RANK", "0") == "0":
                from cotir.train.forecast import forecast, lines

                say(to_yaml(resolved))
                for line in lines(forecast(resolved, world=int(os.environ.get("WORLD_SIZE", "1")))):
                    say(line)
            return
        from cotir.interfaces.models import silence_bars
        from cotir.interfaces.train_progress import TrainProgress
        from cotir.train.loop import Trainer

        silence_bars()
        with Stop() as stop, TrainProgress(resolved.schedule.stages[-1].until) as progress:
            outcome = Trainer(resolved, progress, stop).run()
    if not outcome.finished:
        say(f"stopped at step {outcome.step:,}; to continue, run the same command", "yellow", error=True)
        raise typer.Exit(128 + stop.signal)
    use = "" if outcome.weights is None else f"; use it: cotir restore PHOTO --model {legible(outcome.weights)}"
    say(f"{outcome.step:,} steps done{use}")


def register(parent: typer.Typer) -> None:
    """Add ``train`` to the command line."""
    parent.command(epilog=_EXAMPLES)(train)


def _report(arguments: list[str], output: Path | None) -> None:
    from cotir.train.report import write_report

    if len(arguments) != 1:
        raise ConfigError(f"report takes the folder of one run; got {' '.join(arguments) or 'none'}")
    page = write_report(Path(arguments[0]), output)
    say(f"{legible(page)}, {page.stat().st_size / 1e6:.1f} MB")


@contextmanager
def _ended_well() -> Iterator[None]:
    """Say what went wrong, and end with the code for it."""
    try:
        yield
    except TrainingError as error:
        _stop(error, FAILED)
    except CoTIRError as error:
        _stop(error, USAGE)
    except ModuleNotFoundError as error:
        _stop(ConfigError(f"this command needs {error.name}; pip install 'cotir[train]'"), USAGE)


def _stop(error: CoTIRError, code: int) -> NoReturn:
    say_error(error)
    raise typer.Exit(code)
