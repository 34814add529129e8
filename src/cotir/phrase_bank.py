"""A bank of written traces over every kind and word alike, for a read-out to learn the language from."""

from dataclasses import dataclass

import numpy as np

from cotir.words import SCENE_WORDS, WORDS, Scene, full_degradation, full_plan

KINDS = tuple(WORDS)
MOST = 4
"""Kinds in one trace."""


@dataclass(frozen=True)
class Drawn:
    """A kind of damage and its severity in [0, 1]."""

    kind: str
    severity: float


@dataclass(frozen=True)
class BankTrace:
    """A trace whose meaning is known."""

    scene: Scene
    damage: tuple[Drawn, ...]

    def text(self, part: str) -> str:
        """Of ``scene``, ``degradation`` or ``plan``, at full length."""
        if part == "scene":
            return self.scene.full()
        return full_degradation(self.damage) if part == "degradation" else full_plan([d.kind for d in self.damage])

    def damage_values(self) -> list[float]:
        """Presence of every kind, then presence times severity (2 K)."""
        severity = {each.kind: each.severity for each in self.damage}
        return [float(kind in severity) for kind in KINDS] + [severity.get(kind, 0.0) for kind in KINDS]

    def scene_values(self) -> list[float]:
        """1 for every word of :data:`~cotir.words.SCENE_WORDS` that is said, else 0."""
        groups = SCENE_WORDS.items()
        return [float(word == getattr(self.scene, part)) for part, words in groups for word in words]


def draw_bank(count: int, rng: np.random.Generator) -> list[BankTrace]:
    """Draw ``count`` traces with none to :data:`MOST` kinds."""
    traces = []
    for _ in range(count):
        drawn = set(rng.choice(len(KINDS), size=int(rng.integers(MOST + 1)), replace=False).tolist())
        damage = tuple(Drawn(kind, float(rng.random())) for place, kind in enumerate(KINDS) if place in drawn)
        scene = Scene(**{part: words[int(rng.integers(len(words)))] for part, words in SCENE_WORDS.items()})
        traces.append(BankTrace(scene, damage))
    return traces
