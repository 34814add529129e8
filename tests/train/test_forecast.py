import re
from pathlib import Path

import pytest
from accelerate.commands.config.config_args import ClusterConfig, load_config_from_file
from pydantic import BaseModel

from cotir.errors import ConfigError
from cotir.presets import PRESETS
from cotir.train.config import TrainConfig
from cotir.train.forecast import ENCODERS, forecast, lines
from cotir.train.run_file import load_config
from cotir.train.trainee import load_trainee, tensor_bytes
from nano_model import write_tiny_pipeline

ROOT = Path(__file__).parents[2]
RUNS = sorted((ROOT / "configs/train").glob("*.yaml"))
LARGE = ("4b", "9b", "12b")


def nano(tmp_path, *overrides):
    base = tmp_path / "nano"
    if not base.exists():
        write_tiny_pipeline(base)
    changes = ["model.transformer={}", f"model.base={base}", *overrides]
    return load_config(ROOT / "configs/train/debug.yaml", changes)


@pytest.mark.parametrize(("train", "reasoning"), [("adapter", "cosine"), ("lora", "none"), ("all", "none")])
def test_a_forecast_agrees_with_a_loaded_trainee(tmp_path, train, reasoning):
    config = nano(tmp_path, f"model.train={train}", f"objective.reasoning={reasoning}", "model.rank=4")
    trainee = load_trainee(config)
    found = forecast(config)
    weights = dict(trainee.transformer.named_parameters())
    frozen = {name: weight for name, weight in weights.items() if not weight.requires_grad}
    assert found.parameters.trained == sum(weight.numel() for weight in trainee.trained().values())
    assert found.parameters.adapter == sum(weight.numel() for weight in trainee.adapter.parameters())
    counts = found.parameters
    assert counts.base + counts.lora + counts.adapter == sum(weight.numel() for weight in weights.values())
    assert found.memory.trained == tensor_bytes(trainee.trained())
    assert found.memory.frozen == tensor_bytes(frozen)


@pytest.mark.parametrize("name", LARGE)
def test_the_large_sizes_have_the_counts_of_their_presets(name):
    found = forecast(load_config(ROOT / f"configs/train/cotir-{name}.yaml"), world=8)
    expected = PRESETS[name].parameters
    assert expected is not None
    counts, memory = found.parameters, found.memory
    assert (counts.base, counts.lora, counts.adapter) == (expected.base, expected.lora, expected.adapter)
    assert counts.trained == expected.lora + expected.adapter
    assert memory.frozen == 2 * expected.base
    assert memory.encoders == 2 * ENCODERS[name]
    assert memory.optimizer == 8 * counts.trained
    assert memory.total == memory.frozen + memory.encoders + 16 * counts.trained


def test_a_quantised_base_and_small_moments_take_less():
    path = ROOT / "configs/train/cotir-4b.yaml"
    plain = forecast(load_config(path)).memory
    small = forecast(load_config(path, ["model.quantise=nf4", "optimizer.name=adamw8bit"])).memory
    assert plain.frozen / 4 < small.frozen < plain.frozen / 3  # embeddings and modulation stay
    assert small.optimizer == plain.optimizer / 4


def test_samples_follow_stages_and_processes(tmp_path):
    found = forecast(nano(tmp_path), world=3)
    assert [(stage.steps, stage.step_size, stage.target_tokens) for stage in found.stages] == [
        (12, 12, 16),
        (8, 12, 36),
    ]
    assert (found.steps, found.samples) == (20, 240)


def test_the_lines_say_what_is_not_in_them(tmp_path):
    text = "\n".join(lines(forecast(nano(tmp_path), world=2)))
    assert "Activations come on top and are not estimated" in text
    assert "2 micro-batches x 2 processes = 8 samples a step" in text
    assert "20 steps, 160 samples" in text


def test_what_cannot_be_forecast_is_named(tmp_path):
    with pytest.raises(ConfigError, match="number of processes is 0; it must be at least 1"):
        forecast(nano(tmp_path), world=0)
    with pytest.raises(ConfigError, match="crop of 44; a token stands for 8 pixels, so take 40 or 48"):
        forecast(nano(tmp_path, "schedule.stages.0.crop=44"))
    with pytest.raises(ConfigError, match="is no folder here; fetch it first"):
        forecast(nano(tmp_path, "model.base=somebody/nano"))


@pytest.mark.parametrize("path", RUNS, ids=lambda path: path.stem)
def test_every_run_file_is_valid(path):
    assert load_config(path).schedule.stages


@pytest.mark.parametrize("path", sorted((ROOT / "configs/accelerate").glob("*.yaml")), ids=lambda path: path.stem)
def test_accelerate_reads_its_configurations(path):
    config = load_config_from_file(str(path))
    processes = re.search(r"\d+$", path.stem)
    assert isinstance(config, ClusterConfig)
    assert config.num_processes == (int(processes.group()) if processes else 1)


def keys_of(model: type[BaseModel], prefix: str = "") -> set[str]:
    found: set[str] = set()
    for name, field in model.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            found |= keys_of(kind, f"{prefix}{name}.")
        else:
            found.add(prefix + name)
    return found


def test_the_handbook_has_every_key():
    text = (ROOT / "docs/training.md").read_text(encoding="utf-8")
    table = text.partition("## Every key")[2].partition("\n## ")[0]
    listed = re.findall(r"^\| `([a-z_.]+)` \|", table, flags=re.MULTILINE)
    stages = {"schedule.stages." + key for key in ("until", "crop", "batch", "accumulate")}
    assert sorted(listed) == sorted((keys_of(TrainConfig) - {"schedule.stages"}) | stages)
