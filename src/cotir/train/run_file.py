"""Run files: read with single keys changed, written back, and what in them decides the result of a run."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from cotir.configuration import check, parse_yaml, read_yaml
from cotir.errors import ConfigError
from cotir.train.config import TrainConfig

STEERING = ("seed", "precision", "model", "data", "objective", "optimizer", "schedule")
"""Sections that decide the result; a run goes on only if they have not changed."""
NOT_STEERING = {"data": ("path", "photo_mb", "workers", "max_problems", "recipe"), "model": ("base", "compile")}
"""Keys in them that do not: where things lie, and how fast they come."""


def load_config(path: str | Path, overrides: Sequence[str] = ()) -> TrainConfig:
    """Read a run file and change single keys.

    Args:
        path: of the YAML file.
        overrides: as ``optimizer.rate=1e-4`` or ``schedule.stages.0.batch=4``; values are YAML.

    Raises:
        ConfigError: the file cannot be read, a key is unknown, or a value is not allowed.
    """
    data = parse_yaml(read_yaml(path, "run file"), name=str(path), needs="run, model, data, schedule")
    for override in overrides:
        _set(data, override)
    return check(TrainConfig, data, name=str(path))


def to_yaml(config: TrainConfig) -> str:
    """The whole configuration, defaults included; :func:`load_config` reads it back."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def steering(config: TrainConfig) -> dict[str, Any]:
    """The keys that decide the result, by their dotted names."""
    values = config.model_dump(mode="json")
    found: dict[str, Any] = {}
    for section in STEERING:
        _flatten(section, values[section], found)
    skipped = {f"{section}.{key}" for section, keys in NOT_STEERING.items() for key in keys}
    return {key: value for key, value in found.items() if key not in skipped}


def _flatten(place: str, value: Any, into: dict[str, Any]) -> None:
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            _flatten(f"{place}.{key}", inner, into)
    else:
        into[place] = value


def _set(data: dict[str, Any], override: str) -> None:
    place, equals, text = override.partition("=")
    keys = place.split(".")
    if not equals or not all(keys):
        raise ConfigError(f"{override!r} is no override; write key=value, as in optimizer.rate=1e-4")
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"{override!r}: the value is no YAML ({' '.join(str(error).split())})") from error
    if isinstance(value, str) and value == text.strip() and _is_number(value):
        value = float(value)  # YAML 1.1 takes 1e-4 for a word; what stands in quotes stays one
    here: Any = data
    for key in keys[:-1]:
        here = _step(here, key, override)
    if isinstance(here, list):
        here[_index(here, keys[-1], override)] = value
    else:
        here[keys[-1]] = value


def _step(here: Any, key: str, override: str) -> Any:
    if isinstance(here, list):
        return here[_index(here, key, override)]
    inner = here.setdefault(key, {})
    if not isinstance(inner, dict | list):
        raise ConfigError(f"{override!r}: {key} is {inner!r}, which has no keys")
    return inner


def _index(here: list[Any], key: str, override: str) -> int:
    if not key.isdecimal() or int(key) >= len(here):
        raise ConfigError(f"{override!r}: {key} is no place in a list of {len(here)}; use 0 to {len(here) - 1}")
    return int(key)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
