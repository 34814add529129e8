"""What a run tells: rows to files and trackers, and words to whoever watches."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

import psutil
import torch
from accelerate import Accelerator
from accelerate.tracking import GeneralTracker, get_available_trackers
from accelerate.utils import DistributedType, LoggerType

from cotir.errors import ConfigError
from cotir.train.config import TrainConfig
from cotir.train.run_file import steering, to_yaml

LOG, VALIDATION = "log.jsonl", "validation.jsonl"


class Watch(Protocol):
    """Who is told how a run goes."""

    def update(self, row: Mapping[str, float]) -> None:
        """A logged step."""
        ...

    def note(self, text: str) -> None:
        """Something a person wants to know."""
        ...


class Silent:
    """Nobody watches."""

    def update(self, row: Mapping[str, float]) -> None:
        """Nothing."""

    def note(self, text: str) -> None:
        """Nothing."""


class Journal:
    """Of a run; of several processes the main one alone writes.

    Args:
        config: of the run.
        accelerator: of this process, which holds the trackers.
        watch: who is told.
    """

    def __init__(self, config: TrainConfig, accelerator: Accelerator, watch: Watch) -> None:
        self.config, self.accelerator, self.watch = config, accelerator, watch

    def begin(self) -> None:
        """Write the configuration and start the trackers.

        Raises:
            ConfigError: a tracker is not installed, or the folder cannot be written.
        """
        if not self.accelerator.is_main_process:
            return
        config = self.config
        try:
            config.run.mkdir(parents=True, exist_ok=True)
            (config.run / "config.yaml").write_text(to_yaml(config), encoding="utf-8")
            for name in (LOG, VALIDATION):
                _cut_half_line(config.run / name)
        except OSError as error:
            raise ConfigError(
                f"{config.run}: cannot be written ({error.strerror or error}); choose another folder with run=FOLDER"
            ) from error
        if config.log.trackers:
            self.accelerator.init_trackers("cotir", config={key: str(v) for key, v in steering(config).items()})

    def log(self, row: Mapping[str, float]) -> None:
        """A row of training, with ``step``."""
        if self.accelerator.is_main_process:
            self._write(LOG, row, "")
            self.watch.update(row)

    def log_validation(self, row: Mapping[str, float]) -> None:
        """A row of validation, with ``step``."""
        if self.accelerator.is_main_process:
            self._write(VALIDATION, row, "validation/")
            self.note(
                f"validation at step {row['step']:,}: input {row['psnr_input']:.2f} dB, "
                f"vague {row['psnr_vague']:.2f} dB, precise {row['psnr_precise']:.2f} dB"
            )

    def note(self, text: str) -> None:
        """Words."""
        if self.accelerator.is_main_process:
            self.watch.note(text)

    def _write(self, name: str, row: Mapping[str, float], prefix: str) -> None:
        try:
            with (self.config.run / name).open("a", encoding="utf-8") as file:
                file.write(json.dumps(dict(row)) + "\n")
        except OSError as error:
            self.note(f"{self.config.run / name}: {error.strerror or error}; this row is lost, training goes on")
        values = {prefix + key: value for key, value in row.items() if key != "step"}
        self.accelerator.log(values, step=int(row["step"]))


def _cut_half_line(path: Path) -> None:
    """Take away what a crash left of a last row: the next one would join it."""
    if path.is_file():
        content = path.read_bytes()
        kept = content.rfind(b"\n") + 1
        if kept < len(content):
            with path.open("r+b") as file:
                file.truncate(kept)


def make_accelerator(config: TrainConfig) -> Accelerator:
    """The engine: precision, processes and trackers; the rest comes from ``accelerate launch``.

    Raises:
        ConfigError: a tracker is not installed, nano's weights are to be split, or this is one of several processes
            that would not know of each other.
    """
    precision = config.precision
    if precision == "auto":
        able = torch.cuda.is_available() and torch.cuda.is_bf16_supported()
        precision = "bfloat16" if able else "float32"
    trackers: list[str | LoggerType | GeneralTracker] = [*config.log.trackers]
    installed = {str(tracker) for tracker in get_available_trackers()}
    missing = [tracker for tracker in config.log.trackers if tracker not in installed]
    if missing:  # accelerate would leave them out without a word
        raise ConfigError(
            f"log.trackers: {', '.join(missing)} is not installed; pip install {' '.join(missing)}, or set "
            f"log.trackers=[{', '.join(sorted(set(config.log.trackers) & installed))}]"
        )
    try:
        accelerator = Accelerator(
            mixed_precision="bf16" if precision == "bfloat16" else "no",
            log_with=trackers or None,
            project_dir=str(config.run),
        )
    except (ImportError, ValueError) as error:
        raise ConfigError(
            f"log.trackers {', '.join(config.log.trackers)} cannot be used ({error}); pip install them, or set "
            "log.trackers=[]"
        ) from error
    started = int(os.environ.get("WORLD_SIZE", "1"))
    if started != accelerator.num_processes:  # accelerate takes a CPU's processes for one each, unless it is told
        raise ConfigError(
            f"{started} processes were started (WORLD_SIZE), and each would train by itself into {config.run}; on a "
            "CPU set ACCELERATE_USE_CPU=true, or start one process"
        )
    if accelerator.distributed_type == DistributedType.FSDP and config.model.preset == "nano":
        raise ConfigError(
            "nano's weights cannot be split over processes, and need not be; launch it with "
            "configs/accelerate/ddp-8.yaml, or one-gpu.yaml"
        )
    return accelerator


def memory_gb() -> float:
    """Most GPU memory used so far, or the process's own where there is no GPU; in units of 1e9 bytes."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 1e9
    return psutil.Process().memory_info().rss / 1e9
