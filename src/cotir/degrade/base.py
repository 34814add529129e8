"""What every degradation is: a name, a stage of the light's path, a sampler of parameters and a pure operator.

The sampler is the only random part. It turns a severity in [0, 1] into a frozen record of plain numbers; a random
field (noise, streaks, flakes) is held in that record as an integer seed, so ``apply`` is a function of its arguments
alone. Pictures are ``float32 (H, W, 3)``, sRGB-encoded, in [0, 1]. Where physics adds or averages light, the operator
decodes to linear light with :func:`to_linear` first and encodes with :func:`to_srgb` last.
"""

import json
from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass, fields
from typing import Any, ClassVar, Generic, Literal, TypeVar, cast, get_args, get_origin, get_type_hints

import cv2
import numpy as np
import numpy.typing as npt

from cotir.errors import ConfigError, ImageError

Image = npt.NDArray[np.float32]
Stage = Literal["scene", "lens", "sensor", "processing", "file"]

STAGES: tuple[Stage, ...] = ("scene", "lens", "sensor", "processing", "file")
"""The order light travels, from the world to the file."""

MIN_SIDE = 16


@dataclass(frozen=True)
class Params:
    """Base of the parameter records: fields are ``Literal`` words, ``int``, ``float`` or tuples of ``float``."""


P = TypeVar("P", bound=Params)


class Degradation(ABC, Generic[P]):
    """One kind of damage. Subclasses state four facts and write :meth:`_draw` and :meth:`_damage`."""

    name: ClassVar[str]
    stage: ClassVar[Stage]
    rank: ClassVar[int] = 0
    """Place within the stage: a smaller rank is applied first."""
    record: ClassVar[type[Params]]

    def sample(self, rng: np.random.Generator, severity: float) -> P:
        """Draw parameters; the same ``rng`` state at a higher severity gives the same scene with more damage.

        Raises:
            ConfigError: ``severity`` is outside [0, 1].
        """
        return self._draw(rng, check_severity(severity))

    def apply(self, image: Image, params: P) -> Image:
        """Damage a picture.

        Args:
            image: ``float32 (H, W, 3)``, sRGB in [0, 1], each side at least 16. It is left unchanged.
            params: a record from :meth:`sample` or :func:`from_json`.

        Returns:
            A new picture of the same shape, dtype and range.

        Raises:
            ImageError: the picture has another shape or dtype.
            ConfigError: the record belongs to another kind.
        """
        _check_image(image)
        if not isinstance(params, self.record):
            raise ConfigError(
                f"{self.name}.apply got {type(params).__name__}; it takes {self.record.__name__}. "
                f"Use the parameters that {self.name}.sample returned"
            )
        return np.clip(self._damage(image, params), 0.0, 1.0, dtype=np.float32)

    @abstractmethod
    def _draw(self, rng: np.random.Generator, severity: float) -> P: ...

    @abstractmethod
    def _damage(self, image: Image, params: P) -> Image: ...


KINDS: dict[str, Degradation[Any]] = {}
"""Every kind by its name."""


def register(kind: type[Degradation[Any]]) -> type[Degradation[Any]]:
    """Class decorator: put one instance of ``kind`` in :data:`KINDS`."""
    if kind.name in KINDS:
        raise ConfigError(f"the degradation {kind.name!r} is registered twice; give one of them another name")
    KINDS[kind.name] = kind()
    return kind


def kind_named(name: str) -> Degradation[Any]:
    """Look a kind up.

    Raises:
        ConfigError: no kind has this name.
    """
    if name not in KINDS:
        raise ConfigError(f"unknown degradation {name!r}; choose from {', '.join(KINDS)}")
    return KINDS[name]


def to_json(params: Params) -> str:
    """One line of JSON: the kind's name under ``kind``, then every field. :func:`from_json` reads it back."""
    for kind in KINDS.values():
        if kind.record is type(params):
            return json.dumps({"kind": kind.name, **asdict(params)})
    raise ConfigError(f"{type(params).__name__} belongs to no registered degradation; register its kind first")


def from_json(text: str) -> Params:
    """Read a record written by :func:`to_json`; exact, floats included.

    Raises:
        ConfigError: the text is not such JSON, its kind is unknown, or a field is missing, unknown or of a wrong type.
    """
    try:
        values = json.loads(text)
    except json.JSONDecodeError as error:
        raise ConfigError(f"degradation parameters are not JSON ({error}): {text[:80]!r}") from error
    if not isinstance(values, dict) or "kind" not in values:
        raise ConfigError(f"degradation parameters need an object with a 'kind'; got {text[:80]!r}")
    kind = kind_named(str(values.pop("kind")))
    wanted = {field.name for field in fields(kind.record)}
    if set(values) != wanted:
        raise ConfigError(
            f"parameters of {kind.name!r} have missing fields {sorted(wanted - set(values))} and unknown fields "
            f"{sorted(set(values) - wanted)}; exactly {sorted(wanted)} are allowed"
        )
    hints = get_type_hints(kind.record)
    return kind.record(**{key: _read(kind.name, key, value, hints[key]) for key, value in values.items()})


def _read(kind: str, key: str, value: Any, hint: Any) -> Any:
    """A JSON value as its field's type: a ``Literal``, ``int``, ``float`` or a tuple of floats."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if get_origin(hint) is Literal and value in get_args(hint):
        return value
    if (hint is int and number and isinstance(value, int)) or (hint is float and number):
        return hint(value)
    if get_origin(hint) is tuple and isinstance(value, list) and len(value) == len(get_args(hint)):
        return tuple(_read(kind, key, part, float) for part in value)
    wanted = " or ".join(map(repr, get_args(hint))) if get_origin(hint) is Literal else getattr(hint, "__name__", hint)
    raise ConfigError(f"parameter {key!r} of {kind!r} is {value!r}; it must be {wanted}")


def check_severity(severity: float) -> float:
    """Return ``severity`` as a float, or raise :class:`ConfigError` when it is outside [0, 1] or not a number."""
    if not 0.0 <= severity <= 1.0:
        raise ConfigError(f"severity is {severity!r}; it must lie in [0, 1], where 0 leaves the picture as it is")
    return float(severity)


def draw_seed(rng: np.random.Generator) -> int:
    """A seed for one random field, to be held in a parameter record."""
    return int(rng.integers(2**31))


def pick(rng: np.random.Generator, low: float, high: float) -> float:
    """A plain ``float`` drawn uniformly, so that it survives JSON."""
    return float(rng.uniform(low, high))


def between(low: float, high: float, severity: float) -> float:
    """Linear interpolation from ``low`` at severity 0 to ``high`` at severity 1."""
    return low + (high - low) * severity


def pixel_scale(image: Image) -> float:
    """Factor for lengths in pixels, which parameters state for a short side of 512.

    A small picture may be a thumbnail (lengths shrink with it) or a crop (they do not); the square root is the
    geometric mean of both. Bounded to [0.4, 2].
    """
    return float(np.clip(np.sqrt(min(image.shape[:2]) / 512.0), 0.4, 2.0))


def to_linear(image: Image) -> Image:
    """Decode sRGB to linear light, both in [0, 1] (IEC 61966-2-1)."""
    curve = cv2.pow((image + np.float32(0.055)) * np.float32(1 / 1.055), 2.4)
    np.copyto(curve, image * np.float32(1 / 12.92), where=image <= 0.04045)
    return cast(Image, curve)


def to_srgb(light: Image) -> Image:
    """Encode linear light to sRGB (IEC 61966-2-1); values are first clipped to [0, 1], as a sensor and a file do."""
    light = np.clip(light, 0.0, 1.0, dtype=np.float32)
    curve = cv2.pow(light, 1 / 2.4) * np.float32(1.055) - np.float32(0.055)
    np.copyto(curve, light * np.float32(12.92), where=light <= 0.0031308)
    return cast(Image, curve)


def _check_image(image: Image) -> None:
    if not isinstance(image, np.ndarray) or image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.float32:
        got = f"{image.dtype} {image.shape}" if isinstance(image, np.ndarray) else type(image).__name__
        raise ImageError(f"a degradation got {got}; it takes a float32 array (H, W, 3), sRGB in [0, 1]. Convert first")
    if min(image.shape[:2]) < MIN_SIDE:
        raise ImageError(
            f"a degradation got a picture of {image.shape[1]}x{image.shape[0]}; each side must be at least {MIN_SIDE}"
        )
