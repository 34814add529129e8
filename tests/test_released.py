import pytest
import torch
from torch import nn

from cotir.adapter import HeadRMSNorm
from cotir.released import ReleasedRoPE, UnfusedBiasLinear, use_released_rounding
from golden_model import TINY, plain_model


def noise(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def test_positions_in_float32_are_those_of_diffusers(family):
    plain = plain_model(family).pos_embed
    released = ReleasedRoPE(plain.theta, plain.axes_dim)
    ids = torch.randint(0, 64, (50, len(plain.axes_dim)), generator=torch.Generator().manual_seed(0)).float()
    for found, wanted in zip(released(ids), plain(ids), strict=True):
        assert found.dtype == torch.float32
        assert (found - wanted).abs().max() <= 2e-5


def test_512_text_positions_collapse_in_bfloat16():
    """As measured on the released code: 385 of the 512 ids of FLUX.2's text axis stay distinct."""
    tables = ReleasedRoPE(2000, (32,))(torch.arange(512.0)[:, None].bfloat16())
    assert len(torch.unique(torch.cat(tables, dim=-1), dim=0)) == 385


def test_rounding_keeps_the_parameters_and_the_float32_result(family):
    model = plain_model(family)
    parameters = dict(model.named_parameters())
    use_released_rounding(model)
    assert {name: id(parameter) for name, parameter in model.named_parameters()} == {
        name: id(parameter) for name, parameter in parameters.items()
    }
    assert not any(isinstance(module, nn.RMSNorm) for module in model.modules())
    unfused = [name for name, module in model.named_modules() if isinstance(module, UnfusedBiasLinear)]
    assert len(unfused) == (2 * TINY[family].transformer["num_layers"] if family == "flux1" else 0)


def test_head_norm_is_rms_norm_in_float32():
    ours, torchs = HeadRMSNorm(32), nn.RMSNorm(32, eps=1e-6)
    weight = noise(32, seed=1)
    ours.weight.data = torchs.weight.data = weight
    x = 10 * noise(2, 5, 32)
    torch.testing.assert_close(ours(x), torchs(x), rtol=1e-6, atol=1e-6)


def test_head_norm_rounds_before_the_weight():
    norm = HeadRMSNorm(32).bfloat16()
    norm.weight.data = noise(32, seed=1).bfloat16()
    x = noise(2, 5, 32).bfloat16()
    unit = (x.double() * (x.double().square().mean(-1, keepdim=True) + 1e-6).rsqrt()).float().bfloat16()
    assert torch.equal(norm(x), unit * norm.weight)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_an_unfused_bias_is_added_after_rounding(dtype):
    layer = UnfusedBiasLinear(64, 8).to(dtype)
    x = noise(2, 5, 64).to(dtype)
    assert torch.equal(layer(x), x @ layer.weight.T + layer.bias)
