"""What a model thought about a picture, in words a person can read.

:class:`~cotir.read_out.ReadOut` makes it from the adapter's predictions.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from cotir.words import WORDS, Scene, describe, listed, plan_steps, words_of

THRESHOLD = 0.5
"""Confidence from which a kind counts as found."""
SURE = 0.75
"""Confidence from which a plan undoes a kind: treating one in vain costs more than leaving it (docs/science.md)."""

ALONE = {"jpeg": "repair the JPEG compression damage", "noise": "smooth away the noisy grain"}
"""What a plan of one kind asks for, where another phrase of training gains more than its remedy (docs/science.md)."""


@dataclass(frozen=True)
class Finding:
    """A kind of damage that may be in a picture."""

    kind: str
    confidence: float
    """In [0, 1]: of pictures read with confidence p about a share of p has it, if the read-out is calibrated."""
    severity: float
    """In [0, 1], if it is there."""

    def __str__(self) -> str:
        """As in "heavy noise"."""
        return f"{describe(self.severity)} {words_of(self.kind).noun}"


@dataclass(frozen=True)
class Reasoning:
    """What a model thought about a picture."""

    scene: Scene
    findings: tuple[Finding, ...]
    """Every kind, the most confident first."""
    calibrated: bool
    expected_gain: float | None = None
    """PSNR in dB that restoring gains in the mean over pictures so read; None where that was never measured."""

    @property
    def degradation(self) -> tuple[Finding, ...]:
        """What was found: confidence of :data:`THRESHOLD` or more."""
        return tuple(finding for finding in self.findings if finding.confidence >= THRESHOLD)

    @property
    def is_worth_restoring(self) -> bool:
        """Whether damage was found, or restoring is expected to gain more than it loses, or that was never measured."""
        return self.expected_gain is None or self.expected_gain > 0 or bool(self.degradation)

    @property
    def plan(self) -> tuple[str, ...]:
        """How kinds of confidence :data:`SURE` or more are undone, step by step; empty where there is none."""
        return plan_steps(self._light_path())

    @property
    def instruction(self) -> str:
        """See :func:`instruction_for`."""
        return instruction_for(self.findings)

    @property
    def diagnosis(self) -> str:
        """In a few words: "heavy noise and probably slight haze", where haze is not sure enough for the plan."""
        said = [f"{'' if each.confidence >= SURE else 'probably '}{each}" for each in self.degradation]
        return listed(said) or "no damage found"

    def lines(self) -> list[str]:
        """For a person: scene, degradation with confidences, plan."""
        found = [f"{finding} ({finding.confidence:.0%})" for finding in self.degradation]
        near = [f for f in self.findings if THRESHOLD / 2 <= f.confidence < THRESHOLD]
        perhaps = [f"{words_of(f.kind).noun} ({f.confidence:.0%})" for f in near]
        damage = "; ".join([listed(found) or "none found", *(["perhaps " + listed(perhaps)] if perhaps else [])])
        steps = [f"{number}. {step}" for number, step in enumerate(self.plan, 1)]
        plan = "  ".join(steps) or ("none, for nothing of it is sure" if found else "keep it as it is")
        unsure = "" if self.calibrated else "  (confidences are not calibrated for this model)"
        return [f"scene: {self.scene.full()}", f"degradation: {damage}{unsure}", f"plan: {plan}"]

    def to_json(self) -> dict[str, Any]:
        """Plain values, for a file beside the picture."""
        findings = [
            {"kind": f.kind, "confidence": round(f.confidence, 4), "severity": round(f.severity, 3), "words": str(f)}
            for f in self.findings
        ]
        return {
            "scene": self.scene.full(),
            "degradation": [each for each in findings if each["confidence"] >= THRESHOLD],
            "plan": list(self.plan),
            "findings": findings,
            "calibrated": self.calibrated,
            "expected_gain": None if self.expected_gain is None else round(self.expected_gain, 2),
        }

    def _light_path(self) -> list[str]:
        return _light_path(self.findings)


def instruction_for(findings: Sequence[Finding]) -> str:
    """The plan as a precise instruction: "remove the noise and clear the haze"; empty where nothing is sure.

    A kind alone may be asked for in words of its own (:data:`ALONE`).
    """
    kinds = _light_path(findings)
    if len(kinds) == 1:
        return ALONE.get(kinds[0], words_of(kinds[0]).remedy)
    return listed([words_of(kind).remedy for kind in reversed(kinds)])


def _light_path(findings: Sequence[Finding]) -> list[str]:
    sure = {finding.kind for finding in findings if finding.confidence >= SURE}
    return [kind for kind in WORDS if kind in sure]
