"""The run behind ``cotir restore``: picture after picture through one pipeline, whatever happens to any of them."""

import os
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING

from cotir.errors import ConfigError, CoTIRError, ImageError
from cotir.files import MAX_PIXELS, kind_for, losses, read, write
from cotir.image import Picture
from cotir.interfaces.compare import before_and_after
from cotir.interfaces.inputs import Inputs
from cotir.interfaces.reasoning import prepared, write_reasoning
from cotir.interfaces.report import Done, Report, unforeseen
from cotir.interfaces.targets import Job, Targets, jobs, output_folder
from cotir.prompts import DEFAULT_INSTRUCTION

if TYPE_CHECKING:
    from cotir.pipeline import CoTIRPipeline


KEPT = "no damage found, kept as it is: restoring would likely harm it; --prompt or --plan restores it all the same"


class Existing(Enum):
    """What to do where a result is already there."""

    FAIL = "fail"
    SKIP = "skip"
    REPLACE = "replace"


@dataclass(frozen=True)
class Options:
    """How every picture of a run is restored."""

    prompt: str | None = None
    """None leaves it to the model, and a sound picture as it is."""
    steps: int | None = None
    """None leaves the model's own number."""
    seed: int = 0
    strength: float = 1.0
    plan_first: bool | None = None
    """Look at a picture first, and restore it by the plan that comes of it; None leaves it to the model."""
    explain: bool = False
    """Tell the reasoning, and write it beside the result."""
    existing: Existing = Existing.FAIL
    quality: int | None = None
    max_pixels: int = MAX_PIXELS
    debug: bool = False


@dataclass(frozen=True)
class Plan:
    """What to restore and where it goes."""

    inputs: Inputs
    targets: Targets

    @classmethod
    def of(cls, arguments: list[str], output: str | None, *, recursive: bool, format: str, compare: bool) -> "Plan":
        """Check the names given on the command line.

        Raises:
            ConfigError: nothing is there to restore, or the output does not fit.
        """
        inputs = Inputs.of(arguments, recursive=recursive, excluded=output_folder(output))
        check_found(inputs)
        return cls(inputs, Targets(inputs, output, format=format, compare=compare))


def restore(
    plan: Plan, options: Options, load: Callable[[], "CoTIRPipeline"], report: Report, check: Callable[[], None]
) -> None:
    """Restore every picture of a plan; one that cannot be restored is reported and the rest go on.

    Args:
        plan: which pictures.
        options: how.
        load: builds the pipeline; called once, and only if a picture needs it.
        report: is told about every picture.
        check: called now and then; may raise KeyboardInterrupt to end the run.

    Raises:
        CoTIRError: the model cannot be loaded.
    """
    for folder, reason in plan.inputs.survey.unreadable:
        report.add_failed(folder, f"{folder}: cannot be listed ({reason}); check its permissions")

    def on_progress(done: int, total: int) -> None:
        check()
        report.progress(done, total)

    pipeline = None
    for job in _unsettled(jobs(plan.inputs, plan.targets), plan.inputs, options, report):
        if pipeline is None:
            pipeline = prepared(load()) if options.explain or options.plan_first else load()
        check()
        report.begin(job.source)
        started = time.monotonic()
        try:
            result = _restore(job, pipeline, plan.inputs, options, on_progress)
        except CoTIRError as error:
            report.add_failed(job.source, error)
        except Exception as error:  # noqa: BLE001 - one odd file among a million must not end the run
            hint = "" if options.debug else "; run again with --debug for the traceback"
            report.add_failed(job.source, f"{unforeseen(error)}{hint}", trace=error if options.debug else None)
        else:
            if isinstance(result, Path):
                report.add_skipped(job.source, result)
            else:
                report.add_done(job.source, result, time.monotonic() - started)


def _restore(
    job: Job, pipeline: "CoTIRPipeline", inputs: Inputs, options: Options, on_progress: Callable[[int, int], None]
) -> Done | Path:
    """What was done; the target alone where it was there already and stays."""
    picture = read(job.source, max_pixels=options.max_pixels)
    job = job.settle(kind_for(picture, job.target, job.format))
    if _stays(job, inputs, options):
        return job.target
    _make_folder(job.target.parent)
    output = pipeline(
        picture,
        options.prompt,
        steps=options.steps,
        seed=options.seed,
        strength=options.strength,
        explain=True if options.explain else None,
        plan_first=options.plan_first,
        output_type="picture",
        on_progress=on_progress,
    )
    restored: Picture = output.image
    reasoning = output.reasoning if output.readings else None
    # the result comes last: where it is, the rest is too
    comparison = job.comparison
    if comparison is not None and (options.existing is Existing.REPLACE or not os.path.lexists(comparison)):
        write(before_and_after(picture, restored), comparison)
    if options.explain and reasoning is not None:
        write_reasoning(reasoning, job.target, file=job.source.name, prompt=options.prompt or DEFAULT_INSTRUCTION)
    write(restored, job.target, format=job.format, quality=options.quality)
    return Done(
        job.target,
        (restored.width, restored.height),
        notes=(
            *picture.carried.notes,
            *((KEPT,) if options.strength and output.kept and output.kept[0] else ()),
            *losses(restored, job.target, format=job.format),
        ),
        # a confidence that was never calibrated is no ground for a verdict
        diagnosis=reasoning.diagnosis if reasoning is not None and reasoning.calibrated else "",
        explanation=reasoning.lines() if options.explain and reasoning is not None else (),
    )


def _unsettled(found: Iterable[Job], inputs: Inputs, options: Options, report: Report) -> Iterable[Job]:
    """The jobs that need a model; the others are reported without waiting for one."""
    for job in found:
        try:
            stays = _stays(job, inputs, options)
        except ImageError as error:
            report.add_failed(job.source, error)
            continue
        if stays:
            report.add_skipped(job.source, job.target)
        else:
            yield job


def _stays(job: Job, inputs: Inputs, options: Options) -> bool:
    """Whether the result is there and is to be left alone.

    Raises:
        ImageError: something is in the way that may not be replaced.
    """
    there = [path for path in (job.target, job.comparison) if path is not None and os.path.lexists(path)]
    if options.existing is Existing.SKIP:
        return job.target in there
    if there and options.existing is Existing.FAIL:
        raise ImageError(f"{there[0]} exists; --overwrite replaces it, --skip-existing leaves it out")
    for path in there:
        if inputs.own(path) and not (path == job.target and job.is_named):
            raise ImageError(f"the result would replace {path}, which is an input; write to another folder with -o")
    return False


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ImageError(f"the folder {folder} cannot be made ({error.strerror}); choose another with -o") from error


def check_found(inputs: Inputs) -> None:
    """Refuse inputs among which there is no picture.

    Raises:
        ConfigError: naming what is missing.
    """
    missing = [path for path in inputs.files if not os.path.lexists(path)]
    if inputs.survey.pictures > len(missing) or inputs.survey.unreadable:
        return
    if missing:
        raise ConfigError(f"{', '.join(map(str, missing[:3]))}: there is no such file or folder; check the name")
    where = ", ".join(str(folder) for folder in inputs.folders[:3])
    left_out = ", only outputs of earlier runs" if inputs.survey.left_out else ""
    deeper = "" if inputs.recursive else "; --recursive looks into sub-folders too"
    raise ConfigError(f"{where}: there is no picture in it{left_out}{deeper}")
