"""What a sample of the benchmark is: its members in a shard, and its metadata as a record and as JSON.

In a WebDataset tar a sample is three files that share a key: ``<key>.hq.png``, ``<key>.lq.png`` and
``<key>.meta.json``. Of the metadata the released loader reads ``cot.questions`` (vague, precise), ``cot.answers`` (one
string with literal markers, see :meth:`cotir.prompts.ReasoningTrace.format`), ``deg`` and, for JPEG, ``jpeg_type``. All
else is ours: what was done, from which photo, under which licence.
"""

import json
import re
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, get_args

from cotir import __version__
from cotir.degrade import Applied, from_json, to_json
from cotir.errors import ConfigError
from cotir.prompts import Instruction, ReasoningTrace

Group = Literal["single", "seen", "unseen", "clean"]
GROUPS: tuple[Group, ...] = get_args(Group)
"""``single``: one kind of damage. ``seen``: combinations to train on. ``unseen``: only tested. ``clean``: no damage."""

Split = Literal["train", "test"]

Writer = Literal["template", "vlm", "template_after_vlm"]
"""Who wrote the trace; the last one took over where a vision-language model's answers were rejected."""

GENERATOR = f"cotir {__version__}"

HQ, LQ, META = "hq.png", "lq.png", "meta.json"
MEMBERS = (HQ, LQ, META)
"""What follows the key and a dot, in the order of the shard."""

JPEG = "jpeg"
"""The kind whose samples carry ``jpeg_type``, the stem of the prompt file to draw from."""

_TYPE = re.compile(r"[a-z0-9_]+(-[a-z0-9_]+)*")


@dataclass(frozen=True)
class Source:
    """The photo a sample was made from."""

    sha256: str
    """Of the file's bytes."""
    file: str
    """Path inside the photo folder, with forward slashes."""
    licence: str = ""
    """As ``SOURCES.csv`` says it; empty when unknown."""
    author: str = ""


@dataclass(frozen=True)
class Crop:
    """The square of the upright photo that became the high-quality picture, in pixels."""

    top: int
    left: int
    side: int
    mirrored: bool
    """Left and right are swapped, after scaling to the sample's size."""


@dataclass(frozen=True)
class Metadata:
    """Everything about a sample but its pixels."""

    key: str
    """Unique in the benchmark: the degradation type and the number within it."""
    deg: str
    """The degradation type, as in the names of folders and prompt files."""
    group: Group
    split: Split
    index: int
    """Number of the sample within its type and split."""
    seed: int
    """Of the whole build."""
    size: int
    applied: tuple[Applied, ...]
    """In light-path order."""
    instruction: Instruction
    trace: ReasoningTrace
    answer: str
    writer: Writer
    source: Source
    crop: Crop
    psnr: float | None
    """Of LQ against HQ in dB, at 8 bits; None where they are the same."""
    generator: str = GENERATOR

    def __post_init__(self) -> None:
        if not _TYPE.fullmatch(self.deg):
            raise ConfigError(
                f"the degradation type {self.deg!r} cannot name a folder; use kinds of a-z, 0-9 and _ joined by '-'"
            )

    def to_json(self) -> str:
        """One line of JSON, the released loader's keys first; equal records give equal text."""
        questions = [self.instruction.vague, self.instruction.precise]
        data: dict[str, Any] = {
            "cot": {"questions": questions, "answers": self.trace.format(self.answer)},
            "deg": self.deg,
        }
        if any(each.kind == JPEG for each in self.applied):
            data["jpeg_type"] = self.deg
        data |= {name: getattr(self, name) for name in ("key", "group", "split", "index", "seed", "size")}
        data["applied"] = [{"severity": each.severity, **json.loads(to_json(each.params))} for each in self.applied]
        data |= {"writer": self.writer, "source": asdict(self.source), "crop": asdict(self.crop)}
        data |= {"psnr": self.psnr, "generator": self.generator}
        return json.dumps(data, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str | bytes) -> "Metadata":
        """Read what :meth:`to_json` wrote.

        Raises:
            ConfigError: it is no such JSON; the message names the part.
            PromptError: the trace or an instruction has not the required form.
        """
        try:
            data = json.loads(text)
            vague, precise = data["cot"]["questions"]
            answers = data["cot"]["answers"]
            return cls(
                **{name: data[name] for name in ("key", "deg", "group", "split", "index", "seed", "size")},
                applied=tuple(_applied(entry) for entry in data["applied"]),
                instruction=Instruction(vague, precise),
                trace=ReasoningTrace.parse(answers),
                answer=answers.rpartition("answer:")[2].strip(),
                writer=data["writer"],
                source=_record(Source, data["source"]),
                crop=_record(Crop, data["crop"]),
                psnr=data["psnr"],
                generator=data["generator"],
            )
        except KeyError as error:
            raise ConfigError(f"a sample's metadata lacks {error}; build the shard again") from error
        except (ValueError, TypeError, UnicodeDecodeError) as error:
            raise ConfigError(f"a sample's metadata cannot be read ({error}); build the shard again") from error


@dataclass(frozen=True)
class Sample:
    """A sample as it lies in a shard: two PNG files and what is known about them."""

    hq: bytes
    lq: bytes
    meta: Metadata

    def members(self) -> tuple[tuple[str, bytes], ...]:
        """File names and contents, in the order of :data:`MEMBERS`."""
        contents = (self.hq, self.lq, self.meta.to_json().encode())
        return tuple((f"{self.meta.key}.{suffix}", data) for suffix, data in zip(MEMBERS, contents, strict=True))


def type_name(kinds: tuple[str, ...]) -> str:
    """The folder of a set of kinds in light-path order: ``haze-blur-jpeg``, or ``clean``.

    The released loader turns every character but a-z, 0-9, dot, underscore and hyphen into an underscore before it
    looks for the prompt file, so kinds are joined by a hyphen, which stays.
    """
    return "-".join(kinds) or "clean"


def sample_key(deg: str, index: int, split: Split) -> str:
    """Key of a sample; those of the test split are marked, so that no two samples share one."""
    return f"{deg}-{index:07d}" if split == "train" else f"{deg}-test-{index:05d}"


def _applied(entry: dict[str, Any]) -> Applied:
    severity = entry.pop("severity")
    return Applied(kind=entry["kind"], severity=severity, params=from_json(json.dumps(entry)))


def _record(record: type[Any], values: dict[str, Any]) -> Any:
    return record(**{field.name: values[field.name] for field in fields(record)})
