"""The words around a picture: an instruction, and the reasoning trace that explains a restoration.

A trace is one string with three literal markers and an answer (the released data format), or the same as fields.
"""

import re
from dataclasses import dataclass

from cotir.errors import PromptError

DEFAULT_INSTRUCTION = "make this picture clearer"
"""The vague instruction used when a person gives none."""

_MARKERS = ("scene description:", "degradation description:", "enhancement plan:", "answer:")
_TRACE = re.compile(
    r"\s*(.*?)\s*".join(re.escape(marker) for marker in _MARKERS) + r"\s*(.*)\s*", re.DOTALL | re.IGNORECASE
)


@dataclass(frozen=True)
class Instruction:
    """What a person asks for: ``vague`` names no damage ("make it clearer"), ``precise`` says what to remove."""

    vague: str
    precise: str

    def __post_init__(self) -> None:
        for form in ("vague", "precise"):
            if not getattr(self, form).strip():
                raise PromptError(f"the {form} instruction is empty; write at least one word")


@dataclass(frozen=True)
class ReasoningTrace:
    """What a restorer should think: the scene, the degradation, and the plan that undoes it."""

    scene: str
    degradation: str
    plan: str

    def __post_init__(self) -> None:
        for part in ("scene", "degradation", "plan"):
            if not getattr(self, part).strip():
                raise PromptError(f"the {part} part of a reasoning trace is empty; a trace needs all three parts")

    def format(self, answer: str = "the restored picture") -> str:
        """Write the trace as one string with the released loader's markers."""
        parts = (self.scene, self.degradation, self.plan, answer)
        return " ".join(f"{marker} {part.strip()}" for marker, part in zip(_MARKERS, parts, strict=True))

    @classmethod
    def parse(cls, text: str) -> "ReasoningTrace":
        """Read a trace written with the markers, in any letter case.

        Raises:
            PromptError: a marker is missing or out of order, or a part is empty.
        """
        match = _TRACE.search(text)
        if match is None:
            missing = [marker for marker in _MARKERS if marker not in text.lower()]
            fault = f"lacks {', '.join(map(repr, missing))}" if missing else "has its markers in another order"
            raise PromptError(
                f"a reasoning trace {fault}; it needs {' ... '.join(_MARKERS)} in this order: {text[:80]!r}"
            )
        scene, degradation, plan, _ = match.groups()
        return cls(scene=scene, degradation=degradation, plan=plan)
