import pytest
import torch

from cotir.backbones import NANO
from cotir.nano import CoTNanoTransformer2DModel
from cotir.skin import GatedConvBlock, ResidualConvBlock, ToneMap, smoothed

ROWS, COLUMNS = 3, 4


SHAPE = {"width": 8, "blocks": (1, 1, 1), "num_single_layers": 1, "num_attention_heads": 1}


SHAPES = {
    "gated": {},
    "tone": {"tone": True},
    "residual": {"block": "residual"},
    "experts": {"tone": True, "experts": ("noise", "jpeg")},
    "smooth": {"tone": True, "smooth": True},
}


@pytest.fixture(params=SHAPES.values(), ids=SHAPES)
def model(request):
    torch.manual_seed(0)
    return CoTNanoTransformer2DModel(**SHAPE, **request.param, joint_attention_dim=16, cot_depth=1).eval()


def run(model, target, reference, text, time, **options):
    return model(
        torch.cat([target, reference], dim=1),
        text,
        torch.full((len(target),), time),
        NANO.image_positions(ROWS, COLUMNS),
        NANO.text_positions(text.shape[1]),
        **options,
    )


@pytest.fixture
def tokens():
    generator = torch.Generator().manual_seed(1)
    target, reference = torch.randn(2, 2, ROWS * COLUMNS, 192, generator=generator)
    return target, reference, torch.randn(2, 5, 16, generator=generator)


@pytest.mark.parametrize("time", [1.0, 0.3])
def test_untrained_it_returns_its_input(model, tokens, time):
    target, reference, text = tokens
    velocity = run(model, target, reference, text, time).sample
    torch.testing.assert_close(target - time * velocity, reference, rtol=0, atol=1e-5)


def test_at_pure_noise_the_target_does_not_matter(model, tokens):
    target, reference, text = tokens
    torch.nn.init.normal_(model.exit.weight)
    clean = [noise - run(model, noise, reference, text, 1.0).sample for noise in (target, -target)]
    torch.testing.assert_close(*clean, rtol=0, atol=1e-4)


def test_text_and_reference_matter(model, tokens):
    target, reference, text = tokens
    torch.nn.init.normal_(model.exit.weight)
    velocity = run(model, target, reference, text, 1.0).sample
    assert not torch.allclose(velocity, run(model, target, reference, -text, 1.0).sample, atol=1e-4)
    assert not torch.allclose(velocity, run(model, target, -reference, text, 1.0).sample, atol=1e-4)


def test_reasoning_is_predicted_only_when_asked_for(model, tokens):
    target, reference, text = tokens
    silent = run(model, target, reference, text, 1.0)
    spoken = run(model, target, reference, text, 1.0, predict_reasoning=True)
    assert silent.reasoning.plan is None
    assert spoken.reasoning.scene.shape == spoken.reasoning.plan.shape == text.shape
    assert torch.equal(silent.sample, spoken.sample)


def test_every_parameter_learns(model, tokens):
    target, reference, text = tokens
    for gate in ("scene_gate", "degradation_gate", "plan_gate"):
        torch.nn.init.ones_(getattr(model.trunk.cot_adapter, gate))
    torch.nn.init.normal_(model.exit.weight)
    if model.tone_map is not None:
        torch.nn.init.normal_(model.tone_map.tell.weight)
    if model.expertise is not None:
        torch.nn.init.normal_(model.expertise.changes, std=0.1)
    output = run(model, target, reference, text, 0.5, predict_reasoning=True)
    thoughts = output.reasoning
    loss = sum(x.square().sum() for x in (output.sample, thoughts.scene, thoughts.degradation, thoughts.plan))
    loss.backward()
    assert [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_a_step_in_mixed_precision_is_near_the_one_in_float32(model, tokens):
    target, reference, text = tokens
    torch.nn.init.normal_(model.exit.weight, std=0.1)
    gradients = []
    for mixed in (False, True):
        model.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=mixed):
            output = run(model, target, reference, text, 0.5)
        output.sample.float().square().mean().backward()
        learned = [p.grad for p in model.parameters() if p.grad is not None]
        assert {gradient.dtype for gradient in learned} == {torch.float32}
        gradients.append(torch.cat([gradient.flatten() for gradient in learned]))
    assert torch.cosine_similarity(*gradients, dim=0) > 0.999
    torch.testing.assert_close(gradients[1].norm(), gradients[0].norm(), rtol=0.01, atol=0)


def test_all_features_of_the_skin_lie_channels_last(model, tokens):
    """One operation that loses the layout makes all that follow slow, and nothing else would tell."""
    lost = []
    for name, part in model.named_modules():
        if isinstance(part, GatedConvBlock | ResidualConvBlock):

            def look(_, inputs, output, name=name):
                lost.extend(name for x in (inputs[0], output) if not x.is_contiguous(memory_format=torch.channels_last))

            part.register_forward_hook(look)
    run(model, *tokens, 0.5)
    assert lost == []


@pytest.mark.parametrize("separable", [False, True])
def test_a_block_gates_one_half_of_its_convolution_by_the_other(separable):
    torch.manual_seed(0)
    block = GatedConvBlock(8, separable=separable)
    x = torch.randn(2, 8, 6, 5)
    wanted = x + block.out(torch.nn.functional.glu(block.conv(x), dim=1))
    for layout in (torch.contiguous_format, torch.channels_last):
        torch.testing.assert_close(block(x.contiguous(memory_format=layout)), wanted)


def test_a_residual_block_adds_rectified_features_that_the_condition_weighs():
    torch.manual_seed(0)
    block, x, condition = ResidualConvBlock(8, 5), torch.randn(2, 8, 6, 7), torch.randn(2, 5)
    assert block.gain is not None
    torch.testing.assert_close(block(x, condition), x + block.conv2(block.conv1(x).clamp_min(0)))
    torch.nn.init.constant_(block.gain.bias, 100.0)
    wanted = x + block.conv2(2 * block.conv1(x).clamp_min(0))
    torch.testing.assert_close(block(x, condition), wanted)
    torch.nn.init.constant_(block.gain.bias, -100.0)
    torch.testing.assert_close(block(x, condition), x + block.conv2(torch.zeros_like(x)))


@pytest.mark.parametrize("kind", [GatedConvBlock, ResidualConvBlock])
def test_a_block_keeps_the_residual_in_the_wider_dtype(kind):
    with torch.autocast("cpu", torch.bfloat16):
        assert kind(8)(torch.randn(1, 8, 4, 4)).dtype == torch.float32


@pytest.mark.parametrize(
    ("shape", "said"),
    [
        ({"block": "dense"}, "there is no block 'dense'; a nano has gated or residual ones"),
        ({"block": "residual", "separable": (False, True, True)}, "residual blocks are not separable"),
        ({"experts": ("noise", "jpg")}, "'jpg' in 'jpg' is none; write one"),
        ({"experts": ("noise", "jpeg", "noise")}, "and 'noise' is twice; leave one out"),
    ],
)
def test_a_shape_that_cannot_be_is_an_error(shape, said):
    with pytest.raises(ValueError, match=said):
        CoTNanoTransformer2DModel(**SHAPE, **shape)


def test_times_are_not_rounded_with_the_model(model, tokens):
    """0.9360 and 0.9370 are one number in bfloat16; the trunk tells them apart."""
    target, reference, text = (x.bfloat16() for x in tokens)
    sums = []
    model.trunk.register_forward_hook(lambda _, __, output: sums.append(output.sample))
    for time in (0.9360, 0.9370):
        run(model.bfloat16(), target, reference, text, time)
    assert not torch.equal(*sums)


def test_save_and_load_is_exact(model, tokens, tmp_path):
    target, reference, text = tokens
    torch.nn.init.normal_(model.exit.weight)
    model.save_pretrained(tmp_path)
    again = CoTNanoTransformer2DModel.from_pretrained(tmp_path)
    assert torch.equal(run(model, target, reference, text, 1.0).sample, run(again, target, reference, text, 1.0).sample)


@pytest.fixture
def tone_map():
    torch.manual_seed(0)
    return ToneMap(6, hidden=4)


@pytest.mark.parametrize(
    ("told", "wanted"),
    [
        ({}, lambda y: y),
        ({"curve": [0.5] * 3}, lambda y: y + 0.5 * y * (1 - y)),
        ({"gain": [0.7, 0.0, -0.7]}, lambda y: y * torch.tensor([0.7, 0.0, -0.7])[:, None, None].exp()),
        ({"mixture": [0, 1, 0, 0, 0, 0, 0, 0, 0]}, lambda y: torch.stack([y[:, 0] + y[:, 1], y[:, 1], y[:, 2]], 1)),
        ({"offset": [0.1, 0.0, 0.0]}, lambda y: y + torch.tensor([0.1, 0.0, 0.0])[:, None, None]),
    ],
    ids=["nothing", "curve", "gain", "mixture", "offset"],
)
def test_the_tone_map_does_what_it_is_told(told, wanted, tone_map):
    sizes = zip(("curve", "gain", "mixture", "offset"), ToneMap.PARTS, strict=True)
    numbers = [torch.tensor(told.get(name, [0.0] * size)) for name, size in sizes]
    with torch.no_grad():
        tone_map.tell.bias.copy_(torch.cat(numbers))
    y = torch.rand(2, 3, 16, 24, generator=torch.Generator().manual_seed(2))
    mapped = tone_map(2 * y - 1, torch.zeros(2, 2, 3, 6))
    # a gain is bounded softly, which a small one hardly feels
    torch.testing.assert_close((mapped + 1) / 2, wanted(y), rtol=0.02 if "gain" in told else 0, atol=1e-6)


def test_the_tone_map_changes_slowly_and_its_gain_is_bounded(tone_map):
    tokens = torch.randn(1, 2, 3, 6, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        tone_map.tell.weight[3:6].fill_(1e4)
        brightness = (tone_map(torch.zeros(1, 3, 16, 24), tokens) + 1) / 2
    assert 0.5 / 20.1 <= float(brightness.min()) < float(brightness.max()) <= 0.5 * 20.1
    steps = brightness.log().diff(dim=-1).abs()
    # from one bound to the other takes a whole token
    assert 0.5 < float(steps.max()) <= 2 * ToneMap.LARGEST / 8 + 1e-4


def test_a_smooth_way_up_draws_no_grid_on_what_is_flat():
    """Tokens that say the same everywhere: what cells differ by would be all that is seen."""
    for smooth in (True, False):
        torch.manual_seed(0)
        way_up = CoTNanoTransformer2DModel(**SHAPE, smooth=smooth)._way_up().requires_grad_(False)
        torch.nn.init.normal_(way_up.exit.weight)
        said = torch.randn(1, 1, 1, 128).expand(1, 8, 8, 128)
        skips = [torch.zeros(1, 8 * 2**level, 64 // 2**level, 64 // 2**level) for level in range(3)]
        inner = way_up(torch.zeros(1, 3, 64, 64), skips, said)[:, :, 24:40, 24:40]
        grid = inner - inner.mean(dim=(2, 3), keepdim=True)
        assert inner.abs().max() > 0.01 and (grid.abs().max() < 1e-4) == smooth


def test_smoothing_keeps_what_is_flat_and_slopes():
    rows, columns = torch.meshgrid(torch.arange(6.0), torch.arange(8.0), indexing="ij")
    slope = torch.stack([2 * rows + columns, torch.full((6, 8), 3.0)])[None]
    smooth = smoothed(slope)
    torch.testing.assert_close(smooth[..., 1:-1, 1:-1], slope[..., 1:-1, 1:-1])
    torch.testing.assert_close(smooth[:, 1], slope[:, 1])
