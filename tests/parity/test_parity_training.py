"""One training step of the released code: its loss and its gradients, the shared ``A`` of FLUX.1 above all."""

import json

import pytest
import torch

from arithmetic import SAME_KERNELS, SLACK
from cotir.encode import TextTokens
from cotir.lora import lora_state
from cotir.released_weights import adapter_rules, lora_rules, to_released
from cotir.train.objective import PARTS, flow_loss, lagrangian, reasoning_distances
from cotir.weights import load_transformer
from golden_model import FAMILIES, GOLDEN, inputs, part, vectors

INITIALS = {"scene": "s", "degradation": "d", "plan": "p"}
DELTA = {"scene": 1e-4, "degradation": 2e-4, "plan": 3e-4}
MULTIPLIERS = {False: dict.fromkeys(PARTS, 0.0), True: {"scene": 5.0, "degradation": 3.0, "plan": 7.0}}
HEAD_LAYERS = ("modulation", "linear")
RECORDED = json.loads((GOLDEN / "vectors.json").read_text(encoding="utf-8"))
GRADIENT = 1e-5 if SAME_KERNELS else 1e-3
"""Relative tolerance. That of a scalar gate is a small sum of large terms."""
CASES = [(family, constrained) for family in FAMILIES for constrained in (False, True)]


def trainable(folders):
    model = load_transformer(folders.base, folders.adapter, rope="released")
    model.cot_adapter.requires_grad_(True)
    for parameter in lora_state(model).values():
        parameter.requires_grad_(True)
    return model


def loss_terms(model, family, multipliers):
    step = part(family, "train.")
    arguments = inputs(family) | {
        "hidden_states": step["img_input"],
        "timestep": step["timesteps"],
        "encoder_hidden_states": step["txt"],
    }
    if family == "flux1":
        arguments["pooled_projections"] = step["y"]
    output = model(**arguments, predict_reasoning=True)
    noise, clean = step["x_0"], vectors(family)["io.x_1"]
    answers = {name: step[f"txt_gt_{letter}"] for name, letter in INITIALS.items()}
    targets = {name: TextTokens(answer, torch.ones(answer.shape[:2])) for name, answer in answers.items()}
    return lagrangian(
        flow_loss(output.sample[:, : noise.shape[1]], clean, noise),
        reasoning_distances(output.reasoning, targets, "released"),
        DELTA,
        multipliers,
    )


@pytest.fixture(scope="module", params=CASES, ids=[f"{family}-lambda{int(on)}" for family, on in CASES])
def step(request, imported):
    """One backward pass: the model with its gradients, the loss terms, and what was recorded."""
    family, constrained = request.param
    model = trainable(imported[family])
    terms = loss_terms(model, family, MULTIPLIERS[constrained])
    terms.loss.backward()
    return model, terms, RECORDED[family][f"train.fp32.lam{int(constrained)}"]


def test_the_loss_and_its_terms(step):
    _, terms, wanted = step
    assert terms.loss.item() == pytest.approx(wanted["loss"], abs=1e-6 * SLACK)
    assert terms.flow.item() == pytest.approx(wanted["img_loss"], abs=1e-6 * SLACK)
    for name, letter in INITIALS.items():
        assert terms.distances[name].item() == pytest.approx(wanted[f"txt_loss_{letter}"], abs=1e-8 * SLACK)
        assert terms.constraints[name].item() == pytest.approx(wanted[f"c_{letter}"], abs=1e-8 * SLACK)


def test_gradient_norms(step):
    model, _, wanted = step
    gradients = released_gradients(model)
    assert gradients.keys() == wanted["grad_norms"].keys()
    for name, norm in wanted["grad_norms"].items():
        assert gradients[name].norm().item() == pytest.approx(norm, rel=GRADIENT, abs=1e-9), name
    # the shared A is one parameter, counted once; four copies would give 7.833 instead of 7.864
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    total = torch.nn.utils.get_total_norm([parameter.grad for parameter in trained])
    assert total.item() == pytest.approx(wanted["grad_total_norm"], rel=1e-6 * SLACK)


def test_only_the_lora_and_the_adapter_have_gradients(step):
    model, _, wanted = step
    trained = [*lora_state(model).values(), *model.cot_adapter.parameters()]
    assert all(parameter.grad is not None for parameter in trained)
    ids = {id(parameter) for parameter in trained}
    assert wanted["base_params_with_grad"] == []
    assert all(parameter.grad is None for parameter in model.parameters() if id(parameter) not in ids)


def test_a_lambda_of_zero_leaves_the_heads_a_gradient_of_zero(imported, family):
    model = trainable(imported[family])
    loss_terms(model, family, MULTIPLIERS[False]).loss.backward()
    gradients = {name: parameter.grad for name, parameter in model.cot_adapter.named_parameters()}
    still = {name for name, gradient in gradients.items() if not gradient.any()}
    heads = {f"{name}_head.{layer}.{kind}" for name in PARTS for layer in HEAD_LAYERS for kind in ("weight", "bias")}
    assert still == heads
    assert len(heads) == 12


def test_clipped_gradients(imported, family):
    model = trainable(imported[family])
    loss_terms(model, family, MULTIPLIERS[True]).loss.backward()
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    torch.nn.utils.clip_grad_norm_(trained, 1.0)
    gradients = released_gradients(model)
    wanted = part(family, "train.grad_clipped.")
    assert len(wanted) >= 15
    for name, gradient in wanted.items():
        assert (gradients[name] - gradient).abs().max() <= GRADIENT * gradient.abs().max(), name


def released_gradients(model):
    """Gradients by released name: ours, put back into the released layout."""
    lora = {name: parameter.grad for name, parameter in lora_state(model).items()}
    adapter = {name: parameter.grad for name, parameter in model.cot_adapter.named_parameters()}
    return to_released(lora, lora_rules(model)) | to_released(adapter, adapter_rules(model))
