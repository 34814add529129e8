"""Whole tiny FLUX.1 and FLUX.2 pipelines, from a base and an adapter folder as a user has them."""

import shutil

import numpy as np
import pytest
import torch
from diffusers.pipelines.flux.pipeline_flux_kontext import FluxKontextPipeline
from diffusers.pipelines.flux2.pipeline_flux2_klein import Flux2KleinPipeline
from diffusers.quantizers.pipe_quant_config import PipelineQuantizationConfig
from diffusers.quantizers.quantization_config import BitsAndBytesConfig
from diffusers.schedulers.scheduling_flow_match_euler_discrete import FlowMatchEulerDiscreteScheduler
from PIL import Image

from arithmetic import same
from cotir.errors import ConfigError, WeightsError
from cotir.image import Picture
from cotir.lora import fuse
from cotir.pipeline import CoTIRPipeline
from golden_model import FAMILIES, plain_model
from golden_vae import golden_vae
from tiny_encoders import TEXT_WIDTH, qwen3, t5_and_clip

PROMPTS = ["remove the haze", "please remove the noise", "dehaze and denoise this picture"]
ENCODERS = {"flux1": ("text_encoder", "text_encoder_2"), "flux2": ("text_encoder",)}


@pytest.fixture(scope="session")
def bases(tmp_path_factory):
    """For each family, a base as diffusers saves its own pipeline."""
    folders = {family: tmp_path_factory.mktemp(f"base-{family}") for family in FAMILIES}
    shared = {"scheduler": FlowMatchEulerDiscreteScheduler()}
    kontext = FluxKontextPipeline(**shared, **t5_and_clip(), vae=golden_vae("flux1"), transformer=plain_model("flux1"))
    kontext.save_pretrained(folders["flux1"])
    klein = Flux2KleinPipeline(**shared, **qwen3(), vae=golden_vae("flux2"), transformer=plain_model("flux2"))
    klein.save_pretrained(folders["flux2"])
    return folders


@pytest.fixture(scope="session")
def pipelines(bases, imported):
    """Shared between tests: change nothing in them."""
    return {family: load(bases[family], imported[family].adapter) for family in FAMILIES}


@pytest.fixture
def pipeline(pipelines, family):
    return pipelines[family]


def load(base, adapter, **options):
    pipeline = CoTIRPipeline.from_pretrained(adapter, base=base, **options)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def picture(seed):
    return np.random.default_rng(seed).random((40, 56, 3), dtype=np.float32)


def restore(pipeline, image, *args, **options):
    return pipeline(image, *args, **{"steps": 2, "output_type": "np"} | options)


def test_every_part_is_the_base_s_but_the_transformer(pipeline, family):
    assert pipeline.backbone.name == family
    assert pipeline.text_encoder.training is pipeline.vae.training is pipeline.transformer.training is False
    present = {name for name, part in pipeline.components.items() if part is not None}
    pairs = {name.replace("text_encoder", "tokenizer") for name in ENCODERS[family]}
    assert present == {"transformer", "vae", *ENCODERS[family], *pairs}
    for name, weight in golden_vae(family).state_dict().items():
        assert torch.equal(pipeline.vae.state_dict()[name], weight)
    assert "cotir" in pipeline.transformer.peft_config


def test_it_keeps_the_size_and_changes_the_picture(pipeline):
    restored = restore(pipeline, picture(0), PROMPTS[0]).image
    assert restored.shape == (40, 56, 3)
    assert restored.dtype == np.float32
    assert np.abs(restored - picture(0)).mean() > 0.01


def test_words_steps_and_seed_matter(pipeline):
    first = restore(pipeline, picture(0), PROMPTS[0]).image
    assert np.array_equal(first, restore(pipeline, picture(0), PROMPTS[0]).image)
    for prompt, options in ((PROMPTS[1], {}), (PROMPTS[0], {"steps": 1}), (PROMPTS[0], {"seed": 1})):
        assert np.abs(first - restore(pipeline, picture(0), prompt, **options).image).max() > 1e-3


def test_alone_in_a_batch_and_in_any_order_it_is_the_same(pipeline):
    pictures, seeds = [picture(i) for i in range(3)], [4, 5, 6]
    alone = [
        restore(pipeline, given, prompt, seed=seed).image
        for given, prompt, seed in zip(pictures, PROMPTS, seeds, strict=True)
    ]
    reverse = restore(pipeline, pictures[::-1], PROMPTS[::-1], seed=seeds[::-1]).images[::-1]
    together = restore(pipeline, pictures, PROMPTS, seed=seeds, batch_size=3).images
    for wanted, again, batched in zip(alone, reverse, together, strict=True):
        assert np.array_equal(again, wanted)
        # larger matrices round differently in the last bits
        np.testing.assert_allclose(batched, wanted, rtol=0, atol=1e-4)


def test_a_generator_draws_the_seeds(pipeline):
    pair = [picture(0), picture(0)]
    one = restore(pipeline, pair, PROMPTS[0], generator=torch.Generator().manual_seed(3)).images
    each = [torch.Generator().manual_seed(3), torch.Generator().manual_seed(3)]
    same = restore(pipeline, pair, PROMPTS[0], generator=each).images
    assert not np.array_equal(*one)
    assert np.array_equal(*same)
    assert np.array_equal(one[0], same[0])


def test_a_callback_sees_every_step_and_may_replace_the_latents(pipeline):
    seen = []

    def watch(source, step, time, kept):
        seen.append((source, step, time, kept["latents"].shape))
        return kept

    def replace(source, step, time, kept):
        return {"latents": torch.zeros_like(kept["latents"])} if time == 0 else {}

    plain = restore(pipeline, picture(0), PROMPTS[0]).image
    assert np.array_equal(restore(pipeline, picture(0), PROMPTS[0], callback_on_step_end=watch).image, plain)
    assert [call[:2] for call in seen] == [(pipeline, 0), (pipeline, 1)]
    assert 1 > seen[0][2] > seen[1][2] == 0
    assert seen[0][3] == (1, 3 * 4, 16)

    blank = [
        restore(pipeline, given, PROMPTS[0], callback_on_step_end=replace).image for given in (picture(0), picture(1))
    ]
    assert np.array_equal(*blank)
    assert not np.array_equal(blank[0], plain)


def test_output_types(pipeline):
    array = restore(pipeline, picture(0), PROMPTS[0]).image
    image = restore(pipeline, picture(0), PROMPTS[0], output_type="pil").image
    assert isinstance(image, Image.Image)
    assert np.array_equal(np.asarray(image), np.rint(array * 255).astype(np.uint8))
    tensor = restore(pipeline, picture(0), PROMPTS[0], output_type="pt").image
    assert np.array_equal(tensor.permute(1, 2, 0).numpy(), array)
    assert isinstance(restore(pipeline, picture(0), PROMPTS[0], output_type="picture").image, Picture)


def test_reasoning_is_one_per_picture(pipeline):
    given, length = [picture(0), picture(1)], pipeline.backbone.text_length
    output = restore(pipeline, given, PROMPTS[0], predict_reasoning=True, batch_size=2)
    assert len(output.thoughts) == 2
    for thought in output.thoughts:
        assert thought.text_update.shape == (1, length, pipeline.transformer.inner_dim)
        for part in (thought.scene, thought.degradation, thought.plan):
            assert part.shape == (1, length, TEXT_WIDTH)
    assert not torch.equal(output.thoughts[0].plan, output.thoughts[1].plan)
    silent = restore(pipeline, given, PROMPTS[0], batch_size=2)
    assert silent.thoughts is None
    assert np.array_equal(silent.images[1], output.images[1])


def test_bfloat16_runs_and_stays_near(bases, imported, pipeline, family):
    half = load(bases[family], imported[family].adapter, dtype=torch.bfloat16)
    assert {half.transformer.dtype, half.vae.dtype, half.text_encoder.dtype} == {torch.bfloat16}
    rough, exact = (restore(p, picture(0), PROMPTS[0]).image for p in (half, pipeline))
    assert 0 < np.abs(rough - exact).mean() < 0.05


# --- saving -----------------------------------------------------------------------------------------------------------


def test_the_released_positions_may_be_asked_for(bases, imported, pipeline, family):
    exact, rounded = (
        load(bases[family], imported[family].adapter, dtype=torch.bfloat16, rope=rope)
        for rope in ("float64", "released")
    )
    assert rounded.transformer.config["rope"] == "released"
    assert not np.array_equal(restore(exact, picture(0)).image, restore(rounded, picture(0)).image)


def test_a_separate_lora_cannot_be_saved_whole(pipeline, tmp_path):
    with pytest.raises(WeightsError, match=r"carries a separate LoRA.*call cotir\.lora\.fuse\(pipeline\.transformer\)"):
        pipeline.save_pretrained(tmp_path / "whole")
    assert not (tmp_path / "whole").exists()


@pytest.fixture(scope="session")
def fused(bases, imported, tmp_path_factory):
    """For each family, a fused pipeline and the folder it was saved to."""
    made = {}
    for family in FAMILIES:
        pipeline = load(bases[family], imported[family].adapter)
        fuse(pipeline.transformer)
        folder = tmp_path_factory.mktemp(f"whole-{family}")
        pipeline.save_pretrained(folder)
        made[family] = pipeline, folder
    return made


def test_fused_it_is_saved_and_loaded_exactly(pipeline, fused, family):
    saved, folder = fused[family]
    again = CoTIRPipeline.from_pretrained(folder)
    assert type(again) is CoTIRPipeline
    result = restore(saved, picture(0), PROMPTS[0]).image
    assert same(restore(again, picture(0), PROMPTS[0]).image, result)
    np.testing.assert_allclose(result, restore(pipeline, picture(0), PROMPTS[0]).image, rtol=0, atol=1e-4)
    onto = CoTIRPipeline.from_pretrained(folder, device_map="cpu")
    assert same(restore(onto, picture(0), PROMPTS[0]).image, result)


# --- options that diffusers serves ------------------------------------------------------------------------------------


def test_offloading_moves_every_model_in_the_order_of_use(fused, family):
    _, folder = fused[family]
    pipeline = CoTIRPipeline.from_pretrained(folder)
    wanted = restore(pipeline, picture(0), PROMPTS[0]).image
    pipeline.enable_model_cpu_offload(device="cpu")
    models = [hook.model for hook in pipeline._all_hooks]
    order = (*ENCODERS[family], "transformer", "vae")
    assert [id(model) for model in models] == [id(getattr(pipeline, name)) for name in order]
    assert same(restore(pipeline, picture(0), PROMPTS[0]).image, wanted)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("device_map", "balanced"),
        (
            "quantization_config",
            PipelineQuantizationConfig(quant_mapping={"transformer": BitsAndBytesConfig(load_in_8bit=True)}),
        ),
    ],
)
def test_what_could_not_reach_the_transformer_is_refused(bases, imported, family, option, value):
    with pytest.raises(
        ConfigError,
        match=rf"^{option} cannot reach the transformer of a base and an adapter: .*save_pretrained\(FOLDER\)",
    ):
        load(bases[family], imported[family].adapter, **{option: value})


def test_a_quantisation_of_other_parts_is_passed_on(bases, imported, family):
    of_none = PipelineQuantizationConfig(quant_mapping={"image_encoder": BitsAndBytesConfig(load_in_8bit=True)})
    pipeline = load(bases[family], imported[family].adapter, quantization_config=of_none)
    assert type(pipeline.transformer.x_embedder) is torch.nn.Linear


def test_the_adapter_of_another_family_is_refused(bases, imported):
    with pytest.raises(WeightsError, match=r"belongs to tiny \(flux1\).*holds a Flux2Transformer2DModel \(flux2\)"):
        load(bases["flux2"], imported["flux1"].adapter)


def test_a_base_without_its_transformer_is_an_error(bases, imported, family, tmp_path):
    shutil.copytree(bases[family], tmp_path / "base", ignore=shutil.ignore_patterns("*.safetensors"))
    with pytest.raises(WeightsError, match="is no diffusers model folder"):
        load(tmp_path / "base", imported[family].adapter)
