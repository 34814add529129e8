"""TensorFlow's operations give what numpy and torch give, and say what they cannot do."""

import base64

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from small_graphs import SmallGraph

from cotir.errors import WeightsError
from cotir.evaluate.maxim import Maxim
from cotir.evaluate.tfjs import Node
from cotir.evaluate.tfjs_operations import OPERATIONS, operation

NUMPY = {
    "Abs": np.abs, "AddV2": np.add, "BiasAdd": np.add, "Exp": np.exp, "Floor": np.floor, "FloorDiv": np.floor_divide,
    "FloorMod": np.mod, "Greater": np.greater, "GreaterEqual": np.greater_equal, "Identity": np.copy, "Less": np.less,
    "LessEqual": np.less_equal, "Maximum": np.maximum, "Minimum": np.minimum, "Mul": np.multiply, "Neg": np.negative,
    "NotEqual": np.not_equal, "RealDiv": np.true_divide, "Reciprocal": np.reciprocal,
    "Relu": lambda x: np.where(x > 0, x, 0), "Rsqrt": lambda x: 1 / np.sqrt(x), "Sign": np.sign,
    "Sigmoid": lambda x: 1 / (1 + np.exp(-x)), "Square": np.square, "Sub": np.subtract, "Tanh": np.tanh,
}  # fmt: skip
ONE = {"Abs", "Exp", "Floor", "Identity", "Neg", "Reciprocal", "Relu", "Rsqrt", "Sign", "Sigmoid", "Square", "Tanh"}
"""Those of one operand."""


@pytest.fixture
def rng():
    return np.random.default_rng(7)


def random(rng, *shape):
    return rng.normal(size=shape).astype(np.float32)


def values(rng, height=64, width=64):
    return torch.from_numpy(rng.random((1, height, width, 3), dtype=np.float32))


def oihw(kernel):
    return torch.from_numpy(kernel).permute(3, 2, 0, 1)


@pytest.mark.parametrize("name", NUMPY)
def test_an_elementwise_operation_gives_what_numpy_gives(name, rng):
    left = random(rng, 4, 5)
    left = np.abs(left) if name == "Rsqrt" else left
    operands = [left] if name in ONE else [left, random(rng, 5)]
    got = OPERATIONS[name].run(Node("n", name, (), {}), *map(torch.from_numpy, operands))
    np.testing.assert_allclose(got.numpy(), NUMPY[name](*operands), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("equation", ["abcg,gf->abcf", "abgc,gf->abfc", "abgc,cf->abgf", "abcg,gf->afcb"])
def test_a_product_gives_what_the_equation_says(equation, rng):
    node = Node("n", "Einsum", (), {"equation": {"s": base64.b64encode(equation.encode()).decode()}})
    left, right = torch.from_numpy(random(rng, 2, 3, 5, 5)), torch.from_numpy(random(rng, 5, 4))
    torch.testing.assert_close(operation(node).run(node, left, right), torch.einsum(equation, left, right))


def test_convolutions_give_what_torch_gives(tmp_path, rng):
    graph = SmallGraph()
    first, down, up = random(rng, 3, 3, 3, 4), random(rng, 3, 3, 4, 6), random(rng, 2, 2, 3, 6)
    bias = random(rng, 4)
    hidden = graph.node("Relu", graph.node("BiasAdd", graph.convolution("x", first), graph.const(bias)))
    small = graph.convolution(hidden, down, stride=2)
    size = graph.node("Pack", *graph.size_of("x"), axis=0)
    settings = {"strides": [1, 2, 2, 1], "padding": "VALID", "data_format": "NHWC"}
    large = graph.node("Conv2DBackpropInput", size, graph.const(up), small, **settings)
    folder = graph.write(tmp_path, graph.node("Sigmoid", graph.node("AddV2", large, "x")), shards=3)

    x = values(rng, 64, 128)
    nchw = x.permute(0, 3, 1, 2)
    inner = F.conv2d(nchw, oihw(first), torch.from_numpy(bias), padding=1).relu()
    inner = F.conv2d(F.pad(inner, (0, 1, 0, 1)), oihw(down), stride=2)  # of an odd padding the larger half is last
    wanted = (F.conv_transpose2d(inner, oihw(up), stride=2) + nchw).sigmoid().permute(0, 2, 3, 1)
    torch.testing.assert_close(Maxim.load(folder).run(x), wanted)


def test_slices_sums_gathers_and_joins(tmp_path, rng):
    graph = SmallGraph()
    ends = [graph.ints([0, 0, 0, 1]), graph.ints([0, 0, 0, 3]), graph.ints([1, 1, 2, 1])]
    part = graph.node("StridedSlice", "x", *ends, begin_mask=7, end_mask=7)
    mean = graph.node("Sum", part, graph.ints([-1]), keep_dims=True)
    column = graph.node("ExpandDims", graph.node("Squeeze", mean, squeeze_dims=[3]), graph.ints(-1))
    joined = graph.node("ConcatV2", part, column, graph.ints(3))
    turned = graph.node("GatherV2", joined, graph.node("Range", graph.ints(2), graph.ints(-1), graph.ints(-1),
                        Tidx="DT_INT32"), graph.ints(3), batch_dims=0)  # fmt: skip
    positive = graph.node("Cast", graph.node("Greater", turned, graph.const(0.5)), DstT="DT_FLOAT")
    folder = graph.write(tmp_path, graph.node("SelectV2", graph.node("LogicalAnd", graph.node("Less", turned,
                         graph.const(1)), graph.node("Less", positive, graph.const(1))), turned, positive))  # fmt: skip
    x = values(rng)
    part = x[:, :, ::2, 1:3]
    turned = torch.cat([part, part.sum(-1, keepdim=True)], 3).flip(3)
    torch.testing.assert_close(Maxim.load(folder).run(x), torch.where(turned > 0.5, 1.0, turned))


CONVOLUTION = {"strides": [1, 1, 1, 1], "padding": "SAME"}


@pytest.mark.parametrize(
    ("operation", "given", "settings", "message"),
    [
        ("Conv2D", ["x", "kernel"], {"padding": "EXPLICIT"}, "pads by 'EXPLICIT' or is dilated"),
        ("Conv2D", ["x", "kernel"], {"dilations": [1, 2, 2, 1]}, "pads by 'SAME' or is dilated"),
        ("Conv2D", ["x", "kernel"], {"data_format": "NCHW"}, "works on NCHW; only NHWC"),
        ("Conv2DBackpropInput", ["size", "kernel", "x"], {"padding": "SAME"}, r"gives .* where \(1, 64, 64, 3\)"),
        ("Cast", ["x"], {"DstT": "DT_HALF"}, "makes DT_HALF; DT_FLOAT, DT_INT32, DT_BOOL can be run"),
        ("Reshape", ["x", "x"], {}, "takes a shape or an axis from the picture's content"),
    ],
)
def test_what_an_operation_cannot_do_is_said(tmp_path, rng, operation, given, settings, message):
    graph = SmallGraph()
    names = {"x": "x", "kernel": graph.const(random(rng, 3, 3, 3, 3)), "size": graph.ints([1, 64, 64, 3])}
    result = graph.node(operation, *(names[each] for each in given), **{**CONVOLUTION, **settings})
    with pytest.raises(WeightsError, match=message):
        Maxim.load(graph.write(tmp_path, result)).run(values(rng))
