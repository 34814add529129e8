"""The metrics, in one table: what each measures, which way is better, where it comes from, and its code.

A metric takes pictures as float32 (H, W, 3), sRGB-encoded, in [0, 1]. Those that need a reference take the restored
picture and HQ, of one size. A metric that is not defined for a picture (too small a side) gives nan, which tables count
and leave out.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from typing import Literal

import numpy as np

from cotir.configuration import nearest
from cotir.errors import ConfigError, ImageError
from cotir.evaluate import formulas
from cotir.evaluate.formulas import Compute, Image

Set = Literal["default", "real", "paper"]


@dataclass(frozen=True)
class Metric:
    """A metric and what there is to know about it.

    Attributes:
        name: in files and on the command line.
        title: in tables.
        unit: of its values, or nothing.
        higher_is_better: the direction; None where a value describes and does not judge.
        range: least and greatest value it can give.
        ideal: its value for identical pictures; None without a reference.
        needs_reference: whether HQ is compared with.
        perceptual: closer to what people see than to differences of pixels.
        source: where it was published.
        library: whose code computes it.
        extra: what to install for it, ``pip install 'cotir[...]'``.
        offline: needs no download of weights.
        compute: of the restored picture and HQ (None without a reference).
    """

    name: str
    title: str
    unit: str
    higher_is_better: bool | None
    range: tuple[float, float]
    ideal: float | None
    needs_reference: bool
    perceptual: bool
    source: str
    library: str
    extra: str
    offline: bool
    compute: Compute

    def __call__(self, restored: Image, reference: Image | None = None) -> float:
        """Its value.

        Raises:
            ImageError: the pictures have not the form above, differ in size, or HQ is missing.
            ConfigError: its library is not installed.
        """
        _check(self.name, restored, reference, needed=self.needs_reference)
        value = float(self.compute(restored, reference if self.needs_reference else None))
        return value if np.isfinite(value) else float("nan")  # as of a flat picture, where some divide by nothing

    @property
    def digits(self) -> int:
        """Decimals that are written: two for what has a unit, four for shares and indices."""
        return 2 if self.unit else 4

    @property
    def is_installed(self) -> bool:
        """Whether its library is there."""
        return find_spec(self.library) is not None and (self.library not in _ON_TORCHVISION or _has_torchvision())


def choose(names: Iterable[str] | Set = "default") -> tuple[Metric, ...]:
    """Metrics by name, or those of a set; of a set, those whose library is missing are left out (:func:`left_out`).

    Raises:
        ConfigError: there is no such metric or set, nothing is left, or the library of one that was named is missing.
    """
    if isinstance(names, str):
        if names not in SETS:
            raise ConfigError(f"there is no metric set {names!r}{nearest(names, SETS)}; sets: {', '.join(SETS)}")
        chosen = tuple(METRICS[name] for name in SETS[names] if METRICS[name].is_installed)
        if not chosen:
            raise ConfigError(f"no metric of the set {names} can be computed; {_install(METRICS[SETS[names][0]])}")
        return chosen
    chosen = tuple(_named(name) for name in dict.fromkeys(names))
    if not chosen:
        raise ConfigError(f"no metric is named; name some of {', '.join(METRICS)}")
    for metric in chosen:
        if not metric.is_installed:
            raise ConfigError(f"the metric {metric.name} cannot be computed; {_install(metric)}")
    return chosen


def check_metrics(metrics: Iterable[Metric], has_reference: bool) -> None:
    """Compute every metric once, on noise: what cannot be computed shows before anything is restored.

    Raises:
        ConfigError: one needs a reference and there is none, or fails, as one does whose weights cannot be fetched.
    """
    rng = np.random.default_rng(0)
    restored, reference = (rng.random((192, 192, 3), dtype=np.float32) for _ in range(2))
    for metric in metrics:
        if metric.needs_reference and not has_reference:
            raise ConfigError(f"{metric.name} compares with originals, and there are none; leave it out with --real")
        try:
            metric(restored, reference)
        except Exception as error:  # of a library and of what it fetches
            raise ConfigError(f"the metric {metric.name} cannot be computed here ({error}); leave it out") from error


def left_out(names: Set) -> tuple[Metric, ...]:
    """Metrics of a set whose library is missing."""
    return tuple(METRICS[name] for name in SETS[names] if not METRICS[name].is_installed)


def _named(name: str) -> Metric:
    if name not in METRICS:
        raise ConfigError(f"there is no metric {name!r}{nearest(name, METRICS)}; metrics: {', '.join(METRICS)}")
    return METRICS[name]


def _install(metric: Metric) -> str:
    return f"it needs {metric.library}: pip install 'cotir[{metric.extra}]'"


def _check(name: str, restored: Image, reference: Image | None, *, needed: bool) -> None:
    for what, image in (("the restored picture", restored), ("HQ", reference)):
        if image is None:
            if needed:
                raise ImageError(f"{name} compares with a reference, and there is none; choose metrics that need none")
            continue
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.float32:
            raise ImageError(f"{name}: {what} is {image.dtype} {image.shape}; it must be float32 (H, W, 3)")
        if not np.isfinite(image).all() or image.min() < 0 or image.max() > 1:
            low, high = float(image.min()), float(image.max())
            raise ImageError(f"{name}: {what} has values from {low:g} to {high:g}; they must be numbers in [0, 1]")
    if needed and reference is not None and restored.shape != reference.shape:
        sizes = " and ".join(f"{each.shape[1]}x{each.shape[0]}" for each in (restored, reference))
        raise ImageError(
            f"{name}: the restored picture and HQ are {sizes}; they must be of one size, nothing is cropped"
        )


_ON_TORCHVISION = ("piq", "pyiqa")


@cache
def _has_torchvision() -> bool:
    """Whether a torchvision is there that fits this torch: one of another build fails when it is imported."""
    try:
        import torchvision  # noqa: F401  # pyright: ignore[reportMissingImports]
    except (ImportError, RuntimeError):
        return False
    return True


_INF = float("inf")
_EVAL, _TM, _SK = "eval", "torchmetrics", "skimage"
_WANG, _MS = "Wang et al. 2004, IEEE TIP 13(4)", "Wang et al. 2003, Asilomar"
_PIQ = ("piq", "iqa", True)
_PYIQA = ("pyiqa", "paper-metrics", False)

# fmt: off
METRICS: dict[str, Metric] = {metric.name: metric for metric in (
    # with a reference, offline
    Metric("psnr", "PSNR", "dB", True, (0, formulas.SAME), formulas.SAME, True, False,
           "10 log10(1 / mean square error), capped", "numpy", _EVAL, True, formulas.psnr),
    Metric("ssim", "SSIM", "", True, (-1, 1), 1, True, False, _WANG, _SK, _EVAL, True, formulas.ssim),
    Metric("ms_ssim", "MS-SSIM", "", True, (0, 1), 1, True, True, _MS, _TM, _EVAL, True,
           formulas.of_torchmetrics("multiscale_structural_similarity_index_measure", 176, data_range=1.0,
                                    normalize="relu")),
    Metric("vif", "VIF", "", True, (0, _INF), 1, True, True, "Sheikh and Bovik 2006, IEEE TIP 15(2), pixel domain",
           _TM, _EVAL, True, formulas.of_torchmetrics("visual_information_fidelity", 41)),
    Metric("gmsd", "GMSD", "", False, (0, 1), 0, True, True, "Xue et al. 2014, IEEE TIP 23(2)", *_PIQ,
           formulas.of_piq("gmsd", 8)),
    Metric("haarpsi", "HaarPSI", "", True, (0, 1), 1, True, True, "Reisenhofer et al. 2018, SPIC 61", *_PIQ,
           formulas.of_piq("haarpsi", 16)),
    Metric("fsim", "FSIMc", "", True, (0, 1), 1, True, True, "Zhang et al. 2011, IEEE TIP 20(8)", *_PIQ,
           formulas.of_piq("fsim", 16)),
    Metric("mdsi", "MDSI", "", False, (0, _INF), 0, True, True, "Nafchi et al. 2016, IEEE Access 4", *_PIQ,
           formulas.of_piq("mdsi", 8)),
    Metric("de2000", "dE2000", "", False, (0, _INF), 0, True, True, "CIE 142-2001; Sharma et al. 2005", _SK, _EVAL,
           True, formulas.de2000),
    Metric("colour_shift", "colour shift", "dE76", False, (0, _INF), 0, True, True,
           "distance of the mean colours in CIELAB", _SK, _EVAL, True, formulas.colour_shift),
    # without a reference, offline: they describe; more or less of each may be right
    Metric("noise_level", "noise", "/255", None, (0, _INF), None, False, False,
           "Donoho and Johnstone 1994, Biometrika 81(3)", _SK, _EVAL, True, formulas.noise_level),
    Metric("blur_level", "blur", "", None, (0, 1), None, False, True, "Crete et al. 2007, SPIE 6492", _SK, _EVAL, True,
           formulas.blur_level),
    Metric("contrast", "contrast", "", None, (0, 0.5), None, False, False, "Peli 1990, JOSA A 7(10)", "numpy", _EVAL,
           True, formulas.contrast),
    Metric("colourfulness", "colourfulness", "", None, (0, _INF), None, False, True,
           "Hasler and Suesstrunk 2003, SPIE 5007", "numpy", _EVAL, True, formulas.colourfulness),
    # the paper's eight, by the names of the released script
    Metric("clipiqa_plus", "CLIP-IQA+", "", True, (0, 1), None, False, True, "Wang et al. 2023, AAAI", *_PYIQA,
           formulas.of_pyiqa("clipiqa+")),
    Metric("qalign", "Q-Align", "", True, (1, 5), None, False, True, "Wu et al. 2024, ICML", *_PYIQA,
           formulas.of_pyiqa("qalign")),
    Metric("liqe", "LIQE", "", True, (1, 5), None, False, True, "Zhang et al. 2023, CVPR", *_PYIQA,
           formulas.of_pyiqa("liqe")),
    Metric("maclip", "MA-CLIP", "", True, (0, _INF), None, False, True, "pyiqa's maclip", *_PYIQA,
           formulas.of_pyiqa("maclip")),
    Metric("clip_iqa", "CLIP-IQA", "", True, (0, 1), None, False, True, "Wang et al. 2023, AAAI", *_PYIQA,
           formulas.of_pyiqa("clipiqa")),
    Metric("pyiqa_psnr", "PSNR (pyiqa)", "dB", True, (0, _INF), None, True, False, "as psnr, by pyiqa", *_PYIQA,
           formulas.of_pyiqa("psnr")),
    Metric("pyiqa_ssim", "SSIM (pyiqa)", "", True, (-1, 1), 1, True, False, f"{_WANG}, by pyiqa", *_PYIQA,
           formulas.of_pyiqa("ssim")),
    Metric("lpips", "LPIPS", "", False, (0, _INF), 0, True, True, "Zhang et al. 2018, CVPR", *_PYIQA,
           formulas.of_pyiqa("lpips")),
)}
# fmt: on

SETS: dict[Set, tuple[str, ...]] = {
    "default": ("psnr", "ssim", "ms_ssim", "vif", "gmsd", "haarpsi", "fsim", "mdsi", "de2000", "colour_shift"),
    "real": ("noise_level", "blur_level", "contrast", "colourfulness"),
    "paper": ("clipiqa_plus", "qalign", "liqe", "maclip", "clip_iqa", "pyiqa_psnr", "pyiqa_ssim", "lpips"),
}
"""``default`` and ``real`` (without a reference) are offline; ``paper`` is the paper's, in its order, through pyiqa,
whose licence (PolyForm Noncommercial) forbids commercial use."""
