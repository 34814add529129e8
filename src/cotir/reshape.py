"""Nano models of other shapes: fresh ones, and ones that keep what fits of another."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from diffusers.configuration_utils import ConfigMixin

from cotir.errors import ConfigError
from cotir.nano import CoTNanoTransformer2DModel


@dataclass(frozen=True)
class Reshaped:
    """A model of another shape, and what became of the tensors."""

    transformer: CoTNanoTransformer2DModel
    kept: frozenset[str]
    """Names of tensors as they were; of experts those whose names stay."""
    new: frozenset[str]
    """Names of tensors that hold something new, all or in part."""
    left_out: frozenset[str]
    """Names of tensors that have no place."""


def fresh_nano(arguments: Mapping[str, Any]) -> CoTNanoTransformer2DModel:
    """A nano transformer of random weights.

    Raises:
        ConfigError: it has no such argument, or not such a value of one.
    """
    assert issubclass(CoTNanoTransformer2DModel, ConfigMixin)
    known = CoTNanoTransformer2DModel._get_init_keys(CoTNanoTransformer2DModel)
    strangers = sorted(set(arguments) - set(known))
    if strangers:
        raise ConfigError(
            f"model.transformer has no {strangers[0]!r}; it takes {', '.join(sorted(set(known) - {'self'}))}"
        )
    values: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in arguments.items()
    }
    try:
        return CoTNanoTransformer2DModel(**values)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"model.transformer: {error}") from error


def reshaped(model: CoTNanoTransformer2DModel, **arguments: Any) -> Reshaped:
    """A nano of another shape, in float32, with the weights of one whose name and size stay.

    Experts keep what those of the same name have learned, packed or not. What is new is random, by torch's generator.

    Args:
        model: to take weights from; it stays as it is.
        **arguments: of :class:`~cotir.nano.CoTNanoTransformer2DModel`; the others are the model's.

    Raises:
        ConfigError: there is no such argument, or not such a value of one.
    """
    shape = {name: value for name, value in model.config.items() if not name.startswith("_")}
    fresh = fresh_nano(shape | arguments)
    old, sizes = model.state_dict(), {name: weight.shape for name, weight in fresh.state_dict().items()}
    same = {name: weight for name, weight in old.items() if sizes.get(name) == weight.shape and not _of_experts(name)}
    fresh.load_state_dict(same, strict=False)
    kept, new, left_out = set(same), set(sizes) - set(same), set(old) - set(same)
    if fresh.expertise is not None and model.expertise is not None:
        names = fresh.expertise.take(model.expertise)
        if len(names) == len(model.expertise.names):
            left_out = set(filter(lambda name: not _of_experts(name), left_out))
        if len(names) == len(fresh.expertise.names):
            experts = set(filter(_of_experts, new))
            kept, new = kept | experts, new - experts
    return Reshaped(fresh, frozenset(kept), frozenset(new), frozenset(left_out))


def _of_experts(name: str) -> bool:
    return name.startswith("expertise.")
