"""The classical rival: filters of the textbooks, one after the other, each switched on by what is measured.

It is blind: it reads neither labels nor instructions. The order is the light's path backwards: impulses, noise, haze,
white balance, black and white point, exposure, local contrast, sharpness. How much of each was found on training photos
by ``scripts/tune_classical.py``, which writes ``classical.yaml``:

    found:         # by what, on how many pictures, and what it gained there; may be left out
    parameters:    # of the chain; what is left out is off
"""

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import Annotated

import numpy as np
from pydantic import Field

from cotir.colour import Floats, unit
from cotir.configuration import Strict, check, parse_yaml, read_yaml
from cotir.errors import ConfigError
from cotir.evaluate.methods import Method, Request, Restored

PARAMETERS = Path(__file__).with_name("classical.yaml")
"""The parameters it ships with."""

LEAST_H = 0.5
"""Non-local means below this decay, in levels, changes nothing but by rounding."""

Amount = Annotated[float, Field(ge=0, le=1)]
Level = Annotated[float, Field(gt=0, le=1)]
"""A measure from which a stage sets in."""


class Parameters(Strict):
    """Of the chain; by default every stage is off.

    An ``_from`` is the measure above which a stage sets in, in full at its double; a ``_below`` the one under which it
    does, in full at its half.
    """

    despeckle: Amount = 0.0
    despeckle_jump: Level = 0.3
    """Difference from the median that makes a local extreme an impulse."""
    despeckle_from: Level = 0.002
    """Share of values that are impulses."""

    denoise: Annotated[float, Field(ge=0, le=5)] = 0.0
    """Decay of non-local means for lightness, in measured standard deviations of the noise."""
    denoise_colour: Annotated[float, Field(ge=0, le=5)] = 0.0
    """The same for colour."""
    denoise_from: Level = 0.01
    """Standard deviation of the noise."""

    dehaze: Annotated[float, Field(ge=0, le=0.95)] = 0.0
    """Part of the haze to take away: w of He et al. 2011, eq. 12."""
    dehaze_from: Level = 0.1
    """See :func:`cotir.evaluate.filters.haze_level`."""

    balance: Amount = 0.0
    balance_from: Level = 0.3
    """See :func:`cotir.evaluate.filters.cast_level`."""

    stretch: Amount = 0.0
    stretch_clip: Annotated[float, Field(ge=0, lt=50)] = 1.0
    """Percent of the values beyond the black and the white point."""
    stretch_white: Level = 0.8
    """A white point below this is brought up to it."""
    stretch_black: Annotated[float, Field(ge=0, le=1)] = 0.1
    """A black point above this is brought down to it."""

    expose: Amount = 0.0
    expose_dark: Annotated[float, Field(gt=0, le=0.5)] = 0.25
    """A mean luma below this is brought up to it."""
    expose_bright: Annotated[float, Field(ge=0.5, lt=1)] = 0.75
    """A mean luma above this is brought down to it."""

    equalise: Amount = 0.0
    equalise_limit: Annotated[float, Field(ge=1, le=40)] = 2.0
    """Clip limit of CLAHE."""
    equalise_below: Level = 0.15
    """Standard deviation of the luma."""

    sharpen: Annotated[float, Field(ge=0, le=3)] = 0.0
    sharpen_radius: Annotated[float, Field(gt=0, le=10)] = 1.5
    """Standard deviation of the Gaussian, in pixels."""
    sharpen_below: Annotated[float, Field(gt=0, le=10)] = 1.0
    """See :func:`cotir.evaluate.filters.sharpness_level`."""


class Found(Strict):
    """Where parameters come from."""

    command: str
    pictures: Annotated[int, Field(ge=1)]
    """Training pictures that were searched on."""
    gain: float
    """Mean PSNR gain there in dB; see scripts/tune_classical.py."""
    others: Annotated[int, Field(ge=0)] = 0
    """Pictures of other training photos."""
    gain_on_others: float | None = None


class ParameterFile(Strict):
    """What a parameter file holds."""

    found: Found | None = None
    parameters: Parameters


@dataclass(frozen=True, eq=False)
class Chained:
    """What a chain made, float32 (H, W, 3) in [0, 1], and the stages that acted."""

    image: Floats
    steps: tuple[str, ...]


Stage = Callable[[Floats, Parameters], Floats]
"""Returns the very picture it got where there is nothing to do."""


def load_parameters(path: Path = PARAMETERS) -> ParameterFile:
    """Read a parameter file.

    Raises:
        ConfigError: it cannot be read, or holds an unknown key or a value that is not allowed.
    """
    data = parse_yaml(read_yaml(path, "parameter file"), name=str(path), needs="found, parameters")
    return check(ParameterFile, data, name=str(path))


def rising(measure: float, start: float) -> float:
    """The gate of an ``_from``: 0 up to ``start``, 1 from its double on, linear between."""
    return float(np.clip(measure / start - 1, 0, 1))


def falling(measure: float, start: float) -> float:
    """The gate of a ``_below``: 0 from ``start`` on, 1 up to its half, linear between."""
    return float(np.clip(2 - 2 * measure / start, 0, 1))


def _despeckle(image: Floats, use: Parameters) -> Floats:
    if use.despeckle == 0:
        return image
    share = float(filters().impulses(image, use.despeckle_jump).mean())
    strength = use.despeckle * rising(share, use.despeckle_from)
    return filters().despeckle(image, use.despeckle_jump, strength) if strength else image


def _denoise(image: Floats, use: Parameters) -> Floats:
    if use.denoise == use.denoise_colour == 0:
        return image
    sigma = filters().noise_level(image)
    decay = 255 * sigma * rising(sigma, use.denoise_from)
    h, h_colour = use.denoise * decay, use.denoise_colour * decay
    return filters().denoise(image, h, h_colour) if max(h, h_colour) >= LEAST_H else image


def _dehaze(image: Floats, use: Parameters) -> Floats:
    strength = use.dehaze and use.dehaze * rising(filters().haze_level(image), use.dehaze_from)
    return filters().dehaze(image, strength) if strength else image


def _balance(image: Floats, use: Parameters) -> Floats:
    strength = use.balance and use.balance * rising(filters().cast_level(image), use.balance_from)
    return filters().balance(image, strength) if strength else image


def _stretch(image: Floats, use: Parameters) -> Floats:
    if use.stretch == 0:
        return image
    black, white = np.percentile(image, [use.stretch_clip, 100 - use.stretch_clip])
    if black <= use.stretch_black and white >= use.stretch_white:
        return image
    return filters().stretch(image, use.stretch_clip, use.stretch_white, use.stretch_black, use.stretch)


def _expose(image: Floats, use: Parameters) -> Floats:
    if use.expose == 0 or use.expose_dark <= float(filters().luma(image).mean()) <= use.expose_bright:
        return image
    return filters().expose(image, use.expose_dark, use.expose_bright, use.expose)


def _equalise(image: Floats, use: Parameters) -> Floats:
    strength = use.equalise and use.equalise * falling(filters().contrast_level(image), use.equalise_below)
    return filters().equalise(image, use.equalise_limit, strength) if strength else image


def _sharpen(image: Floats, use: Parameters) -> Floats:
    strength = use.sharpen and use.sharpen * falling(filters().sharpness_level(image), use.sharpen_below)
    return filters().sharpen(image, use.sharpen_radius, strength) if strength else image


STAGES: dict[str, Stage] = {
    "despeckle": _despeckle,
    "denoise": _denoise,
    "dehaze": _dehaze,
    "balance": _balance,
    "stretch": _stretch,
    "expose": _expose,
    "equalise": _equalise,
    "sharpen": _sharpen,
}
"""In the order they act; a stage's parameters have its name or begin with it."""


def run_chain(image: Floats, parameters: Parameters, stages: Iterable[str] = tuple(STAGES)) -> Chained:
    """Run stages one after the other, each on what the one before it made.

    Args:
        image: float32 (H, W, 3) in [0, 1], any size; left unchanged.
        parameters: of all stages.
        stages: names in :data:`STAGES`.
    """
    steps = []
    for name in stages:
        result = STAGES[name](image, parameters)
        if result is not image:
            steps.append(name)
        image = result
    return Chained(image, tuple(steps))


class Classical(Method):
    """The chain with the parameters that ship with it, or with those of a file: ``classical``, ``classical:FILE``.

    Raises:
        ConfigError: the file cannot be used, or OpenCV is missing.
    """

    def __init__(self, argument: str | None = None) -> None:
        self.parameters = load_parameters(Path(argument) if argument else PARAMETERS).parameters
        self.version = f"1 {hashlib.sha256(self.parameters.model_dump_json().encode()).hexdigest()[:12]}"
        filters()

    def restore(self, request: Request) -> Restored:
        """See :class:`Method`; ``steps`` are the stages that acted."""
        chained = run_chain(unit(request.image), self.parameters)
        return Restored(np.rint(chained.image * 255).astype(np.uint8), steps=chained.steps)


@lru_cache(maxsize=1)
def filters() -> ModuleType:
    """:mod:`cotir.evaluate.filters`, which needs OpenCV.

    Raises:
        ConfigError: OpenCV is missing.
    """
    try:
        from cotir.evaluate import filters as module
    except ImportError as error:
        raise ConfigError(
            f"the method 'classical' needs OpenCV ({error}); pip install 'cotir[eval]', or leave 'classical' out"
        ) from error
    return module
