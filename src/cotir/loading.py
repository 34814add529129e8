"""Find a model by preset, folder or hub id, and put a base and an adapter together."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers.pipelines.pipeline_utils import DiffusionPipeline
from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

from cotir.errors import ConfigError, WeightsError
from cotir.presets import PRESETS, Preset
from cotir.transformer import RoPE
from cotir.weights import AdapterManifest, load_transformer

NANO_FOLDER = Path(__file__).parent / "assets" / "nano"
_BASE_FILES = ["model_index.json", "*/*"]
"""A pipeline and its parts, without the single-file copy of the weights that FLUX repositories hold beside them."""


@dataclass(frozen=True)
class Source:
    """Where a model lies: one ``whole`` pipeline folder, or a ``base`` pipeline folder and an ``adapter`` folder."""

    whole: Path | None = None
    base: Path | None = None
    adapter: Path | None = None


def adapters_home() -> Path:
    """Where converted adapters are looked for by preset name: ``$COTIR_HOME``, or ``~/.cache/cotir``."""
    return Path(os.environ.get("COTIR_HOME", Path.home() / ".cache" / "cotir"))


def locate(model: str | Path, *, base: str | Path | None = None, adapter: str | Path | None = None) -> Source:
    """Find what to load.

    Args:
        model: a preset, a folder or a hub id.
        base: folder or hub id of the base pipeline; by default the one the preset or the adapter names.
        adapter: folder or hub id of the adapter, where ``model`` is a preset.

    Raises:
        WeightsError: if a part is not at hand; the message names the repository, its licence and the folder to point
            at.
    """
    if model == "nano":
        return Source(whole=NANO_FOLDER)
    if model in PRESETS:
        preset = PRESETS[str(model)]
        found = _preset_adapter(preset, adapter)  # first: a base is many gigabytes to fetch
        return Source(base=_base(base or preset.base, preset), adapter=found)

    folder = _folder(model, "model")
    if (folder / "model_index.json").is_file():
        return Source(whole=folder)
    if (folder / "cotir.json").is_file():
        manifest = AdapterManifest.read(folder)
        return Source(base=_base(base or manifest.base, PRESETS.get(manifest.preset)), adapter=folder)
    raise WeightsError(
        f"{folder} holds neither model_index.json (a whole pipeline) nor cotir.json (an adapter made by 'cotir "
        f"convert'); point at such a folder, or use a preset: {', '.join(PRESETS)}"
    )


def assemble(source: Source, *, dtype: torch.dtype, rope: RoPE = "float64", **kwargs: Any) -> dict[str, Any]:
    """Load a base pipeline with its transformer replaced by base + CoT adapter + LoRA; returns a pipeline's components.

    Args:
        source: with a base and an adapter.
        dtype: of all weights.
        rope: see :class:`~cotir.transformer.CoTFluxTransformer2DModel`.
        **kwargs: passed to diffusers for the other components.

    Raises:
        ConfigError: for an option that could not reach the transformer.
        WeightsError: something is missing or does not fit.
    """
    assert source.base is not None  # locate() gives either a whole pipeline or a base
    _check_reach(kwargs)
    transformer = load_transformer(source.base / "transformer", source.adapter, dtype=dtype, rope=rope)
    return complete(source.base, transformer, dtype=dtype, **kwargs)


def complete(base: Path, transformer: torch.nn.Module, *, dtype: torch.dtype, **kwargs: Any) -> dict[str, Any]:
    """Load what a base pipeline folder holds besides the transformer; returns a pipeline's components, with it."""
    parts = DiffusionPipeline.from_pretrained(
        base, transformer=transformer, dtype=dtype, local_files_only=True, **kwargs
    ).components
    wanted = ("transformer", "vae", "text_encoder", "tokenizer", "text_encoder_2", "tokenizer_2")
    return {name: parts[name] for name in wanted if parts.get(name) is not None}


def locate_base(preset: Preset, base: str | Path | None = None) -> Path:
    """Find the base pipeline folder of a preset.

    Args:
        preset: which size.
        base: folder or hub id; the repository the preset names if None.

    Raises:
        WeightsError: if it is not at hand; the message names the repository, its licence and what to do.
    """
    return _base(base or preset.base, preset)


def _check_reach(options: Mapping[str, Any]) -> None:
    """Refuse what diffusers applies to the parts it loads itself, of which the transformer is none."""
    unreachable = ["device_map"] if options.get("device_map") is not None else []
    quantisation = options.get("quantization_config")
    if quantisation is not None:
        parts = quantisation.quant_mapping or quantisation.components_to_quantize
        if not parts or "transformer" in parts:  # none named means all
            unreachable.append("quantization_config")
    if unreachable:
        raise ConfigError(
            f"{' and '.join(unreachable)} cannot reach the transformer of a base and an adapter: load them without, "
            "call cotir.lora.fuse(pipeline.transformer) and pipeline.save_pretrained(FOLDER), then load FOLDER with it"
        )


def _preset_adapter(preset: Preset, adapter: str | Path | None) -> Path:
    folder = _folder(adapter, "adapter") if adapter is not None else adapters_home() / preset.name
    if not (folder / "cotir.json").is_file():
        raise WeightsError(
            f"no CoTIR adapter for {preset.name!r} at {folder}; convert the released weights with "
            f"'cotir convert RELEASED_DIR {adapters_home() / preset.name}', or pass adapter=FOLDER"
        )
    return folder


def _base(base: str | Path | None, preset: Preset | None) -> Path:
    if base is None:
        raise WeightsError("this adapter does not name its base; pass base=FOLDER, a diffusers pipeline folder")
    try:
        folder = _folder(base, "base", _BASE_FILES)
    except WeightsError as error:
        licence = f" It is under the {preset.licence}: accept it at {preset.licence_url}." if preset else ""
        raise WeightsError(
            f"the base model {base} is not on this machine and could not be fetched.{licence} Then download it with "
            f"'hf download {base}', or pass its diffusers folder as base=FOLDER (--base FOLDER). ({error})"
        ) from error
    if not (folder / "model_index.json").is_file():
        raise WeightsError(f"the base {folder} has no model_index.json; point at a diffusers pipeline folder")
    return folder


def _folder(name: str | Path, role: str, files: list[str] | None = None) -> Path:
    """A local folder, or the local copy of a hub repository (of ``files`` in it), fetched if need be."""
    if Path(name).is_dir():
        return Path(name)
    if isinstance(name, Path) or name.count("/") != 1 or name.startswith((".", "/", "~")):
        raise WeightsError(
            f"the {role} {str(name)!r} is no folder, no hub id (owner/name) and none of {', '.join(PRESETS)}"
        )
    try:
        return Path(snapshot_download(name, allow_patterns=files))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise WeightsError(f"cannot fetch the {role} {name!r} from the hub: {reason}") from error
