"""What is under training: bases untouched at step 0, and no weight moves that should not."""

import numpy as np
import pytest
import torch
from diffusers.pipelines.flux.pipeline_flux_kontext import FluxKontextPipeline
from diffusers.pipelines.flux2.pipeline_flux2_klein import Flux2KleinPipeline
from diffusers.schedulers.scheduling_flow_match_euler_discrete import FlowMatchEulerDiscreteScheduler
from tiny_run import Record, hashes, tiny_config

from arithmetic import same
from cotir.errors import CoTIRError
from cotir.pipeline import CoTIRPipeline
from cotir.presets import PRESETS
from cotir.reshape import fresh_nano
from cotir.train.loop import Trainer
from cotir.train.trainee import load_trainee
from golden_model import TINY, inputs, plain_model
from golden_vae import golden_vae
from nano_model import write_tiny_pipeline
from tiny_encoders import qwen3, t5_and_clip

PRESET = {"flux1": "12b", "flux2": "4b"}
HEADS = ("scene_head", "degradation_head", "plan_head")


@pytest.fixture(scope="session")
def flux_bases(tmp_path_factory):
    """For each family, a base as diffusers saves its own pipeline."""
    folders = {family: tmp_path_factory.mktemp(f"base-{family}") for family in PRESET}
    shared = {"scheduler": FlowMatchEulerDiscreteScheduler()}
    kontext = FluxKontextPipeline(**shared, **t5_and_clip(), vae=golden_vae("flux1"), transformer=plain_model("flux1"))
    kontext.save_pretrained(folders["flux1"])
    klein = Flux2KleinPipeline(**shared, **qwen3(), vae=golden_vae("flux2"), transformer=plain_model("flux2"))
    klein.save_pretrained(folders["flux2"])
    return folders


@pytest.fixture
def tiny_presets(monkeypatch):
    tiny = {name: TINY[family] for family, name in PRESET.items()}
    monkeypatch.setattr("cotir.train.trainee.PRESETS", {**PRESETS, **tiny})


def config_of(material, run, flux_bases, family, **model):
    base = {} if family == "nano" else {"preset": PRESET[family], "base": str(flux_bases[family])}
    model = {"rank": 4, "train": "adapter"} | base | model
    return tiny_config(material, run, steps=3, model=model)


def base_of(family, material):
    """The base's own weights."""
    return CoTIRPipeline.from_pretrained(material / "nano").transformer if family == "nano" else plain_model(family)


def frozen_part(tensors):
    """Without the LoRA and the adapter, by the names of the base."""
    return {
        name.replace(".base_layer.", "."): tensor
        for name, tensor in tensors.items()
        if ".lora_" not in name and "cot_adapter." not in name
    }


def restored(pipeline):
    pipeline.set_progress_bar_config(disable=True)
    image = np.random.default_rng(0).random((40, 56, 3), dtype=np.float32)
    return pipeline(image, "remove the haze", steps=2, output_type="np").image


@pytest.mark.usefixtures("tiny_presets")
def test_at_step_0_flux_is_its_base_bit_for_bit(material, flux_bases, tmp_path, family):
    trainee = load_trainee(config_of(material, tmp_path, flux_bases, family))
    with torch.no_grad():
        now = trainee.transformer(**inputs(family)).sample
        assert torch.equal(now, plain_model(family)(**inputs(family)).sample)


def test_at_step_0_nano_is_its_base_bit_for_bit(material, flux_bases, tmp_path):
    trainee = load_trainee(config_of(material, tmp_path, flux_bases, "nano"))
    base = CoTIRPipeline.from_pretrained(material / "nano")
    base.transformer.to(memory_format=torch.channels_last)  # the order of sums, and so the last bits
    trainee.transformer.eval()
    assert np.array_equal(restored(trainee.pipeline()), restored(base))


@pytest.mark.usefixtures("tiny_presets")
@pytest.mark.parametrize("family", ["nano", "flux1", "flux2"])
def test_training_moves_the_lora_and_the_adapter_alone(material, flux_bases, tmp_path, family):
    trainer = Trainer(config_of(material, tmp_path, flux_bases, family), Record())
    trainee, names = trainer.trainee, set(trainer.trainee.trained())
    others = {name: part for name, part in trainee.components.items() if isinstance(part, torch.nn.Module)}
    before = hashes(trainee.transformer.state_dict())
    parts = {name: hashes(part.state_dict()) for name, part in others.items()}
    trainer.run()
    after = hashes(trainee.transformer.state_dict())
    moved = {name for name in before if before[name] != after[name]}
    assert moved == {name for name in moved if ".lora_" in name or "cot_adapter." in name}
    assert moved & names
    assert any(".lora_" in name for name in moved)
    assert any("cot_adapter." in name for name in moved)
    assert hashes(frozen_part(trainee.transformer.state_dict())) == hashes(
        frozen_part(base_of(family, material).state_dict())
    )
    assert {name: hashes(part.state_dict()) for name, part in others.items()} == parts


@pytest.mark.parametrize(
    ("what", "reasoning"),
    [("adapter", "cosine"), ("all", "cosine"), *((what, "none") for what in ("adapter", "lora", "base", "all"))],
)
def test_what_is_free(material, tmp_path, what, reasoning):
    config = tiny_config(material, tmp_path, model={"train": what, "rank": 4}, objective={"reasoning": reasoning})
    trainee = load_trainee(config)
    free = set(trainee.trained())
    every = {name for name, _ in trainee.transformer.named_parameters()}
    adapter = {name for name in every if "cot_adapter." in name}
    heads = {name for name in adapter if any(head in name for head in HEADS)}
    lora = {name for name in every if ".lora_" in name}
    assert adapter and heads
    assert bool(lora) is (what in ("adapter", "lora"))
    wanted = {"adapter": adapter | lora, "lora": lora, "base": every - adapter, "all": every}[what]
    assert free == (wanted - heads if reasoning == "none" else wanted)


def test_experts_learn_alone_and_under_the_gate_they_have(material, tmp_path):
    base = write_tiny_pipeline(tmp_path / "base", experts=("noise", "jpeg"))
    model = {"base": str(base), "train": "experts"}
    trainer = Trainer(tiny_config(material, tmp_path / "run", model=model, objective={"reasoning": "none"}), Record())
    before = hashes(trainer.trainee.transformer.state_dict())
    assert set(trainer.trainee.trained()) == {"expertise.changes"}
    trainer.run()
    after = hashes(CoTIRPipeline.from_pretrained(tmp_path / "run/weights").transformer.state_dict())
    assert {name for name in before if before[name] != after[name]} == {"expertise.changes"}


def test_packed_experts_are_unpacked_to_be_trained(material, tmp_path):
    base = write_tiny_pipeline(tmp_path / "base", experts=("noise", "jpeg"), packed=True)
    model = {"base": str(base), "train": "experts"}
    trainee = load_trainee(tiny_config(material, tmp_path / "run", model=model, objective={"reasoning": "none"}))
    assert set(trainee.trained()) == {"expertise.changes"} and not trainee.transformer.config["packed"]


def test_experts_that_are_not_there_cannot_be_trained(material, tmp_path):
    config = tiny_config(material, tmp_path, model={"train": "experts"}, objective={"reasoning": "none"})
    with pytest.raises(CoTIRError, match=r"model\.base has none; make some \(scripts/reshape_nano\.py MODEL OUT"):
        load_trainee(config)


@pytest.mark.usefixtures("tiny_presets")
def test_trained_weights_are_float32_and_frozen_ones_as_wished(material, flux_bases, tmp_path):
    trainee = load_trainee(config_of(material, tmp_path, flux_bases, "flux2", dtype="bfloat16"))
    kinds = {(p.requires_grad, p.dtype) for p in trainee.transformer.parameters()}
    assert kinds == {(True, torch.float32), (False, torch.bfloat16)}


@pytest.mark.usefixtures("tiny_presets")
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"widht": 8}, "model.transformer has no 'widht'; it takes "),
        ({"block": "dense"}, "model.transformer: there is no block 'dense'; a nano has gated or residual ones"),
        ({"blocks": 3}, "model.transformer: "),
    ],
)
def test_a_fresh_nano_that_cannot_be_is_named(arguments, said):
    with pytest.raises(CoTIRError) as caught:
        fresh_nano(arguments)
    assert str(caught.value).startswith(said)


def test_a_base_of_another_kind_is_named(material, flux_bases, imported, tmp_path):
    nano, adapter = str(material / "nano"), str(imported["flux2"].adapter)
    cases = {
        ("nano", str(flux_bases["flux1"])): r"model\.base .*FluxTransformer2DModel.*needs nano",
        ("nano", str(flux_bases["flux2"])): r"model\.base .*Flux2Transformer2DModel.*needs nano",
        ("nano", adapter): r"model\.base .*no model_index\.json",
        ("nano", str(tmp_path)): r"model\.base .*no model_index\.json",
        ("4b", nano): r"CoTNanoTransformer2DModel; CoTIR builds on",
        ("4b", adapter): r"no model_index\.json",
        ("4b", str(flux_bases["flux1"])): r"is a flux1 model, and model\.preset 4b needs flux2",
        ("12b", str(flux_bases["flux2"])): r"is a flux2 model, and model\.preset 12b needs flux1",
    }
    for (preset, base), message in cases.items():
        config = tiny_config(material, tmp_path, model={"preset": preset, "base": base, "train": "adapter"})
        with pytest.raises(CoTIRError, match=message):
            load_trainee(config)


def test_the_saved_model_draws_the_same_picture(done):
    trainer, _, outcome = done
    loaded = CoTIRPipeline.from_pretrained(outcome.weights)
    loaded.transformer.to(memory_format=torch.channels_last)
    with trainer.learner.average.applied():
        trainer.trainee.transformer.eval()
        wanted = restored(trainer.trainee.pipeline())
    assert np.array_equal(restored(loaded), wanted)
    assert not np.array_equal(restored(trainer.trainee.pipeline()), wanted)


@pytest.mark.usefixtures("tiny_presets")
def test_a_saved_adapter_on_its_base_draws_the_same_picture(material, flux_bases, tmp_path, family):
    trainer = Trainer(config_of(material, tmp_path / "run", flux_bases, family, ema=0.0), Record())
    weights = trainer.run().weights
    loaded = CoTIRPipeline.from_pretrained(weights, base=flux_bases[family])
    trainer.trainee.transformer.eval()
    assert same(restored(loaded), restored(trainer.trainee.pipeline()))
    assert (weights / "cotir.json").is_file()
