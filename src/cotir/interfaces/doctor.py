"""What ``cotir doctor`` finds out about this machine and this installation."""

import os
import platform
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, metadata, requires, version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cotir.presets import Preset

_PACKAGES = (
    "torch",
    "diffusers",
    "transformers",
    "peft",
    "accelerate",
    "numpy",
    "pillow",
    "pillow-heif",
    "imagecodecs",
)

_PURPOSES = {
    "train": "training",
    "bench": "building the benchmark",
    "eval": "evaluation",
    "iqa": "four more metrics",
    "paper-metrics": "the paper's eight metrics",
    "ui": "the web page",
    "server": "the service",
    "video": "video files",
    "ray": "more than one machine",
}
"""What an extra is for; its packages are listed in the installation's own metadata."""


@dataclass(frozen=True)
class Row:
    """One finding. ``remedy`` says what to do where something is missing, empty where all is well."""

    name: str
    finding: str
    remedy: str = ""


@dataclass(frozen=True)
class Section:
    """Findings that belong together."""

    title: str
    rows: tuple[Row, ...]


def diagnose() -> Iterator[Section]:
    """Look at versions, devices, models, picture formats and extras, one section after another."""
    yield Section("Versions", tuple(_versions()))
    yield Section("Machine", tuple(_machine()))
    yield Section("Models", tuple(_models()))
    yield Section("Picture formats", tuple(_formats()))
    yield Section("Extras", tuple(_extras()))


def _versions() -> Iterator[Row]:
    from cotir import __version__

    yield Row("cotir", __version__)
    yield Row("python", f"{platform.python_version()} on {platform.platform()}")
    for package in _PACKAGES:
        found = _version(package)
        yield Row(package, found) if found else Row(package, "missing", f"pip install {package}")


def _machine() -> Iterator[Row]:
    import psutil
    import torch

    memory = psutil.virtual_memory()
    yield Row("cpu", f"{os.cpu_count()} cores, torch uses {torch.get_num_threads()} threads")
    yield Row("memory", f"{_gib(memory.available)} of {_gib(memory.total)} free")
    for index in range(torch.cuda.device_count()):
        free, total = torch.cuda.mem_get_info(index)
        yield Row(f"cuda:{index}", f"{torch.cuda.get_device_name(index)}, {_gib(free)} of {_gib(total)} free")
    if torch.backends.mps.is_available():
        yield Row("mps", "Apple GPU, shares the memory")
    if not torch.cuda.is_available() and not torch.backends.mps.is_available():
        yield Row("gpu", "none that this torch can use; nano is made for that")


def _models() -> Iterator[Row]:
    from cotir.loading import NANO_FOLDER, adapters_home
    from cotir.presets import PRESETS

    for preset in PRESETS.values():
        if preset.base is None:
            there = (NANO_FOLDER / "model_index.json").is_file()
            yield _row(preset, {} if there else {"the bundled model": "reinstall cotir"})
            continue
        folder = adapters_home() / preset.name
        remedies = {}
        if not (folder / "cotir.json").is_file():
            remedies[f"adapter {folder}"] = f"cotir convert RELEASED_DIR {folder}"
        if not _is_cached(preset.base):
            remedies[f"base {preset.base}"] = f"hf download {preset.base} (licence: {preset.licence_url})"
        yield _row(preset, remedies)


def _row(preset: "Preset", remedies: dict[str, str]) -> Row:
    state = f"missing: {', '.join(remedies)}" if remedies else "ready"
    return Row(preset.name, f"{state}; weights under {preset.licence}", "; ".join(remedies.values()))


def _is_cached(repository: str) -> bool:
    from huggingface_hub import constants, try_to_load_from_cache

    found = try_to_load_from_cache(repository, "model_index.json", cache_dir=constants.HF_HUB_CACHE)
    return isinstance(found, str) and Path(found).is_file()


def _formats() -> Iterator[Row]:
    from PIL import features

    from cotir.files import KINDS

    special = {
        "webp": (features.check("webp"), "pip install --upgrade pillow"),
        "avif": (features.check("avif"), "pip install --upgrade pillow"),
        "heic": (find_spec("pillow_heif") is not None, "pip install pillow-heif"),
        "jxl": (find_spec("pillow_jxl") is not None, "pip install pillow-jxl-plugin"),
    }
    yield Row("always", ", ".join(name for name in KINDS if name not in special))
    for name, (there, remedy) in special.items():
        yield Row(name, _abilities(name), "") if there else Row(name, "missing", remedy)


def _abilities(name: str) -> str:
    """Reading alone, where the library came without an encoder."""
    import numpy as np

    from cotir.files import kind_for
    from cotir.image import Carried, Picture

    picture = Picture(np.zeros((1, 1, 3), np.float32), Carried(format=name))
    kept = kind_for(picture, "a", "keep").name
    return "read and written" if kept == name else f"read, and written as {kept}"


def _extras() -> Iterator[Row]:
    from packaging.requirements import Requirement

    needed = [Requirement(line) for line in requires("cotir") or ()]
    for extra in metadata("cotir").get_all("Provides-Extra") or ():
        if extra == "dev":
            continue
        mine = [r.name for r in needed if r.marker is not None and r.marker.evaluate({"extra": extra})]
        missing = [name for name in mine if _version(name) is None]
        state = f"missing {', '.join(missing)}" if missing else "ready"
        yield Row(extra, f"{state} ({_PURPOSES.get(extra, extra)})", f"pip install 'cotir[{extra}]'" if missing else "")


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _gib(size: int) -> str:
    return f"{size / 2**30:.1f} GiB"
