"""Degradations: what happens to light between the scene and the file, as pure operators with recorded parameters."""

# Importing a family registers its kinds.
from cotir.degrade import blur, compression, light, noise, resolution, weather
from cotir.degrade.base import (
    KINDS,
    STAGES,
    Degradation,
    Image,
    Params,
    Stage,
    describe,
    from_json,
    kind_named,
    to_json,
    to_linear,
    to_srgb,
)
from cotir.degrade.compose import Applied, Recipe, compose, light_path, sample_recipe

__all__ = [
    "KINDS",
    "STAGES",
    "Applied",
    "Degradation",
    "Image",
    "Params",
    "Recipe",
    "Stage",
    "blur",
    "compose",
    "compression",
    "describe",
    "from_json",
    "kind_named",
    "light",
    "light_path",
    "noise",
    "resolution",
    "sample_recipe",
    "to_json",
    "to_linear",
    "to_srgb",
    "weather",
]
