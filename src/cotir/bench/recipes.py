"""Recipe files: which kinds of damage meet in a picture, how heavy they are, and how often.

A file is YAML. All keys but the groups have defaults; an unknown key is an error.

.. code-block:: yaml

    severity: {1: [0.15, 1.0], 2: [0.15, 0.85], 4: [0.1, 0.6]}    # by number of kinds; 3 takes the range of 2
    share: {single: 0.4, seen: 0.5, clean: 0.1}                   # of the training samples
    crops_per_photo: 8                                            # training samples in a row from one photo, read once
    samples_per_shard: 256
    test: {photos: 0.1, samples: 8}                               # part of the photos; samples of every recipe

    single:
      - haze
    seen:
      - haze + snow
      - {kinds: low_light + noise, weight: 2, severity: [0.3, 0.9]}
      - {kinds: raindrop + blur, severity: {raindrop: [0.4, 1.0]}}  # blur keeps the range by number
    unseen:                                                       # in the test split only
      - rain + watermark
    clean: true
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from os import PathLike
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from cotir.bench.schema import GROUPS, Group, type_name
from cotir.configuration import Strict, check, nearest, parse_yaml, read_yaml
from cotir.degrade import KINDS, light_path
from cotir.errors import ConfigError

MAX_KINDS = 7

Unit = Annotated[float, Field(ge=0, le=1, strict=True)]
Range = tuple[Unit, Unit]


def _ordered(value: Range, where: str) -> Range:
    if value[0] > value[1]:
        raise ValueError(f"the range {list(value)} {where} runs backwards; write [{value[1]}, {value[0]}]")
    return value


def _split_kinds(value: object) -> object:
    return tuple(part.strip() for part in value.split("+")) if isinstance(value, str) else value


class Entry(Strict):
    """One recipe as the file has it; a plain string stands for its kinds."""

    kinds: Annotated[tuple[str, ...], BeforeValidator(_split_kinds)]
    weight: float = Field(default=1.0, gt=0)
    """Against the other recipes of its group."""
    severity: Range | dict[str, Range] | None = None

    @model_validator(mode="before")
    @classmethod
    def _short_form(cls, value: object) -> object:
        return {"kinds": value} if isinstance(value, str) else value


class Shares(Strict):
    """Parts of the training samples; they need not add up to 1. A group without recipes gets none."""

    single: Unit = 0.4
    seen: Unit = 0.5
    clean: Unit = 0.1


class TestSplit(Strict):
    """What is held out for evaluation."""

    __test__ = False  # no test class, whatever pytest thinks of its name

    photos: float = Field(default=0.1, ge=0, lt=1)
    """Part of the photos that no training sample is made from."""
    samples: int = Field(default=8, ge=0)
    """Of every recipe."""


class RecipeFile(Strict):
    """A recipe file, checked key by key."""

    severity: dict[Annotated[int, Field(ge=1, le=MAX_KINDS)], Range] = Field(
        default={1: (0.15, 1.0), 2: (0.15, 0.8), 3: (0.1, 0.6)}
    )
    share: Shares = Shares()
    crops_per_photo: int = Field(default=8, ge=1)
    samples_per_shard: int = Field(default=256, ge=1)
    test: TestSplit = TestSplit()
    single: tuple[Entry, ...] = ()
    seen: tuple[Entry, ...] = ()
    unseen: tuple[Entry, ...] = ()
    clean: Literal[True, False] = False


@dataclass(frozen=True)
class BenchRecipe:
    """A checked recipe: kinds in light-path order, a range of severity for each, and how often it is drawn."""

    group: Group
    kinds: tuple[str, ...]
    ranges: tuple[Range, ...]
    share: float
    """Of all training samples; 0 for a recipe that is only tested."""

    @property
    def deg(self) -> str:
        """The degradation type, which names the folder."""
        return type_name(self.kinds)


@dataclass(frozen=True)
class Recipes:
    """All recipes of a benchmark, group by group in the order of the file, and the sizes of its parts."""

    recipes: tuple[BenchRecipe, ...]
    crops_per_photo: int
    samples_per_shard: int
    test_photos: float
    test_samples: int

    def __iter__(self) -> Iterator[BenchRecipe]:
        return iter(self.recipes)

    @cached_property
    def by_type(self) -> Mapping[str, BenchRecipe]:
        """Recipes by their degradation type."""
        return {recipe.deg: recipe for recipe in self.recipes}


def load_recipes(path: str | PathLike[str]) -> Recipes:
    """Read a recipe file.

    Raises:
        ConfigError: it cannot be read, a key or a kind is unknown (the nearest name is suggested), a value is outside
            what is allowed, a combination occurs twice, or one is both seen and unseen.
    """
    return parse_recipes(read_yaml(path, "recipe file"), name=str(path))


def parse_recipes(text: str, *, name: str = "the recipes") -> Recipes:
    """Read recipes from YAML text, as :func:`load_recipes` does; ``name`` stands for the path in messages."""
    data = parse_yaml(text, name=name, needs=", ".join(GROUPS))
    file = check(RecipeFile, data, name=name)
    try:
        return _checked(file)
    except (ConfigError, ValueError) as error:
        raise ConfigError(f"{name}: {error}") from error


def _checked(file: RecipeFile) -> Recipes:
    entries = {group: getattr(file, group) for group in ("single", "seen", "unseen")}
    entries["clean"] = (Entry(kinds=()),) if file.clean else ()
    for count, value in file.severity.items():
        _ordered(value, f"for {count} kinds")
    if not any(entries.values()):
        raise ConfigError(f"there is no recipe in it; list some under {', '.join(GROUPS)}")
    shares = {group: getattr(file.share, group, 0.0) if entries[group] else 0.0 for group in GROUPS}
    total = sum(shares.values())
    if total == 0 and file.test.samples == 0:
        raise ConfigError("every share is 0 and there are no test samples; give single, seen or clean a share")
    if file.test.samples and not file.test.photos:
        raise ConfigError(f"test.samples is {file.test.samples} but test.photos is 0; hold photos out, or test none")
    recipes = tuple(
        _recipe(entry, group, file.severity, shares[group] / (total or 1) / sum(e.weight for e in entries[group]))
        for group in GROUPS
        for entry in entries[group]
    )
    _check_disjoint(recipes)
    return Recipes(recipes, file.crops_per_photo, file.samples_per_shard, file.test.photos, file.test.samples)


def _recipe(entry: Entry, group: Group, severity: Mapping[int, Range], share: float) -> BenchRecipe:
    names = "+".join(entry.kinds)
    for kind in entry.kinds:
        if kind not in KINDS:
            raise ConfigError(
                f"unknown degradation {kind!r} in {names}{nearest(kind, KINDS)}; allowed are {', '.join(KINDS)}"
            )
    kinds = light_path(entry.kinds)
    _check_size(kinds, group)
    return BenchRecipe(group, kinds, tuple(_range(entry, kind, severity) for kind in kinds), share * entry.weight)


def _range(entry: Entry, kind: str, severity: Mapping[int, Range]) -> Range:
    own = entry.severity
    where = f"of {'+'.join(entry.kinds)}"
    if isinstance(own, dict):
        strangers = [name for name in own if name not in entry.kinds]
        if strangers:
            raise ConfigError(f"a severity {where} is for {strangers[0]!r}{nearest(strangers[0], entry.kinds)}")
        own = own.get(kind)
    if own is not None:
        return _ordered(own, where)
    # many kinds together take the range of the largest number listed
    listed = [count for count in severity if count <= len(entry.kinds)]
    if not listed:
        raise ConfigError(f"severity has no range for {len(entry.kinds)} kinds; list one for 1")
    return severity[max(listed)]


def _check_size(kinds: tuple[str, ...], group: Group) -> None:
    low, high = {"single": (1, 1), "seen": (2, MAX_KINDS), "unseen": (2, MAX_KINDS), "clean": (0, 0)}[group]
    if not low <= len(kinds) <= high:
        allowed = str(low) if low == high else f"{low} to {high}"
        raise ConfigError(f"{type_name(kinds)} under {group} has {len(kinds)} kinds; {group} recipes have {allowed}")


def _check_disjoint(recipes: tuple[BenchRecipe, ...]) -> None:
    where: dict[str, Group] = {}
    for recipe in recipes:
        earlier = where.setdefault(recipe.deg, recipe.group)
        if earlier != recipe.group:
            raise ConfigError(f"{recipe.deg} is both {earlier} and {recipe.group}; take it out of one of them")
    twice = [deg for deg in where if sum(recipe.deg == deg for recipe in recipes) > 1]
    if twice:
        raise ConfigError(f"{twice[0]} is listed twice under {where[twice[0]]}; list it once, with a weight")


def to_plain(recipe: BenchRecipe) -> dict[str, Any]:
    """What a sample depends on, and what the manifest lists, as plain values."""
    return {
        "type": recipe.deg,
        "group": recipe.group,
        "kinds": list(recipe.kinds),
        "severity": [list(each) for each in recipe.ranges],
        "share": round(recipe.share, 6),
    }
