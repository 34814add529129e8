"""Typed configuration from YAML: every key is known, every value checked, and a complaint names the nearest key."""

import difflib
from collections.abc import Iterable, Iterator
from os import PathLike
from pathlib import Path
from typing import Any, TypeVar, get_args

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from cotir.errors import ConfigError


class Strict(BaseModel):
    """Base of configuration records: frozen, numbers are finite, and unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


M = TypeVar("M", bound=Strict)


def read_yaml(path: str | PathLike[str], what: str) -> str:
    """Text of a configuration file; ``what`` it is goes into the message.

    Raises:
        ConfigError: it cannot be read.
    """
    try:
        return Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"the {what} {path} cannot be read ({error}); check the name") from error


def parse_yaml(text: str, *, name: str, needs: str) -> dict[str, Any]:
    """A mapping from YAML text.

    Args:
        text: YAML.
        name: of the file, for messages.
        needs: keys it might have, for messages.

    Raises:
        ConfigError: it is no YAML, or holds something else.
    """
    try:
        data = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"{name}: is no YAML ({' '.join(str(error).split())})") from error
    if not isinstance(data, dict):
        raise ConfigError(f"{name}: holds {type(data).__name__}; it needs keys such as {needs}")
    return data


def check(model: type[M], data: Any, *, name: str) -> M:
    """Plain data as a record.

    Raises:
        ConfigError: naming every unknown key, with the nearest known one, and every value that is not allowed.
    """
    try:
        return model.model_validate(data)
    except ValidationError as error:
        raise ConfigError(f"{name}: {'; '.join(_complaints(error, model))}") from error


def nearest(word: str, known: Iterable[str]) -> str:
    """`` (did you mean 'haze'?)`` where a known name is near, otherwise nothing."""
    found = difflib.get_close_matches(word, list(known), n=1)
    return f" (did you mean {found[0]!r}?)" if found else ""


def _complaints(error: ValidationError, model: type[BaseModel]) -> Iterator[str]:
    for fault in error.errors():
        # of a value that may have several forms, pydantic puts the name of the form into the place
        where = ".".join(str(part) for part in fault["loc"] if "[" not in str(part))
        if fault["type"] == "extra_forbidden":
            key = str(fault["loc"][-1])
            known = tuple(_record_at(model, fault["loc"][:-1]).model_fields)
            yield f"unknown key {key!r} at {where}{nearest(key, known)}; allowed are {', '.join(known)}"
        elif fault["type"] == "missing":
            yield f"{where} is missing; it must be given"
        elif not where or (fault["type"] == "value_error" and isinstance(fault["input"], dict)):
            # a rule between keys names them itself
            yield fault["msg"].removeprefix("Value error, ")
        else:
            yield f"{where} is {fault['input']!r}: {fault['msg'].removeprefix('Value error, ')}"


def _record_at(model: type[BaseModel], place: tuple[int | str, ...]) -> type[BaseModel]:
    for part in place:
        field = model.model_fields.get(str(part))
        inner = None if field is None else next(_records(field.annotation), None)
        model = inner or model
    return model


def _records(annotation: Any) -> Iterator[type[BaseModel]]:
    """The record types that an annotation mentions."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from _records(part)
