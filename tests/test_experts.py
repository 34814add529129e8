"""Experts: weights that are merged for every picture, by what nano has seen and read."""

import pytest
import torch

from cotir.backbones import NANO
from cotir.experts import BLOCK, Experts, Scope
from cotir.nano import CoTNanoTransformer2DModel
from cotir.phrase_bank import KINDS as ALL_KINDS
from cotir.reshape import reshaped

ROWS, COLUMNS = 3, 4
KINDS = ("noise", "jpeg")
SHAPE = {
    "width": 8,
    "blocks": (1, 1, 1),
    "num_single_layers": 1,
    "num_attention_heads": 1,
    "joint_attention_dim": 16,
    "cot_depth": 1,
    "tone": True,
}


def nano(**shape):
    torch.manual_seed(0)
    model = CoTNanoTransformer2DModel(**SHAPE, **shape).eval().requires_grad_(False)
    torch.nn.init.normal_(model.exit.weight, std=0.1)
    torch.nn.init.normal_(model.tone_map.tell.weight, std=0.1)
    return model


@pytest.fixture
def expert():
    model = nano(experts=KINDS)
    torch.nn.init.normal_(model.expertise.changes, std=0.1)
    torch.nn.init.normal_(model.expertise.gate.weight)
    return model


def inputs(pictures):
    generator = torch.Generator().manual_seed(1)
    return {
        "hidden_states": torch.randn(pictures, 2 * ROWS * COLUMNS, 192, generator=generator),
        "encoder_hidden_states": torch.randn(pictures, 5, 16, generator=generator),
        "timestep": torch.ones(pictures),
        "img_ids": NANO.image_positions(ROWS, COLUMNS),
        "txt_ids": NANO.text_positions(5),
    }


def test_weights_are_the_base_and_a_sum_of_changes_by_the_gate():
    experts = Experts(KINDS, weights=7, features=3)
    changes = torch.arange(14.0).view(2, 7)
    experts.changes.data.copy_(changes)
    base = {"a": torch.ones(2, 3), "b": torch.zeros(1)}
    nothing, both = experts.merged(base, torch.tensor([[0.0, 0.0], [0.5, 2.0]]))
    wanted = 0.5 * changes[0] + 2 * changes[1]
    torch.testing.assert_close(nothing, base)
    torch.testing.assert_close(both, {"a": 1 + wanted[:6].view(2, 3), "b": wanted[6:]})
    with pytest.raises(RuntimeError, match="7"):  # no weight may be left without its change
        experts.merged({"a": base["a"]}, torch.ones(1, 2))


def test_a_fresh_gate_hardly_opens_and_a_fitted_one_tells_by_the_features():
    experts = Experts(KINDS, weights=1, features=3)
    features = torch.randn(5, 3, generator=torch.Generator().manual_seed(2))
    torch.testing.assert_close(experts.gates(features), torch.full((5, 2), 0.018), atol=1e-3, rtol=0)
    torch.nn.init.normal_(experts.gate.weight, std=5.0, generator=torch.Generator().manual_seed(3))
    told = experts.gates(features)
    assert told.shape == (5, 2) and bool((told > 0).all() and (told < 1).all()) and told.std() > 0.1


def test_experts_share_what_is_not_something_else():
    experts = Experts(("noise", "jpeg", "rain"), weights=1, features=2)
    for bias, wanted in (
        ([100.0, 100.0, -100.0], [0.5, 0.5, 0.0]),
        ([-100.0, -100.0, -100.0], [0.0, 0.0, 0.0]),  # something else, or several at once: the base alone
        ([0.0, -100.0, -100.0], [0.5, 0.0, 0.0]),
    ):
        experts.gate.bias.data.copy_(torch.tensor(bias))
        torch.testing.assert_close(experts.gates(torch.zeros(1, 2)), torch.tensor([wanted]))


def test_fresh_experts_change_nothing():
    plain, fresh = nano(), nano(experts=KINDS)
    fresh.load_state_dict(plain.state_dict(), strict=False)
    torch.testing.assert_close(fresh(**inputs(2)).sample, plain(**inputs(2)).sample)


def test_an_expert_is_the_model_with_its_changes_where_the_gate_is_open(expert):
    """What is merged for a picture is what one would get by writing the changes into the weights."""
    expert.expertise.gate.weight.zero_()
    expert.expertise.gate.bias.copy_(torch.tensor([100.0, -100.0]))
    written = nano()
    written.load_state_dict({k: v for k, v in expert.state_dict().items() if not k.startswith("expertise")})
    parts = [written.up, written.decoder, written.exit, written.tone_map]
    weights = [weight for part in parts for weight in part.parameters()]
    changes = expert.expertise.changes[0].split([weight.numel() for weight in weights])
    before = written(**inputs(1)).sample
    for weight, change in zip(weights, changes, strict=True):
        weight += change.view_as(weight)
    torch.testing.assert_close(expert(**inputs(1)).sample, written(**inputs(1)).sample)
    assert not torch.allclose(before, written(**inputs(1)).sample, atol=1e-3)


def test_every_picture_of_a_batch_has_its_own(expert):
    both = inputs(2)
    alone = [expert(**{k: v if "ids" in k else v[n : n + 1] for k, v in both.items()}).sample for n in range(2)]
    torch.testing.assert_close(expert(**both).sample, torch.cat(alone), atol=1e-4, rtol=1e-4)


def test_the_gate_is_told_of_the_picture_and_of_the_words(expert):
    seen = []
    expert.expertise.gate.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    one = inputs(1)
    expert(**one)
    expert(**one | {"encoder_hidden_states": one["encoder_hidden_states"] + 1})
    expert(**one | {"hidden_states": -one["hidden_states"]})
    assert seen[0].shape == (1, expert.expertise.gate.in_features)
    words = slice(-16, None)
    assert not torch.allclose(seen[0][:, words], seen[1][:, words])
    torch.testing.assert_close(seen[0][:, words], seen[2][:, words])
    assert not torch.allclose(seen[0][:, :100], seen[2][:, :100])


def test_a_picture_of_one_token_has_finite_features(expert):
    one = inputs(1) | {"img_ids": NANO.image_positions(1, 1)}
    one["hidden_states"] = one["hidden_states"][:, :2]
    assert bool(expert(**one).sample.isfinite().all())


def test_the_gate_is_told_means_and_deviations(expert):
    seen, maps = [], []
    expert.expertise.gate.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    expert.encoder[0][-1].register_forward_hook(lambda *given: maps.append(given[-1]))
    expert(**inputs(2))
    wanted = torch.cat([maps[0].mean(dim=(2, 3)), maps[0].std(dim=(2, 3), correction=0)], dim=1)
    torch.testing.assert_close(seen[0][:, : 2 * 8], wanted, atol=1e-5, rtol=1e-4)


def test_features_that_do_not_differ_have_a_slope_all_the_same(expert):
    for part in (expert.entry, *expert.encoder.modules()):
        if isinstance(part, torch.nn.Conv2d):
            part.weight.zero_()
    expert.entry.bias.requires_grad_(True)
    expert(**inputs(1)).sample.square().mean().backward()
    assert bool(expert.entry.bias.grad.isfinite().all())


@pytest.mark.parametrize(
    ("name", "has", "has_not"),
    [
        ("haze", [{"haze"}], [set(), {"snow"}, {"haze", "snow"}]),
        ("haze+", [{"haze", "snow"}, {"haze", "rain", "noise"}], [set(), {"haze"}, {"snow", "rain"}]),
        ("rain/snow+", [{"rain", "haze"}, {"snow", "haze"}, {"rain", "snow"}], [{"rain"}, {"snow"}, {"haze", "jpeg"}]),
        ("rain/snow", [{"rain"}, {"snow"}], [{"rain", "snow"}, {"haze"}]),
    ],
)
def test_a_scope_has_its_kinds_alone_or_among_others(name, has, has_not):
    scope = Scope.of(name)
    assert all(map(scope.has, has)) and not any(map(scope.has, has_not))


@pytest.mark.parametrize("kind", ALL_KINDS)
def test_every_kind_can_have_a_scope(kind):
    assert Scope.of(kind).has({kind}) and not Scope.of(kind).mixed
    assert Scope.of(f"{kind}+").has({kind, *ALL_KINDS[:2]})


@pytest.mark.parametrize("name", ["", "+", "hail", "rain/", "rain/hail+", "rain,snow", "rain++"])
def test_what_is_no_scope_is_named(name):
    with pytest.raises(ValueError, match=r"is none; write one \(haze\)"):
        Scope.of(name)


def test_a_picture_belongs_to_the_first_expert_that_has_it():
    experts = Experts(("haze", "low_light+", "haze+"), weights=1, features=1)
    assert experts.scope({"haze"}) == 0
    assert experts.scope({"haze", "low_light"}) == 1
    assert experts.scope({"haze", "snow"}) == 2
    assert experts.scope({"low_light"}) is None and experts.scope(set()) is None


def learned(packed, weights=2 * BLOCK + 3):
    experts = Experts(KINDS, weights=weights, features=3, packed=packed)
    generator = torch.Generator().manual_seed(4)
    changes = torch.randn(len(KINDS), weights, generator=generator) * torch.tensor([[1e-4], [3.0]])
    changes[0, :BLOCK] = 0  # nothing at all in a block
    experts.learn(changes)
    return experts, changes


def test_packed_experts_are_what_they_learned_within_half_a_step():
    experts, changes = learned(packed=True)
    for row, wanted in zip(experts.learned(), changes, strict=True):
        for told, block in zip(row.split(BLOCK), wanted.split(BLOCK), strict=True):
            assert (told - block).abs().max() <= 1.001 * block.abs().max() / 254
    assert experts.codes.dtype == torch.int8 and not list(experts.parameters())[2:]
    experts.learn(experts.learned())  # packing what was packed loses nothing more
    torch.testing.assert_close(experts.learned(), learned(packed=True)[0].learned())


@pytest.mark.parametrize("packed", [True, False])
def test_what_is_merged_is_what_was_learned(packed):
    experts, _ = learned(packed)
    gates = torch.tensor([[0.3, 0.1], [0.0, 1.0]])
    base = {"a": torch.ones(BLOCK + 3), "b": torch.zeros(BLOCK)}
    merged = experts.merged(base, gates)
    for picture, gate in zip(merged, gates, strict=True):
        wanted = torch.cat(list(base.values())) + gate @ experts.learned()
        torch.testing.assert_close(torch.cat(list(picture.values())), wanted)


@pytest.mark.parametrize("packed", [True, False])
def test_experts_are_taken_over_by_their_names(packed):
    theirs, _ = learned(packed=not packed)
    torch.nn.init.normal_(theirs.gate.weight)
    mine = Experts(("rain", "jpeg"), weights=theirs.weights, features=3, packed=packed)
    assert mine.take(theirs) == ["jpeg"]
    torch.testing.assert_close(mine.learned()[1], theirs.learned()[1], atol=0.06, rtol=0)
    assert not mine.learned()[0].any() and not mine.gate.weight[0].any()
    assert torch.equal(mine.gate.weight[1], theirs.gate.weight[1])
    assert Experts(("jpeg",), weights=theirs.weights - 1, features=3).take(theirs) == []
    assert Experts(("jpeg",), weights=theirs.weights, features=4).take(theirs) == []
    assert Experts(("rain",), weights=theirs.weights, features=3).take(theirs) == []


def test_an_expert_that_stands_open_has_every_picture():
    experts = Experts(("haze+",), weights=1, features=3)
    torch.nn.init.normal_(experts.gate.weight)
    experts.stand_open()
    torch.testing.assert_close(experts.gates(torch.randn(4, 3)), torch.ones(4, 1))


def test_a_packed_nano_is_nearly_the_same_and_survives_saving_and_half_precision(expert, tmp_path):
    packed = reshaped(expert, packed=True).transformer.eval()
    assert "expertise.codes" in packed.state_dict() and "expertise.changes" not in packed.state_dict()
    wanted = expert(**inputs(2)).sample
    told = packed(**inputs(2)).sample
    assert 0 < (told - wanted).abs().max() < 0.06 * wanted.std()
    packed.to(torch.float16).save_pretrained(tmp_path)
    loaded = CoTNanoTransformer2DModel.from_pretrained(tmp_path, torch_dtype=torch.float32)
    assert loaded.expertise.codes.dtype == torch.int8 and loaded.expertise.largest.dtype == torch.float32
    assert torch.equal(loaded.expertise.codes, packed.expertise.codes)
    assert (loaded(**inputs(2)).sample - told).abs().max() < 0.06 * wanted.std()


def test_a_packed_nano_takes_less_room(expert, tmp_path):
    sizes = []
    for name, packed in (("plain", False), ("packed", True)):
        reshaped(expert, packed=packed).transformer.to(torch.float16).save_pretrained(tmp_path / name)
        sizes.append(next((tmp_path / name).glob("*.safetensors")).stat().st_size)
    saved = 2 * expert.expertise.changes.numel() - expert.expertise.changes.numel() * (1 + 2 / BLOCK)
    assert sizes[0] - sizes[1] == pytest.approx(saved, rel=0.05)
