import copy

import pytest
import torch
from peft.tuners.lora import LoraLayer
from torch import nn

from arithmetic import same
from cotir.errors import WeightsError
from cotir.lora import TARGETS, assign_lora, attach, branches, fuse, lora_config, lora_state, targets
from cotir.nano import CoTNanoTransformer2DModel
from cotir.transformer import CoTFlux2Transformer2DModel, CoTFluxTransformer2DModel
from golden_model import TINY, inputs

PER_BLOCK = {
    "flux1": ("attn.to_q", "attn.to_k", "attn.to_v", "proj_mlp", "proj_out", "norm.linear"),
    "flux2": ("attn.to_qkv_mlp_proj", "attn.to_out"),
}


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def tiny(family):
    cls = {"flux1": CoTFluxTransformer2DModel, "flux2": CoTFlux2Transformer2DModel}[family]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return cls(**TINY[family].transformer, cot_depth=1).eval()


def tiny_nano():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return CoTNanoTransformer2DModel(width=4, blocks=(1, 1, 1), num_single_layers=2, num_attention_heads=1).eval()


def randomise(model, seed=1):
    """Fill the LoRA with noise, so that it does something."""
    source = generator(seed)
    for parameter in lora_state(model).values():
        parameter.data = 0.2 * torch.randn(parameter.shape, generator=source)
    return model


@torch.no_grad()
def velocity(model, family):
    return model(**inputs(family)).sample


def test_targets_are_the_single_stream_and_the_output_layers(family):
    blocks = {f"single_transformer_blocks.{i}.{name}" for i in range(3) for name in PER_BLOCK[family]}
    assert targets(tiny(family)).keys() == blocks | {"proj_out", "norm_out.linear"}


def test_targets_of_nano_are_those_of_its_trunk():
    blocks = {f"trunk.single_transformer_blocks.{i}.{name}" for i in range(2) for name in PER_BLOCK["flux2"]}
    assert targets(tiny_nano()).keys() == blocks | {"trunk.proj_out", "trunk.norm_out.linear"}


def test_a_model_of_no_family_is_an_error():
    with pytest.raises(
        WeightsError, match="no LoRA targets for a Linear; the known families are FluxTransformer2DModel"
    ):
        targets(nn.Linear(2, 2))


def test_nothing_matched_is_an_error(monkeypatch):
    family = next(iter(TARGETS))
    monkeypatch.setitem(TARGETS, family, "blocks.*")
    with pytest.raises(WeightsError, match=r"LoRA matches no linear layer of CoTFlux.*; the pattern is 'blocks\.\*'"):
        attach(tiny("flux1"), 4, 1.0, generator=generator())


def test_a_fresh_lora_changes_nothing(family):
    model = tiny(family)
    before = velocity(model, family)
    attach(model, 4, 1.0, generator=generator())
    assert all(parameter.count_nonzero() == 0 for name, parameter in lora_state(model).items() if "lora_B" in name)
    assert all(parameter.count_nonzero() > 0 for name, parameter in lora_state(model).items() if "lora_A" in name)
    assert torch.equal(velocity(model, family), before)


def test_a_fresh_lora_comes_from_its_generator_alone(family):
    torch.manual_seed(0)
    state = torch.get_rng_state()
    models = [tiny(family) for _ in range(3)]
    for model, seed in zip(models, (5, 5, 6), strict=True):
        attach(model, 4, 1.0, generator=generator(seed))
    assert torch.equal(torch.get_rng_state(), state)
    first, same, other = ([p for p in lora_state(model).values() if p.count_nonzero()] for model in models)
    assert all(torch.equal(a, b) for a, b in zip(first, same, strict=True))
    assert not any(torch.equal(a, b) for a, b in zip(first, other, strict=True))


def test_only_the_lora_is_trainable(family):
    model = tiny(family)
    attach(model, 4, 1.0, generator=generator(), dtype=torch.bfloat16)
    trainable = {id(parameter) for parameter in model.parameters() if parameter.requires_grad}
    assert trainable == {id(parameter) for parameter in lora_state(model).values()}
    assert {parameter.dtype for parameter in lora_state(model).values()} == {torch.bfloat16}


def test_a_second_lora_is_refused(family):
    model = tiny(family)
    attach(model, 4, 1.0, generator=generator())
    with pytest.raises(WeightsError, match="has a LoRA already: fuse it before you attach another"):
        attach(model, 4, 1.0, generator=generator())


def test_rank_is_clipped_to_the_narrowest_side(family):
    model = tiny(family)
    config = lora_config(model, rank=24, scale=0.5)
    assert config.rank_pattern == {"^proj_out$": 16}
    assert config.alpha_pattern == {"^proj_out$": 8}
    attach(model, 24, 0.5, generator=generator())
    ranks = {name: branch.down.weight.shape[0] for name, branch in branches(model).items()}
    assert ranks.pop("proj_out") == 16
    assert set(ranks.values()) == {24}
    assert {branch.scale for branch in branches(model).values()} == {0.5}


def test_flux1_shares_one_a_where_the_release_has_one_layer():
    model = tiny("flux1")
    attach(model, 4, 1.0, generator=generator())
    for i in range(3):
        shared = [
            branches(model)[f"single_transformer_blocks.{i}.{name}"].down.weight for name in PER_BLOCK["flux1"][:4]
        ]
        assert len({id(parameter) for parameter in shared}) == 1
    assert len({id(parameter) for parameter in lora_state(model).values()}) == len(lora_state(model)) - 3 * 3


def test_the_gradient_of_the_shared_a_is_the_sum_of_four():
    """Against four separate copies, in a model otherwise the same."""
    tied = randomise(attached("flux1"))
    apart = copy.deepcopy(tied)
    for branch in branches(apart).values():
        branch.down.weight = nn.Parameter(branch.down.weight.detach().clone())
    for model in (tied, apart):
        model(**inputs("flux1")).sample.square().mean().backward()
    names = [f"single_transformer_blocks.1.{name}" for name in PER_BLOCK["flux1"][:4]]
    copies = torch.stack([branches(apart)[name].down.weight.grad for name in names])
    shared = branches(tied)[names[0]].down.weight.grad
    torch.testing.assert_close(shared, copies.sum(dim=0), rtol=1e-5, atol=1e-8)
    assert (shared - copies[0]).abs().max() > 0.1 * shared.abs().max()


def test_different_a_cannot_be_tied():
    model = attached("flux1")
    state = {name: parameter.detach().clone() for name, parameter in lora_state(model).items()}
    state["single_transformer_blocks.2.proj_mlp.lora_A.weight"] += 1
    with pytest.raises(
        WeightsError, match=r"lora_A of single_transformer_blocks\.2\.proj_mlp and of .*\.2\.attn\.to_q differ"
    ):
        assign_lora(model, state)


def attached(family, scale=1.0):
    model = tiny(family)
    attach(model, 4, scale, generator=generator())
    return model


@pytest.mark.parametrize("scale", [1.0, 0.7])
def test_fuse_keeps_the_forward_and_removes_the_branch(family, scale):
    model = randomise(attached(family, scale))
    unfused = velocity(model, family)
    assert (unfused - velocity(tiny(family), family)).abs().max() > 0.1
    fuse(model)
    assert (velocity(model, family) - unfused).abs().max() <= 5e-6
    assert not any(isinstance(module, LoraLayer) or "lora" in name for name, module in model.named_modules())
    assert {type(layer) for layer in targets(model).values()} == {nn.Linear}
    assert all(layer.bias is not None for layer in targets(model).values())
    assert not hasattr(model, "peft_config")


def test_fuse_then_attach_again(family):
    model = randomise(attached(family))
    fuse(model)
    before = velocity(model, family)
    attach(model, 4, 1.0, generator=generator())
    assert torch.equal(velocity(model, family), before)


def test_a_fused_model_is_saved_whole(family, tmp_path):
    model = randomise(attached(family))
    fuse(model)
    model.save_pretrained(tmp_path)
    again = type(model).from_pretrained(tmp_path)
    assert again.state_dict().keys() == model.state_dict().keys()
    assert torch.equal(velocity(again, family), velocity(model, family))


def test_fuse_nano(tmp_path):
    model = tiny_nano()
    attach(model, 4, 1.0, generator=generator())
    randomise(model)
    arguments = {
        "hidden_states": torch.randn(1, 8, 192, generator=generator()),
        "encoder_hidden_states": torch.randn(1, 3, 384, generator=generator()),
        "timestep": torch.tensor([0.5]),
        "img_ids": torch.cartesian_prod(torch.tensor([0.0, 10.0]), *[torch.arange(2.0)] * 2, torch.zeros(1)),
        "txt_ids": torch.zeros(3, 4),
    }
    nn.init.normal_(model.exit.weight, std=0.1, generator=generator())
    with torch.no_grad():
        unfused = model(**arguments).sample
        fuse(model)
        fused = model(**arguments).sample
        assert (fused - unfused).abs().max() <= 5e-6
        assert not branches(model)
        model.save_pretrained(tmp_path)
        again = CoTNanoTransformer2DModel.from_pretrained(tmp_path)
        assert again.config["fused_lora"] is True
        assert again.state_dict().keys() == model.state_dict().keys()
        assert same(again(**arguments).sample, fused)


def test_fuse_without_lora_is_an_error(family):
    with pytest.raises(WeightsError, match="has no LoRA to fuse"):
        fuse(tiny(family))


def test_fuse_into_a_quantised_layer_is_an_error_and_changes_nothing(family):
    model = attached(family)
    base = branches(model)["proj_out"].base
    base.weight = nn.Parameter(base.weight.to(torch.int8), requires_grad=False)
    with pytest.raises(WeightsError, match=r"cannot fuse LoRA into proj_out, its weight is quantised \(torch\.int8\)"):
        fuse(model)
    assert len(branches(model)) == len(lora_state(model)) // 3 > 0


def test_fuse_of_bfloat16_sums_in_float32(family):
    model = randomise(attached(family)).to(torch.bfloat16)
    branch = branches(model)["proj_out"]
    wanted = branch.base.weight.double() + branch.up.weight.double() @ branch.down.weight.double()
    fuse(model)
    assert torch.equal(model.proj_out.weight, wanted.float().bfloat16())
