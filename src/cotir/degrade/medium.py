"""Patchy haze and water: media whose density or colour varies, in linear light, on the procedural depth."""

from dataclasses import dataclass
from typing import Literal, cast

import cv2
import numpy as np
import numpy.typing as npt

from cotir.degrade.base import (
    Degradation,
    Image,
    Params,
    between,
    draw_seed,
    pick,
    pixel_scale,
    register,
    to_linear,
    to_srgb,
)
from cotir.degrade.depth import Colour, Field, ambient, mix, procedural_depth

_COARSE = 192
"""Short side at which patches are made; smoke has no finer edge."""


@dataclass(frozen=True)
class NonhomogeneousHazeParams(Params):
    """Fog or smoke in patches."""

    density: float
    """Mean scattering coefficient times the depth of the farthest point."""
    contrast: float
    """Standard deviation of the logarithm of the density across the picture."""
    patch: float
    """Width of the largest patches, as a share of the longer side."""
    stretch: float
    """How many times wider than tall patches are."""
    tint: Colour
    """Colour of the airlight; its brightness comes from the picture."""
    seed: int
    """Of the depth and the patches."""


@register
class NonhomogeneousHaze(Degradation[NonhomogeneousHazeParams]):
    """``I = J t + A (1 - t)`` with ``t = exp(-density c(x) d)``: the scattering law with a density ``c`` that varies.

    Koschmieder's law as in ``haze``; the setting is that of smoke from a machine (Ancuti et al., NH-HAZE, CVPRW 2020).
    ``c`` has mean 1 and is log-normal, as concentrations in a turbulent plume are (Csanady, J. Atmospheric Sciences 30,
    1973); its logarithm is a sum of octaves of noise, displaced by another such sum (Perlin, SIGGRAPH 1985).
    """

    name = "nonhomogeneous_haze"
    stage = "scene"
    rank = 3
    record = NonhomogeneousHazeParams

    def _draw(self, rng: np.random.Generator, severity: float) -> NonhomogeneousHazeParams:
        warm = pick(rng, -0.04, 0.03)
        return NonhomogeneousHazeParams(
            density=between(0.0, pick(rng, 2.1, 3.2), severity**1.5),
            contrast=pick(rng, 0.6, 1.0),
            patch=pick(rng, 0.25, 0.6),
            stretch=pick(rng, 1.0, 2.2),
            tint=(1.0 + warm, 1.0, 1.0 - warm),
            seed=draw_seed(rng),
        )

    def _damage(self, image: Image, params: NonhomogeneousHazeParams) -> Image:
        light = to_linear(image)
        thickness = patches(image.shape[:2], params) * procedural_depth(light, params.seed)
        clear = cv2.exp(thickness * np.float32(-params.density))
        return to_srgb(mix(light, cast(Field, clear), ambient(light, params.tint)))


def patches(size: tuple[int, int], params: NonhomogeneousHazeParams) -> Field:
    """Relative density ``float32 (H, W)``, positive, mean 1, of haze in patches over a picture of ``size`` (H, W)."""
    shrink = max(1.0, min(size) / _COARSE)
    height, width = (max(2, round(side / shrink)) for side in size)
    rng = np.random.default_rng([params.seed, 1])
    across = 1 / (params.patch * max(size))
    cells = (size[0] * across * params.stretch, size[1] * across)
    turbulence = [_octaves((height, width), cells, rng) for _ in range(3)]
    rows, columns = np.mgrid[0:height, 0:width].astype(np.float32)
    carried = np.float32(0.15 * params.patch * max(height, width))
    logarithm = cv2.remap(
        turbulence[0],
        columns + carried * turbulence[1],
        rows + carried / np.float32(params.stretch) * turbulence[2],
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REFLECT_101,
    )
    density = np.exp(np.float32(params.contrast) * _normal(cast(Field, logarithm)))
    full = cv2.resize(density, (size[1], size[0]), interpolation=cv2.INTER_CUBIC)
    full = np.maximum(full, np.float32(1e-3))
    return full / full.mean()


def _octaves(size: tuple[int, int], cells: tuple[float, float], rng: np.random.Generator) -> Field:
    """Noise ``float32 (H, W)``, mean 0 and deviation 1, whose largest features number ``cells`` (rows, columns)."""
    height, width = size
    total = np.zeros(size, np.float32)
    for octave in range(5):
        grid = [int(np.ceil(count * 2**octave)) + 3 for count in cells]
        coarse = rng.standard_normal(grid, dtype=np.float32)
        # Places on the grid, one cell inside its border: patches keep their size in a picture of any shape.
        x = (np.arange(width, dtype=np.float32) + 0.5) / width * np.float32(cells[1] * 2**octave) + 1
        y = (np.arange(height, dtype=np.float32) + 0.5) / height * np.float32(cells[0] * 2**octave) + 1
        places = np.meshgrid(x, y)
        total += 0.45**octave * cv2.remap(coarse, places[0], places[1], cv2.INTER_CUBIC)
    return _normal(total)


def _normal(field: Field) -> Field:
    return cast(Field, (field - field.mean()) / (field.std() + np.float32(1e-6)))


Water = Literal["I", "II", "III", "1C", "3C", "5C"]

ATTENUATION: dict[Water, Colour] = {
    "I": (0.235, 0.043, 0.018),
    "II": (0.26, 0.076, 0.062),
    "III": (0.295, 0.116, 0.116),
    "1C": (0.30, 0.13, 0.17),
    "3C": (0.33, 0.20, 0.29),
    "5C": (0.40, 0.31, 0.43),
}
"""Attenuation per metre at 600, 525 and 475 nm (Jerlov, Marine Optics, 1976, table XXVII): clear and blue to green."""

_NEARNESS = 1.7
"""Exponent on the procedural depth, which is that of a view over land."""

_WATERS: tuple[Water, ...] = ("I", "II", "III", "1C", "3C", "5C")


@dataclass(frozen=True)
class UnderwaterParams(Params):
    """A dive; lengths in pixels are those of a picture whose short side is 512."""

    water: Water
    """Type after Jerlov: I to III of the ocean, 1C to 5C of the coast."""
    distance: float
    """From the camera to the farthest point, in metres."""
    sunk: float
    """Below the surface, in metres: daylight has lost its red on the way down."""
    backscatter: float
    """Brightness of endless water, as a share of the scene's ambient light."""
    forward: float
    """Sigma in pixels of the light that was deflected a little on its way to the camera."""
    seed: int
    """Of the depth."""


@register
class Underwater(Degradation[UnderwaterParams]):
    """``I_c = (J_c s_c) t_c + B_c (1 - t_c)`` per channel, ``t_c = exp(-beta_c d)``, ``s_c = exp(-beta_c h)``.

    The model of McGlamery (Proc. SPIE 208, 1980) and Jaffe (IEEE J. Oceanic Engineering 15(2), 1990) with Jerlov's
    ``beta``; wavelengths of the channels as in Berman et al. (IEEE TPAMI 43(8), 2021). ``s`` is daylight ``h`` metres
    down, the best-transmitted channel exposed as on land. Endless water, ``B_c ~ s_c b / beta_c`` for an even
    scattering ``b`` (Akkaynak and Treibitz, CVPR 2018, eq. 8), has the colour that passes farthest. Of the direct light
    a share ``1 - t_green`` is scattered forward and blurred.
    """

    name = "underwater"
    stage = "scene"
    rank = 6
    record = UnderwaterParams

    def _draw(self, rng: np.random.Generator, severity: float) -> UnderwaterParams:
        water = _WATERS[int(rng.integers(len(_WATERS)))]
        # As many metres as dim all waters alike: divers go closer where it is murky.
        thickness = between(0.0, pick(rng, 1.4, 2.4), severity)
        distance = thickness / float(np.mean(ATTENUATION[water]))
        return UnderwaterParams(
            water=water,
            distance=distance,
            sunk=distance * pick(rng, 0.5, 1.5),
            backscatter=pick(rng, 0.25, 0.6),
            forward=pick(rng, 1.0, 3.0),
            seed=draw_seed(rng),
        )

    def _damage(self, image: Image, params: UnderwaterParams) -> Image:
        light = to_linear(image)
        beta = np.asarray(ATTENUATION[params.water], np.float32)
        metres = metres_of_water(light, params)
        veil = np.asarray(veiling_light(light, params), np.float32)
        daylight = _daylight(params)
        deflected = 1.0 - cv2.exp(metres * -beta[1])
        soft = cv2.GaussianBlur(light, (0, 0), max(params.forward * pixel_scale(image), 0.3))
        planes = []
        for channel, (sharp, blurred) in enumerate(zip(cv2.split(light), cv2.split(soft), strict=True)):
            direct = (sharp + (blurred - sharp) * deflected) * daylight[channel]
            clear = cv2.exp(metres * -beta[channel])
            planes.append((direct - veil[channel]) * clear + veil[channel])
        return to_srgb(cast(Image, cv2.merge(planes)))


def metres_of_water(light: Image, params: UnderwaterParams) -> Field:
    """From the camera to each point ``float32 (H, W)``: a diver's subject is near and the open water behind it far."""
    return cast(Field, cv2.pow(procedural_depth(light, params.seed), _NEARNESS) * np.float32(params.distance))


def veiling_light(light: Image, params: UnderwaterParams) -> Colour:
    """Linear colour of endless water, for a scene ``light`` of linear light ``float32 (H, W, 3)``."""
    beta = np.asarray(ATTENUATION[params.water])
    level = params.backscatter * ambient(light, (1.0, 1.0, 1.0))[1]
    red, green, blue = level * _daylight(params) * beta.min() / beta
    return float(red), float(green), float(blue)


def _daylight(params: UnderwaterParams) -> npt.NDArray[np.float32]:
    left = np.exp(-np.asarray(ATTENUATION[params.water]) * params.sunk)
    return (left / left.max()).astype(np.float32)
