import pytest
import torch
from accelerate import cpu_offload

from cotir.lora import attach
from cotir.transformer import CoTFlux2Transformer2DModel, CoTFluxTransformer2DModel
from cotir.weights import load_transformer
from golden_model import TINY, inputs

CLASSES = {"flux1": CoTFluxTransformer2DModel, "flux2": CoTFlux2Transformer2DModel}


@torch.no_grad()
def run(model, arguments, **kwargs):
    return model(**arguments, **kwargs)


def test_shapes_and_optional_predictions(imported, family):
    model = load_transformer(imported[family].base, imported[family].adapter)
    arguments = inputs(family)
    silent, spoken = run(model, arguments), run(model, arguments, predict_reasoning=True)
    assert silent.reasoning.scene is silent.reasoning.degradation is silent.reasoning.plan is None
    assert silent.sample.shape == arguments["hidden_states"].shape
    for thought in (spoken.reasoning.scene, spoken.reasoning.degradation, spoken.reasoning.plan):
        assert thought.shape == arguments["encoder_hidden_states"].shape
    assert spoken.reasoning.text_update.shape == (2, 7, TINY[family].hidden)
    assert torch.equal(silent.sample, spoken.sample)


def test_a_batch_is_its_samples(imported, family):
    model = load_transformer(imported[family].base, imported[family].adapter)
    arguments = inputs(family)
    both = run(model, arguments).sample
    for i in range(2):
        one = {key: value[i : i + 1] if value.shape[0] == 2 else value for key, value in arguments.items()}
        assert (run(model, one).sample - both[i]).abs().max() <= 1e-5


def test_gates_let_reasoning_reach_the_image(imported, family):
    model = load_transformer(imported[family].base, imported[family].adapter)
    arguments = inputs(family)
    before = run(model, arguments).sample
    model.cot_adapter.plan_gate.data = model.cot_adapter.plan_gate + 1
    assert (run(model, arguments).sample - before).abs().max() > 1e-2


def test_gradient_checkpointing_changes_no_gradient(imported, family):
    gradients = []
    for checkpointing in (False, True):
        model = load_transformer(imported[family].base, cot_depth=2)
        attach(model, 4, 1.0, generator=torch.Generator().manual_seed(0))
        model.cot_adapter.requires_grad_(True)
        if checkpointing:
            model.enable_gradient_checkpointing()
        model.train()
        output = model(**inputs(family), predict_reasoning=True)
        (output.sample.square().mean() + output.reasoning.plan.square().mean()).backward()
        gradients.append({name: p.grad for name, p in model.named_parameters() if p.grad is not None})
    plain, recomputed = gradients
    assert plain.keys() == recomputed.keys()
    assert any("lora_B" in name for name in plain)
    for name, gradient in plain.items():
        torch.testing.assert_close(recomputed[name], gradient, rtol=1e-5, atol=1e-7)


def test_its_layers_can_be_offloaded_one_by_one(imported, family):
    model = load_transformer(imported[family].base, imported[family].adapter)
    wanted = run(model, inputs(family)).sample
    cpu_offload(model, torch.device("cpu"))
    assert model.cot_adapter.plan_gate.device.type == "meta"
    assert torch.equal(run(model, inputs(family)).sample, wanted)


@pytest.mark.parametrize(("rope", "rounding"), [("float64", "diffusers"), ("released", "released")])
def test_diffusers_saves_and_loads_it(family, tmp_path, rope, rounding):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = CLASSES[family](**TINY[family].transformer, cot_depth=1, rope=rope, rounding=rounding).eval()
    for gate in ("scene_gate", "degradation_gate", "plan_gate"):
        getattr(model.cot_adapter, gate).data = torch.ones(1)
    model.save_pretrained(tmp_path)
    again = CLASSES[family].from_pretrained(tmp_path)
    assert (again.config["rope"], again.config["rounding"], again.config["cot_depth"]) == (rope, rounding, 1)
    assert torch.equal(run(again, inputs(family)).sample, run(model, inputs(family)).sample)


def test_times_are_not_rounded_with_the_model(imported, family):
    """0.9360 and 0.9370 are one number in bfloat16 (0.9375): the released mode sees one, the default two."""
    arguments = inputs(family, torch.bfloat16)
    for rope, same in (("released", True), ("float64", False)):
        model = load_transformer(imported[family].base, imported[family].adapter, dtype=torch.bfloat16, rope=rope)
        first, second = (
            run(model, arguments | {"timestep": torch.full((2,), time)}).sample for time in (0.9360, 0.9370)
        )
        assert torch.equal(first, second) is same


def test_the_released_positions_follow_the_dtype_of_the_model(imported):
    """Ids beyond 256 are not all distinct in bfloat16: the released mode sees that, the default does not."""
    arguments = inputs("flux2", torch.bfloat16)
    ids = arguments["txt_ids"].clone()
    ids[:, 3] += 300
    moved = arguments | {"txt_ids": ids}
    rounded = arguments | {"txt_ids": ids.bfloat16().float()}
    for rope, same in (("released", True), ("float64", False)):
        model = load_transformer(imported["flux2"].base, imported["flux2"].adapter, dtype=torch.bfloat16, rope=rope)
        assert torch.equal(run(model, moved).sample, run(model, rounded).sample) is same
