"""MAXIM's runner: spelled-out graphs give what torch gives, for pictures of any size."""

import os
from math import pi, sqrt
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from small_graphs import SmallGraph, write_line

from cotir.errors import ImageError, WeightsError
from cotir.evaluate.maxim import Maxim, plan
from cotir.evaluate.tfjs import Graph


@pytest.fixture
def rng():
    return np.random.default_rng(7)


def picture(rng, height=64, width=64):
    return rng.integers(0, 256, (height, width, 3), dtype=np.uint8)


def random(rng, *shape):
    return rng.normal(size=shape).astype(np.float32)


def values(rng, height=64, width=64):
    return torch.from_numpy(rng.random((1, height, width, 3), dtype=np.float32))


@pytest.mark.parametrize("size", [(64, 64), (128, 64)])
def test_shapes_are_worked_out_from_the_pictures_size(tmp_path, rng, size):
    """Rows of blocks are swapped with rows in a block, as MAXIM does it, by a graph that computes every number."""
    graph = SmallGraph()
    n, h, w, c = graph.size_of("x")
    eight = graph.ints(8)
    split = graph.node("Pack", n, graph.node("FloorDiv", h, eight), eight, w, c, axis=0)
    swapped = graph.node("Transpose", graph.node("Reshape", "x", split), graph.ints([0, 2, 1, 3, 4]))
    folder = graph.write(tmp_path, graph.node("Reshape", swapped, graph.node("Pack", n, h, w, c, axis=0)))
    x = values(rng, *size)
    wanted = x.reshape(1, size[0] // 8, 8, size[1], 3).transpose(1, 2).reshape(x.shape)
    torch.testing.assert_close(Maxim.load(folder).run(x), wanted, rtol=0, atol=0)


def test_layer_norm_and_gelu_are_found_and_computed_at_once(tmp_path, rng):
    weight, bias = random(rng, 3), random(rng, 3)
    graph = SmallGraph()
    folder = graph.write(tmp_path, graph.gelu(graph.layer_norm("x", weight, bias, 1e-4)))
    steps = plan(Graph.load(folder), (1, 64, 64, 3)).steps
    assert [step.label for step in steps] == ["LayerNorm", "Gelu", "Identity"]
    x = values(rng)
    normed = F.layer_norm(x, (3,), torch.from_numpy(weight), torch.from_numpy(bias), 1e-4)
    torch.testing.assert_close(Maxim.load(folder).run(x), F.gelu(normed, approximate="tanh"))


def test_what_only_looks_like_a_gelu_is_computed_as_it_is_written(tmp_path, rng):
    graph = SmallGraph()
    folder = graph.write(tmp_path, graph.gelu("x", half=0.6))
    assert "Gelu" not in [step.label for step in plan(Graph.load(folder), (1, 64, 64, 3)).steps]
    x = values(rng)
    wanted = 0.6 * x * (1 + torch.tanh(sqrt(2 / pi) * (x + 0.044715 * x**3)))
    torch.testing.assert_close(Maxim.load(folder).run(x), wanted)


def test_what_the_result_does_not_need_is_not_computed_and_what_no_step_needs_is_forgotten(tmp_path):
    graph = SmallGraph()
    square = graph.node("Square", "x")
    graph.node("Exp", square)
    folder = graph.write(tmp_path, graph.node("AddV2", square, "x"))
    found = plan(Graph.load(folder), (1, 64, 64, 3))
    assert [step.label for step in found.steps] == ["Square", "AddV2", "Identity"]
    assert [set(names) for names in found.forgotten] == [set(), {square, "x"}, {found.steps[1].name}]


@pytest.mark.parametrize("size", [(1, 1), (1, 90), (5, 7), (31, 200), (64, 64), (65, 63)])
def test_a_picture_of_any_size_comes_back_in_its_size_clipped(tmp_path, rng, size):
    image = picture(rng, *size)
    result = Maxim.load(write_line(tmp_path, 3.0, -1.0))(image)
    assert (result.shape, result.dtype) == (image.shape, np.uint8)
    np.testing.assert_array_equal(result, np.clip(image.astype(int) * 3 - 255, 0, 255))


def test_a_large_picture_is_computed_in_windows(tmp_path, rng, monkeypatch):
    computed, run = [], Maxim.run

    def watched(self, part):
        computed.append(tuple(part.shape[1:3]))
        return run(self, part)

    monkeypatch.setattr(Maxim, "run", watched)
    image = picture(rng, 700, 520)
    result = Maxim.load(write_line(tmp_path, 3.0, -1.0))(image)
    np.testing.assert_array_equal(result, np.clip(image.astype(int) * 3 - 255, 0, 255))
    assert len(computed) == 4 and set(computed) == {(384, 320)}


@pytest.mark.parametrize("size", [(20, 33), (70, 64)])
def test_beyond_the_right_and_lower_border_a_picture_is_mirrored(tmp_path, rng, size):
    graph = SmallGraph()
    box = np.zeros((3, 3, 3, 3), np.float32)
    for channel in range(3):
        box[:, :, channel, channel] = 1 / 9
    image = picture(rng, *size)
    result = Maxim.load(graph.write(tmp_path, graph.convolution("x", box)))(image)
    mirrored = np.pad(image.astype(float), ((1, 1), (1, 1), (0, 0)), mode="reflect")
    wanted = np.lib.stride_tricks.sliding_window_view(mirrored, (3, 3), (0, 1)).mean((-2, -1))
    inner = np.s_[1 : 63 if size[0] > 63 else None, 1 : 63 if size[1] > 63 else None]
    assert np.abs(result.astype(float) - wanted)[inner].max() <= 0.5 + 1e-3


def test_a_size_is_planned_once_and_few_plans_are_kept(tmp_path, rng, monkeypatch):
    planned = []

    def counted(graph, shape):
        planned.append(shape[1])
        return plan(graph, shape)

    monkeypatch.setattr("cotir.evaluate.maxim.plan", counted)
    model = Maxim.load(write_line(tmp_path, 1.0, 0.0))
    for side in (64, 60, 128, 192, 256, 256, 320, 64):
        model(picture(rng, side, 64))
    assert planned == [64, 128, 192, 256, 320, 64]


@pytest.mark.parametrize("image", [np.zeros((8, 8), np.uint8), np.zeros((8, 8, 3)), np.zeros((0, 8, 3), np.uint8)])
def test_no_picture_is_an_error(tmp_path, image):
    with pytest.raises(ImageError, match=r"MAXIM takes uint8 \(H, W, 3\), but was given"):
        Maxim.load(write_line(tmp_path, 1.0, 0.0))(image)


def test_a_model_whose_result_is_of_another_size_is_an_error(tmp_path, rng):
    graph = SmallGraph()
    folder = graph.write(tmp_path, graph.convolution("x", random(rng, 1, 1, 3, 3), stride=2))
    with pytest.raises(WeightsError, match=r"made \(1, 32, 32, 3\) of \(1, 64, 64, 3\)"):
        Maxim.load(folder)(picture(rng))


def test_a_model_that_does_not_look_at_the_picture_is_an_error(tmp_path, rng):
    graph = SmallGraph()
    folder = graph.write(tmp_path, graph.node("Cast", graph.node("Shape", "x"), DstT="DT_FLOAT"))
    with pytest.raises(WeightsError, match="does not depend on the picture"):
        Maxim.load(folder).run(values(rng))


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.skipif("COTIR_MAXIM" not in os.environ, reason="COTIR_MAXIM names no folder of MAXIM's weights")
def test_the_real_denoiser_takes_noise_away(rng):
    modules = Path(os.environ["COTIR_MAXIM"]) / "node_modules/@upscalerjs"
    rows = np.linspace(40, 200, 70)[:, None, None] + np.zeros((1, 64, 3))
    noisy = np.clip(rows + rng.normal(0, 20, rows.shape), 0, 255).round().astype(np.uint8)
    restored = Maxim.load(modules / "maxim-denoising/models")(noisy)
    assert np.std(restored - rows) < 0.35 * np.std(noisy - rows)
