"""One training step of the released code: its loss and its gradients, the shared ``A`` of FLUX.1 above all."""

import json

import pytest
import torch
import torch.nn.functional as F

from cotir.lora import lora_state
from cotir.released_weights import adapter_rules, lora_rules, to_released
from cotir.weights import load_transformer
from golden_model import GOLDEN, inputs, part, vectors

MULTIPLIERS = {"scene": ("s", 5, 1e-4), "degradation": ("d", 3, 2e-4), "plan": ("p", 7, 3e-4)}


@pytest.fixture
def trainable(imported, family):
    model = load_transformer(imported[family].base, imported[family].adapter, rope="released")
    model.cot_adapter.requires_grad_(True)
    for parameter in lora_state(model).values():
        parameter.requires_grad_(True)
    return model


def unit(tokens):
    return tokens / (tokens.norm(dim=-1, keepdim=True) + 1e-6)


def released_loss(model, family, *, constrained):
    step = part(family, "train.")
    arguments = inputs(family) | {
        "hidden_states": step["img_input"],
        "timestep": step["timesteps"],
        "encoder_hidden_states": step["txt"],
    }
    if family == "flux1":
        arguments["pooled_projections"] = step["y"]
    output = model(**arguments, predict_reasoning=True)
    velocity = output.sample[:, : step["x_0"].shape[1]]
    loss = F.mse_loss(velocity, step["x_0"] - vectors(family)["io.x_1"])
    if constrained:
        for name, (letter, multiplier, delta) in MULTIPLIERS.items():
            predicted = getattr(output.reasoning, name)
            loss = loss + multiplier * (F.mse_loss(unit(predicted), unit(step[f"txt_gt_{letter}"])) - delta)
    return loss


def recorded(family, constrained):
    vectors_json = json.loads((GOLDEN / "vectors.json").read_text(encoding="utf-8"))
    return vectors_json[family][f"train.fp32.lam{int(constrained)}"]


@pytest.mark.parametrize("constrained", [False, True])
def test_loss_and_gradient_norms(trainable, family, constrained):
    loss = released_loss(trainable, family, constrained=constrained)
    loss.backward()
    wanted = recorded(family, constrained)
    assert loss.item() == pytest.approx(wanted["loss"], rel=1e-6)

    gradients = released_gradients(trainable)
    assert gradients.keys() == wanted["grad_norms"].keys()
    for name, norm in wanted["grad_norms"].items():
        assert gradients[name].norm().item() == pytest.approx(norm, rel=1e-5, abs=1e-9), name
    # the shared A is one parameter, counted once; four copies would give 7.833 instead of 7.864
    trained = [parameter for parameter in trainable.parameters() if parameter.requires_grad]
    total = torch.nn.utils.clip_grad_norm_(trained, 1.0).item()
    assert total == pytest.approx(wanted["grad_total_norm"], rel=1e-6)


def test_clipped_gradients(trainable, family):
    released_loss(trainable, family, constrained=True).backward()
    trained = [parameter for parameter in trainable.parameters() if parameter.requires_grad]
    torch.nn.utils.clip_grad_norm_(trained, 1.0)
    gradients = released_gradients(trainable)
    wanted = part(family, "train.grad_clipped.")
    assert len(wanted) >= 15
    for name, gradient in wanted.items():
        assert (gradients[name] - gradient).abs().max() <= 1e-5 * gradient.abs().max(), name


def released_gradients(model):
    """Gradients by released name: ours, put back into the released layout."""
    lora = {name: parameter.grad for name, parameter in lora_state(model).items()}
    adapter = {
        name: torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
        for name, parameter in model.cot_adapter.named_parameters()
    }
    return to_released(lora, lora_rules(model)) | to_released(adapter, adapter_rules(model))
