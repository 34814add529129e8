"""From the options of a command to one pipeline on its device."""

import json
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING

from cotir.errors import ConfigError, WeightsError

if TYPE_CHECKING:
    import torch

    from cotir.pipeline import CoTIRPipeline


class Device(str, Enum):
    """Where the model runs; ``auto`` is the fastest there is."""

    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"
    mps = "mps"


class Dtype(str, Enum):
    """Type of the weights; ``auto`` is float32 for nano and bfloat16, in which the large models were trained, else."""

    auto = "auto"
    float32 = "float32"
    bfloat16 = "bfloat16"
    float16 = "float16"


@dataclass(frozen=True)
class Model:
    """Which model to load, and how."""

    name: str = "nano"
    """A preset, a folder or a hub id, as for :meth:`cotir.CoTIRPipeline.from_pretrained`."""
    base: str | None = None
    adapter: str | None = None
    device: Device = Device.auto
    dtype: Dtype = Dtype.auto
    threads: int | None = None
    """CPU threads; None leaves torch's choice."""

    def load(self) -> "CoTIRPipeline":
        """Build the pipeline.

        Raises:
            WeightsError: something is missing, damaged or does not fit.
            ConfigError: the device is not there.
        """
        import torch
        from safetensors import SafetensorError

        from cotir.pipeline import CoTIRPipeline

        silence_bars()
        device = find_device(self.device)
        if self.threads is not None:
            torch.set_num_threads(self.threads)
        try:
            return CoTIRPipeline.from_pretrained(
                self.name, base=self.base, adapter=self.adapter, torch_dtype=self._dtype()
            ).to(device)
        except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
            raise WeightsError(
                f"the model {self.name} cannot be loaded; check that its files are whole "
                f"({type(error).__name__}: {error})"
            ) from error

    def _dtype(self) -> "torch.dtype":
        import torch

        if self.dtype is Dtype.auto:
            return torch.float32 if self._is_nano() else torch.bfloat16
        return getattr(torch, self.dtype.value)

    def _is_nano(self) -> bool:
        from cotir.backbones import NANO

        index = Path(self.name) / "model_index.json"
        return self.name == "nano" or (
            index.is_file() and NANO.transformer in json.loads(index.read_bytes())["transformer"]
        )


def find_device(device: Device) -> str:
    """The torch device asked for, or the fastest there is.

    Raises:
        ConfigError: it is not there.
    """
    import torch

    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if device is Device.auto:
        return next(name for name, is_there in there.items() if is_there)
    if not there[device.value]:
        raise ConfigError(
            f"--device {device.value} is not there: this torch ({torch.__version__}) finds "
            f"{', '.join(name for name, is_there in there.items() if is_there)}; use one of these or auto"
        )
    return device.value


def silence_bars() -> None:
    """Keep the bars of diffusers and transformers, for the parts of a model, from tearing ours apart."""
    import diffusers
    import transformers

    diffusers.utils.logging.disable_progress_bar()
    transformers.utils.logging.disable_progress_bar()
