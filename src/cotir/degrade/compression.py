"""Lossy files, through the real codecs.

JPEG through OpenCV's libjpeg-turbo, which Pillow uses too and OpenCV calls more quickly; WebP and AVIF through Pillow,
whose builds hold both; H.264 through PyAV, which the ``video`` extra brings and the first use imports.
"""

import io
from dataclasses import dataclass
from fractions import Fraction
from types import ModuleType
from typing import Literal, cast

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image as PillowImage

from cotir.degrade.base import Degradation, Image, Params, between, pick, register
from cotir.errors import ConfigError

Levels = npt.NDArray[np.uint8]

_SAMPLING = {
    "4:4:4": cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444,
    "4:2:0": cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420,
}


@dataclass(frozen=True)
class JpegParams(Params):
    """Settings of one JPEG file."""

    quality: int
    """IJG quality, 1 to 100."""
    chroma: Literal["4:4:4", "4:2:0"]
    """Whether colour is stored at full or at half resolution."""


@register
class Jpeg(Degradation[JpegParams]):
    """``y = decode(encode(x))``, a baseline JPEG file (ITU-T T.81; IJG's quality scales the tables of its Annex K).

    Quality is ``97 - 89 severity^0.6``: 90 near severity 0.015, 50 near 0.35, 8 at 1. It falls quickly at first because
    the damage of a step grows as quality sinks. From quality 90 down, 7 files in 10 halve the colour resolution.
    """

    name = "jpeg"
    stage = "file"
    rank = 9
    record = JpegParams

    def _draw(self, rng: np.random.Generator, severity: float) -> JpegParams:
        halved = rng.random() < 0.7
        quality = round(between(97, 8, severity**0.6))
        return JpegParams(quality=quality, chroma="4:2:0" if halved and quality <= 90 else "4:4:4")

    def _damage(self, image: Image, params: JpegParams) -> Image:
        levels = cv2.cvtColor(_to_levels(image), cv2.COLOR_RGB2BGR)
        options = [cv2.IMWRITE_JPEG_QUALITY, params.quality, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, _SAMPLING[params.chroma]]
        _, file = cv2.imencode(".jpg", levels, options)
        return _from_levels(cast(Levels, cv2.imdecode(file, cv2.IMREAD_COLOR_RGB)))


@dataclass(frozen=True)
class WebpParams(Params):
    """Settings of one WebP file."""

    quality: int
    """libwebp's quality, 0 to 99; 100 stores the picture without loss."""


@register
class Webp(Degradation[WebpParams]):
    """``y = decode(encode(x))``, a WebP file (RFC 9649): one intra frame of VP8 (RFC 6386), colour always halved.

    Quality is ``100 - 100 severity^0.5``: 61 at severity 0.15, 29 at 0.5, 0 at 1, within two steps. WebP's loss is
    mild even at 0: edges soften and smooth areas break into blocks of one colour.
    """

    name = "webp"
    stage = "file"
    rank = 7
    record = WebpParams

    def _draw(self, rng: np.random.Generator, severity: float) -> WebpParams:
        return WebpParams(quality=_jittered(100, 0, severity**0.5, rng))

    def _damage(self, image: Image, params: WebpParams) -> Image:
        whole = params.quality == 100
        # Without loss, quality is effort.
        return _through_file(image, "WEBP", quality=0 if whole else params.quality, lossless=whole, method=2)


@dataclass(frozen=True)
class AvifParams(Params):
    """Settings of one AVIF file."""

    quality: int
    """libavif's quality, 0 to 100."""
    chroma: Literal["4:4:4", "4:2:0"]
    """Whether colour is stored at full or at half resolution."""


@register
class Avif(Degradation[AvifParams]):
    """``y = decode(encode(x))``, an AVIF file: one intra frame of AV1 (AOM, AV1 Bitstream Specification).

    Quality is ``97 - 95 severity^0.6``: 67 at severity 0.15, 34 at 0.5, 2 at 1, within two steps. AV1 predicts and
    filters: fine texture melts into smooth areas where JPEG would show blocks. From quality 90 down, 7 files in 10
    halve the colour resolution.
    """

    name = "avif"
    stage = "file"
    rank = 6
    record = AvifParams

    def _draw(self, rng: np.random.Generator, severity: float) -> AvifParams:
        halved = rng.random() < 0.7
        quality = _jittered(97, 2, severity**0.6, rng)
        return AvifParams(quality=quality, chroma="4:2:0" if halved and quality <= 90 else "4:4:4")

    def _damage(self, image: Image, params: AvifParams) -> Image:
        # One thread: how many there are may change what an encoder decides.
        options = {"quality": params.quality, "subsampling": params.chroma, "speed": 10, "max_threads": 1}
        return _through_file(image, "AVIF", **options)


_BT_709 = np.array([[0.2126, 0.7152, 0.0722], [-0.1146, -0.3854, 0.5], [0.5, -0.4542, -0.0458]], np.float32)
"""From RGB to luma and blue and red difference (ITU-R BT.709)."""
_VIDEO_RANGE = np.array([219, 224, 224], np.float32)
_VIDEO_ZERO = np.array([16, 128, 128], np.float32)


@dataclass(frozen=True)
class H264Params(Params):
    """Settings of one intra frame of video."""

    crf: float
    """x264's constant rate factor, 0 to 51; 6 more halve the file."""
    chroma: Literal["4:4:4", "4:2:0"]
    """Whether colour is stored at full or at half resolution."""


@register
class H264(Degradation[H264Params]):
    """``y = decode(encode(x))``, one intra frame of H.264 (ITU-T H.264), by x264 in 8 bits of limited range.

    The rate factor is ``1 + 39 severity^0.6``: 13 at severity 0.15, 27 at 0.5, 40 at 1, less up to two; 18 passes for
    lossless, 23 is x264's default, streams at low bandwidth lie above 35. Up to 12 colour keeps its full resolution, as
    in masters; above, it is halved, as in nearly all video.

    Needs the ``video`` extra (PyAV) with x264, as its wheels have: :meth:`apply` raises ConfigError without.
    """

    name = "h264"
    stage = "file"
    rank = 5
    record = H264Params

    def _draw(self, rng: np.random.Generator, severity: float) -> H264Params:
        crf = between(1.0, pick(rng, 38.0, 40.0), severity**0.6)
        return H264Params(crf=crf, chroma="4:2:0" if crf > 12 else "4:4:4")

    def _damage(self, image: Image, params: H264Params) -> Image:
        height, width = image.shape[:2]
        # Halved colour takes an even size; the edge is repeated and cut off again.
        even = cv2.copyMakeBorder(image, 0, height % 2, 0, width % 2, cv2.BORDER_REPLICATE)
        return _from_video(_through_video(_to_video(cast(Image, even), params.chroma), params))[:height, :width]


def _to_video(image: Image, chroma: str) -> tuple[Levels, Levels, Levels]:
    """Luma and colour difference in 8 bits of limited range; colour has half the size for 4:2:0."""
    coded = cv2.transform(image, _BT_709) * _VIDEO_RANGE + _VIDEO_ZERO
    luma, *colour = cv2.split(np.rint(coded).astype(np.uint8))
    if chroma == "4:2:0":
        half = (luma.shape[1] // 2, luma.shape[0] // 2)
        colour = [cv2.resize(plane, half, interpolation=cv2.INTER_AREA) for plane in colour]
    return cast(Levels, luma), cast(Levels, colour[0]), cast(Levels, colour[1])


def _from_video(planes: tuple[Levels, Levels, Levels]) -> Image:
    size = (planes[0].shape[1], planes[0].shape[0])
    full = [planes[0], *(cv2.resize(plane, size, interpolation=cv2.INTER_LINEAR) for plane in planes[1:])]
    coded = (cv2.merge(full).astype(np.float32) - _VIDEO_ZERO) / _VIDEO_RANGE
    return cast(Image, cv2.transform(coded, np.linalg.inv(_BT_709)))


def _through_video(planes: tuple[Levels, Levels, Levels], params: H264Params) -> tuple[Levels, Levels, Levels]:
    """Encode and decode one frame on one thread."""
    av = _video_library()
    height, width = planes[0].shape
    format = "yuv420p" if params.chroma == "4:2:0" else "yuv444p"
    encoder = av.CodecContext.create("libx264", "w")
    encoder.height, encoder.width, encoder.pix_fmt = height, width, format
    encoder.time_base, encoder.thread_count = Fraction(1, 25), 1
    encoder.options = {"crf": str(params.crf), "preset": "veryfast"}
    # Planes one after another; PyAV wants rows for halved colour, planes for full.
    stacked = np.concatenate([plane.ravel() for plane in planes])
    stacked = stacked.reshape((-1, width) if format == "yuv420p" else (3, height, width))
    packets = [*encoder.encode(av.VideoFrame.from_ndarray(stacked, format=format)), *encoder.encode(None)]
    decoder = av.CodecContext.create("h264", "r")
    decoder.thread_count = 1
    frames = [frame for packet in packets for frame in decoder.decode(packet)] + decoder.decode(None)
    first, second, third = np.split(frames[0].to_ndarray().ravel(), np.cumsum([plane.size for plane in planes[:2]]))
    return first.reshape(planes[0].shape), second.reshape(planes[1].shape), third.reshape(planes[2].shape)


def _video_library() -> ModuleType:
    try:
        import av
    except ImportError as error:
        raise ConfigError(
            "the degradation 'h264' needs PyAV, which is missing; pip install 'cotir[video]', or leave 'h264' out"
        ) from error
    if "libx264" not in av.codecs_available:
        raise ConfigError(
            f"the degradation 'h264' needs x264, which PyAV {av.__version__} was built without; "
            "install PyAV's own wheel (pip install --force-reinstall av), or leave 'h264' out"
        )
    return av


def _through_file(image: Image, format: str, **options: int | str | bool) -> Image:
    file = io.BytesIO()
    PillowImage.fromarray(_to_levels(image)).save(file, format, **options)
    return _from_levels(np.asarray(PillowImage.open(file).convert("RGB")))


def _jittered(best: int, worst: int, severity: float, rng: np.random.Generator) -> int:
    """A quality between ``best`` at severity 0 and ``worst`` at 1, moved by up to two steps in between."""
    moved = pick(rng, -2.0, 2.0) * 4 * severity * (1 - severity)
    return round(between(best, worst, severity) + moved)


def _to_levels(image: Image) -> Levels:
    return np.rint(np.clip(image, 0.0, 1.0) * np.float32(255)).astype(np.uint8)


def _from_levels(levels: Levels) -> Image:
    return levels.astype(np.float32) * np.float32(1 / 255)
