"""An evaluation: every method over every test picture, measured, scored and kept; it goes on where it was stopped."""

import json
import platform
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import psutil

from cotir import __version__
from cotir.bench.tars import write_whole
from cotir.errors import ConfigError
from cotir.evaluate.cases import TestSet
from cotir.evaluate.metrics import Metric, check_metrics
from cotir.evaluate.records import JOURNAL, RUN, Journal, Row, write_results
from cotir.evaluate.restorers import Specification
from cotir.evaluate.runner import Job, MethodError, Options, Runner, Watch, jobs_of

_TOLD = ("torch", "numpy", "opencv-python-headless", "scikit-image", "torchmetrics", "piq", "pyiqa")
"""Packages whose versions are written down: their numbers are theirs."""


@dataclass(frozen=True)
class Outcome:
    """What an evaluation came to."""

    rows: list[Row]
    """The newest row of every method, instruction and picture that was asked for."""
    failed: tuple[str, ...]
    """Methods that could not run at all."""


def evaluate(
    tests: TestSet,
    specifications: Sequence[Specification],
    run: Path,
    metrics: Sequence[Metric],
    options: Options,
    watch: Watch,
    stopping: Callable[[], bool] = lambda: False,
) -> Outcome:
    """Run methods over test pictures and keep every result in ``run`` as it is made.

    Args:
        tests: the pictures.
        specifications: the methods.
        run: folder of results; one of an earlier, stopped run of the same test set and metrics goes on.
        metrics: what is computed of every result.
        options: see there.
        watch: is told.
        stopping: asked before every result; True ends the evaluation, with the table of what is there.

    Raises:
        ConfigError: ``run`` holds another evaluation, a specification is wrong, two are equal, a metric cannot be
            computed here, or a method has nothing to do.
    """
    texts = [each.text for each in specifications]
    if len(set(texts)) < len(texts):
        raise ConfigError(f"a method is named twice: {', '.join(sorted(t for t in set(texts) if texts.count(t) > 1))}")
    methods = {each.text: each.build() for each in specifications}
    jobs = {text: _jobs(tests, text, method, watch) for text, method in methods.items()}
    check_metrics(metrics, tests.has_reference)
    about = _open(run, _facts(tests, metrics, options), options)
    journal = Journal(run / JOURNAL)
    rows: list[Row] = []
    failed: list[str] = []
    try:
        for text, method in methods.items():
            if stopping():
                break
            runner = Runner(text, method, run, metrics, options, journal, watch)
            try:
                rows += runner.run(jobs[text], about["methods"].setdefault(text, {}), stopping)
            except MethodError as error:
                watch.note(f"{text}: cannot run: {error}; the same command tries it again")
                failed.append(text)
            _write_about(run, about)
    finally:
        versions = {text: facts.get("version") for text, facts in about["methods"].items()}
        if journal.rows:
            write_results(run, journal.newest(versions))
    return Outcome(rows, tuple(failed))


def _jobs(tests: TestSet, text: str, method: Any, watch: Watch) -> list[Job]:
    jobs = list(jobs_of(tests, method))
    told = {job.prompt for job in jobs}
    for prompt in method.prompts:
        if prompt not in told:
            watch.note(f"{text}: these pictures have no {prompt} instruction; it is left out")
    if not jobs:
        raise ConfigError(f"{text}: nothing to do: these pictures have no {' or '.join(method.prompts)} instruction")
    return jobs


def _facts(tests: TestSet, metrics: Sequence[Metric], options: Options) -> dict[str, Any]:
    """What the results of a folder have in common."""
    return {
        "test set": tests.fingerprint,
        "metrics": [metric.name for metric in metrics],
        "seed": options.seed,
        "threads": options.threads,
    }


def _open(run: Path, facts: dict[str, Any], options: Options) -> dict[str, Any]:
    """What is known of a run: a new one, or the one that is there if it has the same facts."""
    run.mkdir(parents=True, exist_ok=True)
    path = run / RUN
    about: dict[str, Any] = {"facts": facts, "methods": {}}
    if path.exists():
        try:
            about = json.loads(path.read_bytes())
            there = dict(about["facts"])
            about["methods"] = dict(about["methods"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ConfigError(f"{path}: cannot be read ({error}); name another folder") from error
        for name, value in facts.items():
            if there.get(name) != value:
                raise ConfigError(
                    f"{run}: holds an evaluation with another {name}, {_short(there.get(name))} and not "
                    f"{_short(value)}; name another folder with -o"
                )
    elif (run / JOURNAL).exists():
        raise ConfigError(f"{run}: holds results without {RUN}; name another folder with -o")
    about |= {"command": options.command}
    _write_about(run, about)
    return about


def _short(value: object) -> str:
    text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    return text if len(text) <= 80 else f"{text[:12]}..."


def _write_about(run: Path, about: dict[str, Any]) -> None:
    machine = {
        "system": platform.platform(),
        "python": sys.version.split()[0],
        "cotir": __version__,
        "cores": psutil.cpu_count(logical=False),
        "memory_gb": round(psutil.virtual_memory().total / 1e9),
        **{name: found for name in _TOLD if (found := _installed(name))},
    }
    write_whole(run / RUN, json.dumps(about | {"machine": machine}, indent=1).encode())


def _installed(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""
