"""Several kinds of damage in one picture, in the order light travels: scene, lens, sensor, processing, file."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cotir.degrade.base import STAGES, Image, Params, check_severity, kind_named
from cotir.errors import ConfigError


@dataclass(frozen=True)
class Applied:
    """One kind with the severity it was drawn at and its parameters."""

    kind: str
    severity: float
    params: Params


@dataclass(frozen=True)
class Recipe:
    """The kinds of a composite, kept in light-path order; no kinds at all is the *clean* recipe."""

    kinds: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "kinds", light_path(self.kinds))

    @property
    def name(self) -> str:
        """``haze+blur+jpeg``, or ``clean``."""
        return "+".join(self.kinds) or "clean"


def light_path(kinds: Sequence[str]) -> tuple[str, ...]:
    """Sort kinds into the order light travels.

    Raises:
        ConfigError: a kind is unknown or named twice.
    """
    twice = sorted({kind for kind in kinds if list(kinds).count(kind) > 1})
    if twice:
        raise ConfigError(f"{', '.join(twice)} named twice in {'+'.join(kinds)}; name each kind once")
    return tuple(sorted(kinds, key=_place))


def sample_recipe(
    rng: np.random.Generator, kinds: Recipe | Sequence[str], severities: Sequence[float]
) -> tuple[Applied, ...]:
    """Draw the parameters of every kind of a recipe.

    Args:
        rng: the only source of randomness.
        kinds: a recipe or kind names in any order.
        severities: one per kind, each in [0, 1], in the order of ``kinds``.

    Returns:
        One record per kind, in light-path order.

    Raises:
        ConfigError: a kind is unknown or named twice, the lengths differ, or a severity is outside [0, 1].
    """
    names = kinds.kinds if isinstance(kinds, Recipe) else tuple(kinds)
    if len(names) != len(severities):
        raise ConfigError(
            f"{len(names)} kinds ({'+'.join(names)}) with {len(severities)} severities; give one for each"
        )
    wanted = dict(zip(names, severities, strict=True))
    return tuple(
        Applied(kind=name, severity=check_severity(wanted[name]), params=kind_named(name).sample(rng, wanted[name]))
        for name in light_path(names)
    )


def compose(image: Image, applied: Sequence[Applied]) -> Image:
    """Apply every record in light-path order, whatever order they come in.

    Args:
        image: ``float32 (H, W, 3)``, sRGB in [0, 1], each side at least 16.
        applied: records, at most one per kind; none returns a copy.

    Raises:
        ConfigError: a kind is unknown or occurs twice, or a record belongs to another kind.
        ImageError: the picture has another shape or dtype.
    """
    light_path([each.kind for each in applied])
    result = image.copy()
    for each in sorted(applied, key=lambda each: _place(each.kind)):
        result = kind_named(each.kind).apply(result, each.params)
    return result


def _place(name: str) -> tuple[int, int]:
    kind = kind_named(name)
    return STAGES.index(kind.stage), kind.rank
