"""An evaluation: every method over every test picture, measured, scored and kept; it goes on where it was stopped."""

import json
import platform
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import psutil

from cotir import __version__
from cotir.bench.tars import write_whole
from cotir.colour import unit
from cotir.errors import ConfigError, CoTIRError, ImageError
from cotir.evaluate.cases import Case, Pair, TestSet, encode_png
from cotir.evaluate.cost import Measured, gflop, held, measure
from cotir.evaluate.methods import Method, Pixels, Request, Restored
from cotir.evaluate.metrics import Metric
from cotir.evaluate.records import IMAGES, JOURNAL, RUN, Journal, Row, write_results
from cotir.evaluate.restorers import Specification

FAULTS = (
    OSError, ValueError, RuntimeError, ArithmeticError, LookupError, TypeError, AttributeError, AssertionError,
    ImportError, MemoryError,
)  # fmt: skip
"""What a method that is not ours may raise on a picture: the picture is missing then, and the rest go on."""


class Watch(Protocol):
    """Is told how an evaluation goes on."""

    def start(self, todo: int, done: int) -> None:
        """So many results are to be made, so many are there already."""

    def result(self, row: Row) -> None:
        """A result was made, or is missing."""

    def note(self, text: str) -> None:
        """Something to know."""


@dataclass(frozen=True)
class Options:
    """How to evaluate."""

    metrics: tuple[Metric, ...]
    seed: int = 0
    keep_images: bool = True
    count_arithmetic: bool = True
    command: str = ""


@dataclass(frozen=True)
class _Job:
    """One result to be made."""

    case: Case
    prompt: str
    words: str


def evaluate(
    tests: TestSet,
    specifications: Sequence[Specification],
    run: Path,
    options: Options,
    watch: Watch,
    stopping: Callable[[], bool] = lambda: False,
) -> list[Row]:
    """Run methods over test pictures and keep every result in ``run`` as it is made.

    Args:
        tests: the pictures.
        specifications: the methods.
        run: folder of results; one of an earlier, stopped run of the same test set and metrics goes on.
        options: see there.
        watch: is told.
        stopping: asked before every result; True ends the evaluation, with the table of what is there.

    Returns:
        The newest row of every method, instruction and picture that was asked for.

    Raises:
        ConfigError: ``run`` holds another evaluation, a specification is wrong, two are equal, or a method cannot run
            at all.
    """
    texts = [each.text for each in specifications]
    if len(set(texts)) < len(texts):
        raise ConfigError(f"a method is named twice: {', '.join(t for t in set(texts) if texts.count(t) > 1)}")
    methods = {each.text: each.build() for each in specifications}
    facts = _facts(tests, options)
    run.mkdir(parents=True, exist_ok=True)
    about = _check_folder(run, facts)
    journal = Journal(run / JOURNAL)
    jobs = {text: list(_jobs(tests, method)) for text, method in methods.items()}
    rows: list[Row] = []
    try:
        for text, method in methods.items():
            if stopping():
                break
            rows += _Runner(text, method, run, options, journal, about, watch).run(jobs[text], stopping)
    finally:
        _write_about(run, about | {"command": options.command})
        if journal.rows:
            write_results(run, journal.newest())
    return rows


def _jobs(tests: TestSet, method: Method) -> Iterator[_Job]:
    for prompt in method.prompts:
        for case in tests.cases:
            words = case.words(prompt)
            if words is not None:
                yield _Job(case, prompt, words)


class _Runner:
    """One method over its jobs."""

    def __init__(
        self,
        text: str,
        method: Method,
        run: Path,
        options: Options,
        journal: Journal,
        about: dict[str, Any],
        watch: Watch,
    ) -> None:
        self.text, self.method, self.run_folder = text, method, run
        self.options, self.journal, self.about, self.watch = options, journal, about, watch
        self.base = 0

    def run(self, jobs: Sequence[_Job], stopping: Callable[[], bool]) -> list[Row]:
        self.base = held()
        self.method.prepare()
        try:
            todo = [job for job in jobs if not self.journal.has(self._identity(job))]
            self.watch.start(len(todo), len(jobs) - len(todo))
            if todo:
                self._describe(todo[0])
            for job in todo:
                if stopping():
                    break
                row = self._result(job)
                self.journal.add(row)
                self.watch.result(row)
        finally:
            self.method.release()
        made = (self._identity(job) for job in jobs)
        return [self.journal.rows[each] for each in made if each in self.journal.rows]

    def _identity(self, job: _Job) -> tuple[str, str, str, str]:
        return self.text, self.method.version, job.prompt, job.case.key

    def _describe(self, job: _Job) -> None:
        """What the method is, from a first restoration that is neither timed nor kept: it also warms up."""
        facts: dict[str, Any] = {"version": self.method.version, "model_bytes": self.method.model_bytes()}
        try:
            request = self._request(job, job.case.load())
            height, width = request.image.shape[:2]
            if self.options.count_arithmetic:
                count = gflop(lambda: self.method.restore(request))
                facts["gflop_per_megapixel"] = count and count / (height * width / 1e6)
            else:
                self.method.restore(request)
        except (CoTIRError, *FAULTS):
            pass  # said when its turn comes
        self.about["methods"][self.text] = facts

    def _result(self, job: _Job) -> Row:
        try:
            pair = job.case.load()
            request = self._request(job, pair)
            taken = measure(lambda: self.method.restore(request), self.base)
            image = _checked(taken.result.image, request.image)
            scores = self._scores(image, pair)
        except CoTIRError as error:
            return self._row(job, missing=str(error))
        except FAULTS as error:
            return self._row(job, missing=f"{type(error).__name__}: {error}")
        kept = self._keep(job, pair, image) if self.options.keep_images else None
        return self._row(job, pair, scores, taken, kept)

    def _request(self, job: _Job, pair: Pair) -> Request:
        return Request(job.case.key, pair.lq, job.words, job.case.kinds, self.options.seed)

    def _scores(self, image: Pixels, pair: Pair) -> dict[str, float]:
        restored = unit(image)
        reference = None if pair.hq is None else unit(pair.hq)
        return {metric.name: metric(restored, reference) for metric in self.options.metrics}

    def _keep(self, job: _Job, pair: Pair, image: Pixels) -> str:
        for name, pixels in (("lq", pair.lq), ("hq", pair.hq)):
            place = self.run_folder / IMAGES / name / f"{job.case.key}.png"
            if pixels is not None and not place.exists():
                write_whole(place, encode_png(pixels))
        place = f"{IMAGES}/{folder_name(self.text, job.prompt)}/{job.case.key}.png"
        write_whole(self.run_folder / place, encode_png(image))
        return place

    def _row(
        self,
        job: _Job,
        pair: Pair | None = None,
        scores: dict[str, float] | None = None,
        taken: Measured[Restored] | None = None,
        image: str | None = None,
        missing: str | None = None,
    ) -> Row:
        case, nan = job.case, float("nan")
        reasoning = None if taken is None else taken.result.reasoning
        height, width = (0, 0) if pair is None else pair.lq.shape[:2]
        return Row(
            method=self.text,
            version=self.method.version,
            prompt=job.prompt,
            key=case.key,
            deg=case.deg,
            group=case.group,
            kinds=case.kinds or (),
            severities=case.severities,
            photo=case.photo,
            height=height,
            width=width,
            metrics=scores or {metric.name: nan for metric in self.options.metrics},
            seconds=0.0 if taken is None else taken.seconds,
            cpu_seconds=0.0 if taken is None else taken.cpu_seconds,
            peak_mb=0.0 if taken is None else taken.peak_mb,
            steps=() if taken is None else taken.result.steps,
            findings=None if reasoning is None else {f.kind: (f.confidence, f.severity) for f in reasoning.findings},
            image=image,
            missing=missing,
        )


def folder_name(method: str, prompt: str) -> str:
    """A method and its prompt as the name of a folder."""
    plain = "".join(c if c.isalnum() or c in "-_.=" else "_" for c in method)
    return plain if prompt == "none" else f"{plain}-{prompt}"


def _checked(image: Any, given: Pixels) -> Pixels:
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.shape != given.shape:
        form = f"{getattr(image, 'dtype', type(image).__name__)} {getattr(image, 'shape', '')}"
        raise ImageError(f"the method gave {form}; it must give uint8 {given.shape}, the size of its picture")
    return image


def _facts(tests: TestSet, options: Options) -> dict[str, Any]:
    """What the results of a folder have in common."""
    return {
        "test_set": tests.fingerprint,
        "metrics": [metric.name for metric in options.metrics],
        "seed": options.seed,
    }


def _check_folder(run: Path, facts: dict[str, Any]) -> dict[str, Any]:
    path = run / RUN
    if not path.exists():
        if (run / JOURNAL).exists():
            raise ConfigError(f"{run}: holds results without {RUN}; name another folder")
        about = {"facts": facts, "methods": {}}
        _write_about(run, about)
        return about
    try:
        about = json.loads(path.read_bytes())
        there = about["facts"]
    except (OSError, ValueError, KeyError) as error:
        raise ConfigError(f"{path}: cannot be read ({error}); name another folder") from error
    differing = [name for name in facts if there.get(name) != facts[name]]
    if differing:
        which = " and ".join(differing).replace("_", " ")
        raise ConfigError(f"{run}: holds an evaluation with another {which}; name another folder with -o")
    return about


def _write_about(run: Path, about: dict[str, Any]) -> None:
    machine = {
        "system": platform.platform(),
        "python": sys.version.split()[0],
        "cotir": __version__,
        "cores": psutil.cpu_count(logical=False),
        "memory_gb": round(psutil.virtual_memory().total / 1e9),
    }
    write_whole(run / RUN, json.dumps(about | {"machine": machine}, indent=1, ensure_ascii=False).encode())
