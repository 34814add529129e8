"""The run behind ``cotir explain``, and the file that ``cotir restore --explain`` writes beside a result."""

import json
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cotir.errors import CoTIRError, ImageError
from cotir.files import read
from cotir.interfaces.inputs import Inputs
from cotir.interfaces.report import legible, say, say_error, unforeseen
from cotir.interfaces.targets import shortened

if TYPE_CHECKING:
    from cotir.pipeline import CoTIRPipeline
    from cotir.reasoning import Reasoning

SUFFIX = ".cotir.json"


def write_reasoning(reasoning: "Reasoning", target: Path, **facts: Any) -> Path:
    """Write the reasoning behind a result beside it, as ``<name of the result>.cotir.json``.

    Args:
        reasoning: what was thought.
        target: the result.
        facts: what else the file shall say: plain values.

    Raises:
        ImageError: it cannot be written.
    """
    path = target.with_name(shortened(target.name, SUFFIX))
    partial = path.with_name(f".{secrets.token_hex(6)}.part")
    text = json.dumps({**facts, **reasoning.to_json()}, ensure_ascii=False, indent=1)
    try:
        partial.write_text(text + "\n", encoding="utf-8")
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise ImageError(f"{path} cannot be written ({error.strerror or error})") from error
    return path


def explain(
    inputs: Inputs,
    prompt: str,
    load: Callable[[], "CoTIRPipeline"],
    check: Callable[[], None],
    *,
    max_pixels: int,
    as_json: bool,
) -> int:
    """Print what the model thinks about every picture, and restore none.

    Args:
        inputs: the pictures.
        prompt: the instruction.
        load: builds the pipeline.
        check: called now and then; may raise KeyboardInterrupt to end the run.
        max_pixels: of a picture.
        as_json: one JSON object in a line for each, in place of words.

    Returns:
        How many could not be read.

    Raises:
        CoTIRError: the model cannot be loaded.
    """
    failed = len(inputs.survey.unreadable)
    for folder, reason in inputs.survey.unreadable:
        say_error(f"{folder}: cannot be listed ({reason}); check its permissions")
    pipeline = None
    for source in _sources(inputs):
        check()
        try:
            picture = read(source, max_pixels=max_pixels)
            pipeline = pipeline or prepared(load())
            (reasoning,) = pipeline.explain(picture, prompt)
        except ImageError as error:
            say_error(error)
            failed += 1
            continue
        except CoTIRError:
            raise  # of the model, not of the picture
        except Exception as error:  # noqa: BLE001 - one odd file among a million must not end the run
            say_error(f"{source}: {unforeseen(error)}")
            failed += 1
            continue
        if as_json:
            say(json.dumps({"file": str(source), "prompt": prompt, **reasoning.to_json()}, ensure_ascii=False))
        else:
            for line in [legible(source), *(f"  {line}" for line in reasoning.lines())]:
                say(line)
    return failed


def prepared(pipeline: "CoTIRPipeline") -> "CoTIRPipeline":
    """A pipeline that can read its reasoning; says so where that takes a while."""
    told: list[int] = []

    def on_progress(done: int, total: int) -> None:
        if not told:
            say(f"learning to read this text encoder, once: {total:,} texts", "dim", error=True)
            told.append(total)

    pipeline.prepare_read_out(on_progress)
    return pipeline


def _sources(inputs: Inputs) -> Iterator[Path]:
    for group in inputs.groups():
        yield from (group.folder / name for name in group.names)
