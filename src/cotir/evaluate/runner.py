"""One method over its test pictures: every result is measured, scored and on disk before the next one begins."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from cotir.bench.tars import write_whole
from cotir.colour import unit
from cotir.errors import CoTIRError, ImageError
from cotir.evaluate.cases import Case, Pair, TestSet, encode_png
from cotir.evaluate.cost import Measured, gflop, held, measure
from cotir.evaluate.methods import Method, Pixels, Request, Restored
from cotir.evaluate.metrics import Metric
from cotir.evaluate.records import IMAGES, Identity, Journal, Row

LOOKED_AT = 3
"""Pictures over which arithmetic is counted: a chain's depends on the picture."""


class MethodError(CoTIRError):
    """A method cannot be loaded; other methods can."""


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

    seed: int = 0
    keep_images: bool = True
    threads: int | None = None
    """CPU threads that were asked for; written down, for times with others are not compared."""
    command: str = ""


@dataclass(frozen=True)
class Job:
    """One result to be made."""

    case: Case
    prompt: str
    words: str


def jobs_of(tests: TestSet, method: Method) -> Iterator[Job]:
    """What a method has to do: every picture, under every instruction that it reads and the picture has."""
    for prompt in method.prompts:
        for case in tests.cases:
            words = case.words(prompt)
            if words is not None:
                yield Job(case, prompt, words)


class Runner:
    """One method over its jobs.

    Args:
        text: the method's specification.
        method: not loaded yet.
        run: folder of results.
        metrics: what is computed of every result.
        options: of the evaluation.
        journal: of the folder.
        watch: is told.
    """

    def __init__(
        self,
        text: str,
        method: Method,
        run: Path,
        metrics: Sequence[Metric],
        options: Options,
        journal: Journal,
        watch: Watch,
    ) -> None:
        self.text, self.method, self.folder, self.metrics = text, method, run, metrics
        self.options, self.journal, self.watch = options, journal, watch
        self._base, self._told = 0, set[str]()

    def run(self, jobs: Sequence[Job], facts: dict[str, Any], stopping: Callable[[], bool]) -> list[Row]:
        """Make what is not there yet.

        Args:
            jobs: of this method.
            facts: what is known of it from earlier; what is found is added.
            stopping: asked before every result.

        Returns:
            The rows of all jobs that are there.

        Raises:
            MethodError: it cannot be loaded.
        """
        self._base = held()
        try:
            self._prepare()
            if facts.get("version") != self.method.version:
                facts.clear()
            todo = [job for job in jobs if not self.journal.has(self._identity(job))]
            self.watch.start(len(todo), len(jobs) - len(todo))
            if todo:
                self._describe(jobs, facts)
            facts["version"] = self.method.version
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

    def _prepare(self) -> None:
        try:
            self.method.prepare()
            if not isinstance(getattr(self.method, "version", None), str):
                raise MethodError("it has no version; set one in the class or in prepare()")
        except CoTIRError as error:
            raise MethodError(str(error)) from error
        except Exception as error:  # a method may be anyone's code
            raise MethodError(f"{type(error).__name__}: {error}") from error

    def _identity(self, job: Job) -> Identity:
        return self.text, self.method.version, job.prompt, job.case.key

    def _describe(self, jobs: Sequence[Job], facts: dict[str, Any]) -> None:
        """Weights and arithmetic, from restorations that are neither timed nor kept: they also warm up."""
        facts |= {"timed": self.method.timed}
        places = np.unique(np.linspace(0, len(jobs) - 1, LOOKED_AT).astype(int))
        counts = []
        try:
            facts["model_bytes"] = self.method.model_bytes()
            for place in places if "gflop_per_megapixel" not in facts else places[:1]:
                request = self._request(jobs[place], jobs[place].case.load())
                height, width = request.image.shape[:2]
                count = gflop(lambda request=request: self.method.restore(request)) or 0.0
                counts.append(count / (height * width / 1e6))
        except Exception as error:  # noqa: BLE001 - what it costs is not worth its results
            self.watch.note(f"{self.text}: weights and arithmetic are not told: {type(error).__name__}: {error}")
            return
        if len(counts) == len(places):
            facts["gflop_per_megapixel"] = float(np.mean(counts)) or None

    def _result(self, job: Job) -> Row:
        try:
            pair = job.case.load()
            request = self._request(job, pair)
            taken = measure(lambda: self.method.restore(request), self._base)
            image = _checked(taken.result, request.image)
        except CoTIRError as error:
            return self._row(job, missing=str(error))
        except Exception as error:  # noqa: BLE001 - one picture that a method fails on must not end the run
            return self._row(job, missing=f"{type(error).__name__}: {error}")
        kept = self._keep(job, pair, image) if self.options.keep_images else None
        return self._row(job, pair, self._scores(job, image, pair), taken, kept)

    def _request(self, job: Job, pair: Pair) -> Request:
        pair.lq.setflags(write=False)  # a method that works in place must not spoil what it is compared with
        return Request(job.case.key, pair.lq, job.words, job.case.kinds, self.options.seed)

    def _scores(self, job: Job, image: Pixels, pair: Pair) -> dict[str, float]:
        restored = unit(image)
        reference = None if pair.hq is None else unit(pair.hq)
        scores = {}
        for metric in self.metrics:
            try:
                scores[metric.name] = metric(restored, reference)
            except Exception as error:  # noqa: BLE001 - the restoration is not lost for one metric
                self.watch.note(f"{metric.name} of {job.case.key}: {type(error).__name__}: {error}")
                scores[metric.name] = float("nan")
        return scores

    def _keep(self, job: Job, pair: Pair, image: Pixels) -> str:
        for name, pixels in (("lq", pair.lq), ("hq", pair.hq)):
            place = self.folder / IMAGES / name / f"{job.case.key}.png"
            if pixels is not None and not place.exists():
                write_whole(place, encode_png(pixels))
        place = f"{IMAGES}/{folder_name(self.text, job.prompt)}/{job.case.key}.png"
        write_whole(self.folder / place, encode_png(image))
        return place

    def _row(
        self,
        job: Job,
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
            metrics=scores or {metric.name: nan for metric in self.metrics},
            seconds=0.0 if taken is None else taken.seconds,
            cpu_seconds=0.0 if taken is None else taken.cpu_seconds,
            peak_mb=0.0 if taken is None else taken.peak_mb,
            steps=() if taken is None else taken.result.steps,
            findings=None if reasoning is None else {f.kind: (f.confidence, f.severity) for f in reasoning.findings},
            image=image,
            missing=missing,
        )


def folder_name(method: str, prompt: str) -> str:
    """A method and its prompt as the name of a folder; short, and no other method's."""
    plain = "".join(c if c.isascii() and (c.isalnum() or c in "-_.=") else "_" for c in method)
    if plain != method.replace(":", "_").replace(",", "_") or len(plain) > 80:
        plain = f"{plain[:80]}-{hashlib.sha256(method.encode(errors='surrogateescape')).hexdigest()[:8]}"
    return plain if prompt == "none" else f"{plain}-{prompt}"


def _checked(result: Any, given: Pixels) -> Pixels:
    image = result.image if isinstance(result, Restored) else result
    if not isinstance(result, Restored) or not isinstance(image, np.ndarray):
        raise ImageError(f"the method gave {type(image).__name__}; it must give Restored(image), image a numpy array")
    if image.dtype != np.uint8 or image.shape != given.shape:
        raise ImageError(
            f"the method gave {image.dtype} {image.shape}; it must give uint8 {given.shape}, as its picture"
        )
    return image
