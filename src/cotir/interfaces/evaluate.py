"""``cotir eval``: methods over test pictures, one table, one page. Heavy imports wait inside the commands."""

import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from cotir.errors import ConfigError, CoTIRError
from cotir.interfaces.report import legible, say, say_error
from cotir.interfaces.train import Stop

if TYPE_CHECKING:
    from cotir.evaluate.cases import TestSet
    from cotir.evaluate.metrics import Metric

SOME_MISSING, USAGE = 1, 2
"""Exit codes: a result is missing; nothing was tried. Stopped by a signal is 128 and the signal."""

_EXAMPLES = """
[bold]Examples[/bold]

cotir eval --bench bench --method classical --method cotir:nano -o runs/eval

cotir eval --bench bench --method cotir:nano,steps=4 --method folder:outputs -o runs/eval

cotir eval --bench bench --method specialists:maxim,order=diagnosis -o runs/eval

cotir eval --bench bench --method python:mine.py:Mine -o runs/eval

cotir eval --lq inputs --hq originals --method folder:outputs -o runs/eval

cotir eval --real photos --method cotir:nano -o runs/real

cotir eval --compat released --hq originals --method folder:outputs

cotir eval report runs/eval                    the page and the tables again

cotir eval metrics                             what each measures

The same command goes on where it was stopped.

[bold]Exit codes[/bold]: 0 done, 1 a result is missing, 2 nothing was tried,
130 stopped by Ctrl-C, 143 by SIGTERM.
"""

app = typer.Typer(
    help="Compare methods on test pictures: scores with intervals, tests, cost, diagnosis, one page.",
    epilog=_EXAMPLES,
    invoke_without_command=True,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)
_TESTS, _WHAT = "Test pictures", "What is measured"


def register(parent: typer.Typer) -> None:
    """Add ``eval`` to the command line."""
    parent.add_typer(app, name="eval")


@app.callback()
def evaluate(
    context: typer.Context,
    bench: Annotated[
        Path | None, typer.Option(metavar="DIR", rich_help_panel=_TESTS, help="A built bench; its test split.")
    ] = None,
    lq: Annotated[
        Path | None, typer.Option(metavar="DIR", rich_help_panel=_TESTS, help="Damaged pictures, with --hq.")
    ] = None,
    hq: Annotated[
        Path | None, typer.Option(metavar="DIR", rich_help_panel=_TESTS, help="Their originals, of the same names.")
    ] = None,
    real: Annotated[
        Path | None, typer.Option(metavar="DIR", rich_help_panel=_TESTS, help="Photos without originals.")
    ] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, rich_help_panel=_TESTS, help="So many pictures, spread over the set.")
    ] = None,
    method: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME[:ARG][,KEY=VALUE]",
            help="identity, classical, specialists:FOLDER, cotir:MODEL, folder:PATH or python:FILE.py:CLASS; "
            "once for each. With originals, identity is always among them.",
        ),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="RUN", help="Folder of results; it is gone on with.")
    ] = None,
    metric: Annotated[
        list[str] | None,
        typer.Option(rich_help_panel=_WHAT, show_default="the set default", help="Once for each, instead of a set."),
    ] = None,
    metrics: Annotated[
        str | None,
        typer.Option(
            metavar="default|real|paper",
            rich_help_panel=_WHAT,
            help="A set of metrics. paper is the paper's, through pyiqa: not for commercial use; fetches weights.",
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of methods that draw random numbers.")] = 0,
    images: Annotated[
        bool, typer.Option("--images/--no-images", help="Keep restored pictures, which the page's gallery needs.")
    ] = True,
    threads: Annotated[int | None, typer.Option(min=1, show_default="torch's choice", help="CPU threads.")] = None,
    compat: Annotated[
        str | None, typer.Option(metavar="released", help="Score folder:ROOT against --hq as the released script does.")
    ] = None,
) -> None:
    """Run methods over test pictures and compare them."""
    if context.invoked_subcommand is not None:
        return
    with _ended_well():
        if compat is not None:
            _compat(compat, hq, method or [], metric, metrics)
            return
        tests = _tests(bench, lq, hq, real).first(limit)
        _tell_ignored(tests)
        chosen = _metrics(metric, metrics or ("default" if tests.has_reference else "real"), tests.has_reference)
        if not method:
            raise ConfigError("name at least one method, as in --method cotir:nano")
        if output is None:
            raise ConfigError("name a folder for the results, as in -o runs/eval")
        code = _run(tests, method, output, chosen, seed=seed, images=images, threads=threads)
    raise typer.Exit(code)


@app.command()
def report(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of an evaluation.")],
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="PAGE.html", show_default="RUN/report.html", help="The page."),
    ] = None,
) -> None:
    """Write the page and the tables (report.html, table.md, table.tex) of an evaluation."""
    with _ended_well():
        _report(run, output)


@app.command()
def metrics() -> None:
    """Tell what each metric measures, which way is better, and whether it can be computed here."""
    from cotir.evaluate.metrics import METRICS

    for each in METRICS.values():
        way = {True: "higher is better", False: "lower is better", None: "describes"}[each.higher_is_better]
        least, most = (f"{bound:g}" for bound in each.range)
        against = "with reference" if each.needs_reference else "no reference"
        here = "here" if each.is_installed else f"pip install 'cotir[{each.extra}]'"
        say(f"{each.name:14} {way:16} {least} to {most:4} {against:14} {each.library:12} {here}")
        say(f"{'':14} {each.source}", "dim")


def _tests(bench: Path | None, lq: Path | None, hq: Path | None, real: Path | None) -> "TestSet":
    from cotir.evaluate import cases

    given = [name for name, value in (("--bench", bench), ("--lq and --hq", lq or hq), ("--real", real)) if value]
    if len(given) != 1:
        raise ConfigError(f"name one test set: --bench DIR, --lq DIR --hq DIR, or --real DIR; got {given or 'none'}")
    if bench is not None:
        return cases.of_bench(bench)
    if real is not None:
        return cases.of_photos(real)
    if lq is None or hq is None:
        raise ConfigError("--lq and --hq belong together: damaged pictures and their originals")
    return cases.of_folders(lq, hq)


def _tell_ignored(tests: "TestSet") -> None:
    from cotir.evaluate.cases import listed

    if tests.ignored:
        say(f"left out, for they are no pictures: {listed(map(legible, tests.ignored))}", "yellow", error=True)


def _metrics(names: list[str] | None, set_name: str, has_reference: bool) -> "tuple[Metric, ...]":
    from cotir.evaluate.metrics import SETS, choose, left_out

    if names:
        return choose(names)
    chosen = choose(set_name)  # pyright: ignore[reportArgumentType] - a wrong one is refused with the right ones
    for name in SETS:
        if name == set_name and (lacking := left_out(name)):
            extras = " ".join(sorted({f"'cotir[{each.extra}]'" for each in lacking}))
            say(f"not computed: {', '.join(e.name for e in lacking)}; pip install {extras}", "yellow", error=True)
    if set_name == "paper":
        say("these metrics run through pyiqa, which is not for commercial use (PolyForm Noncommercial)", error=True)
    usable = tuple(each for each in chosen if has_reference or not each.needs_reference)
    if len(usable) < len(chosen):
        lost = ", ".join(each.name for each in chosen if each not in usable)
        say(f"not computed: {lost}, which compare with originals", "yellow", error=True)
    if not usable:
        raise ConfigError(f"every metric of the set {set_name} compares with originals; choose the set real")
    return usable


def _run(
    tests: "TestSet",
    texts: list[str],
    run: Path,
    metrics: "tuple[Metric, ...]",
    *,
    seed: int,
    images: bool,
    threads: int | None,
) -> int:
    from cotir.evaluate.restorers import Specification
    from cotir.evaluate.run import evaluate
    from cotir.evaluate.runner import Options
    from cotir.interfaces.evaluate_progress import EvaluateProgress
    from cotir.interfaces.models import silence_bars

    if tests.has_reference:
        texts = ["identity", *(text for text in texts if text != "identity")]
    specifications = [Specification.parse(text) for text in texts]
    silence_bars()
    if threads is not None:
        _limit(threads)
    command = shlex.join(["cotir", *sys.argv[1:]])
    options = Options(seed, images, threads, command)
    with Stop("this picture") as stop, EvaluateProgress() as progress:
        outcome = evaluate(tests, specifications, run, metrics, options, progress, stop)
    if outcome.rows:
        _report(run, None)
    missing = [row for row in outcome.rows if row.missing is not None]
    if stop.signal:
        say("stopped; to continue, run the same command", "yellow", error=True)
        return 128 + stop.signal
    if missing:
        say(f"{len(missing):,} results are missing; the same command tries them again", "yellow", error=True)
    return SOME_MISSING if missing or outcome.failed else 0


def _limit(threads: int) -> None:
    """Threads of torch, and of OpenCV where it is there."""
    from contextlib import suppress

    import torch

    torch.set_num_threads(threads)
    with suppress(ImportError):
        import cv2

        cv2.setNumThreads(threads)


def _report(run: Path, output: Path | None) -> None:
    from cotir.evaluate.report import write_report

    page = write_report(run, output)
    say(f"{legible(page)}, {page.stat().st_size / 1e6:.1f} MB; tables: {legible(run / 'table.md')}, table.tex")


def _compat(name: str, hq: Path | None, methods: list[str], names: list[str] | None, set_name: str | None) -> None:
    from cotir.evaluate.cases import listed
    from cotir.evaluate.compat import SUMMARY, find_results, summarise
    from cotir.evaluate.restorers import Specification
    from cotir.interfaces.evaluate_progress import EvaluateProgress

    if name != "released":
        raise ConfigError(f"there is no --compat {name}; it is 'released'")
    roots = [each.argument for each in map(Specification.parse, methods) if each.name == "folder"]
    if hq is None or not roots or len(roots) < len(methods) or None in roots:
        raise ConfigError("--compat released compares folders of results with originals: --hq DIR --method folder:ROOT")
    chosen = _metrics(names, set_name or "paper", has_reference=True)
    for root in roots:
        for results in find_results(Path(str(root))):
            with EvaluateProgress() as progress:
                summary = summarise(results, hq, chosen, partial(progress.scored, results.method))
            say(summary.text().splitlines()[1])
            say(f"{summary.count:,} pictures; saved to {legible(results.folder / SUMMARY)}", error=True)
            for alone, what in ((summary.without_reference, "reference"), (summary.without_result, "result")):
                if alone:
                    say(f"{len(alone):,} without {what}: {listed(alone)}", "yellow", error=True)


@contextmanager
def _ended_well() -> Iterator[None]:
    """Say what went wrong, and end with the code for it."""
    try:
        yield
    except CoTIRError as error:
        _stop(error)
    except ModuleNotFoundError as error:
        _stop(ConfigError(f"this command needs {error.name}; pip install 'cotir[eval]'"))
    except OSError as error:
        what = error.strerror or error
        _stop(ConfigError(f"{error.filename or 'the results'}: {what}; check the folder and the disk"))


def _stop(error: CoTIRError) -> NoReturn:
    say_error(error)
    raise typer.Exit(USAGE)
