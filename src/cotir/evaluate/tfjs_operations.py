"""TensorFlow's operations in PyTorch, those a restorer exported to TensorFlow.js consists of.

Pictures stay (N, H, W, C) between operations. An operation takes tensors and numbers: a shape, an axis or a bound comes
to it as plain integers, so that it can also run on tensors without content, where only the resulting shape is wanted.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from cotir.errors import WeightsError
from cotir.evaluate.tfjs import Node

_TYPES = {"DT_FLOAT": torch.float32, "DT_INT32": torch.int32, "DT_BOOL": torch.bool}


@dataclass(frozen=True)
class Operation:
    """How an operation is computed."""

    run: Callable[..., Tensor]
    """Takes the node, then its inputs: tensors, or integers for those in ``numbers``."""
    numbers: tuple[int, ...] = ()
    """Which inputs are numbers; -1 is the last."""

    def takes_number(self, position: int, count: int) -> bool:
        """Whether the input at ``position`` of ``count`` is numbers."""
        return position in self.numbers or position - count in self.numbers


OPERATIONS: dict[str, Operation] = {}
"""By TensorFlow's name. ``Placeholder``, ``Const`` and ``Shape`` are not computed and stand elsewhere."""


def operation(node: Node) -> Operation:
    """The operation of a node.

    Raises:
        WeightsError: it is not known.
    """
    if node.operation not in OPERATIONS:
        raise WeightsError(
            f"the model uses the operation {node.operation} (node {node.name!r}), which cannot be run here; "
            f"known are {', '.join(sorted(OPERATIONS))}"
        )
    return OPERATIONS[node.operation]


def _elementwise(function: Callable[..., Tensor]) -> Operation:
    return Operation(lambda node, *values: function(*values))


OPERATIONS |= {
    name: _elementwise(function)
    for name, function in {
        "Abs": torch.abs,
        "AddV2": torch.add,
        "BiasAdd": torch.add,  # its bias lies along the last axis, where broadcasting looks for it
        "Exp": torch.exp,
        "Floor": torch.floor,
        "FloorDiv": torch.floor_divide,
        "FloorMod": torch.remainder,
        "Greater": torch.gt,
        "GreaterEqual": torch.ge,
        "Identity": lambda value: value,
        "Less": torch.lt,
        "LessEqual": torch.le,
        "LogicalAnd": torch.logical_and,
        "Maximum": torch.maximum,
        "Minimum": torch.minimum,
        "Mul": torch.mul,
        "Neg": torch.neg,
        "NotEqual": torch.ne,
        "RealDiv": torch.true_divide,
        "Reciprocal": torch.reciprocal,
        "Relu": torch.relu,
        "Rsqrt": torch.rsqrt,
        "SelectV2": torch.where,
        "Sigmoid": torch.sigmoid,
        "Sign": torch.sign,
        "Square": torch.square,
        "Sub": torch.sub,
        "Tanh": torch.tanh,
    }.items()
}


def _named(name: str, *numbers: int) -> Callable[[Callable[..., Tensor]], Callable[..., Tensor]]:
    def enter(run: Callable[..., Tensor]) -> Callable[..., Tensor]:
        OPERATIONS[name] = Operation(run, numbers)
        return run

    return enter


@_named("Cast")
def _cast(node: Node, value: Tensor) -> Tensor:
    return value.to(_type(node, "DstT"))


@_named("Range", 0, 1, 2)
def _range(node: Node, start: Any, stop: Any, step: Any) -> Tensor:
    return torch.arange(start, stop, step, dtype=_type(node, "Tidx"))


@_named("Pack")
def _pack(node: Node, *values: Tensor) -> Tensor:
    return torch.stack(values, node.integer("axis"))


@_named("ConcatV2", -1)
def _concatenate(_: Node, *values: Any) -> Tensor:
    return torch.cat(values[:-1], values[-1])


@_named("Sum", 1)
def _sum(node: Node, value: Tensor, axes: Any) -> Tensor:
    return value.sum(axes, keepdim=node.flag("keep_dims"), dtype=value.dtype)


@_named("Reshape", 1)
def _reshape(_: Node, value: Tensor, shape: list[int]) -> Tensor:
    return value.reshape(shape)


@_named("BroadcastTo", 1)
def _broadcast(_: Node, value: Tensor, shape: list[int]) -> Tensor:
    return value.broadcast_to(shape)


@_named("Transpose", 1)
def _transpose(_: Node, value: Tensor, axes: list[int]) -> Tensor:
    return value.permute(axes)


@_named("ExpandDims", 1)
def _expand(_: Node, value: Tensor, axis: int) -> Tensor:
    return value.unsqueeze(axis)


@_named("Squeeze")
def _squeeze(node: Node, value: Tensor) -> Tensor:
    axes = node.integers("squeeze_dims")
    return value.squeeze(tuple(axes)) if axes else value.squeeze()


@_named("GatherV2", 2)
def _gather(_: Node, value: Tensor, indices: Tensor, axis: int) -> Tensor:
    return value.index_select(axis, indices)


@_named("StridedSlice", 1, 2, 3)
def _strided_slice(node: Node, value: Tensor, begin: Sequence[int], end: Sequence[int], step: Sequence[int]) -> Tensor:
    """A mask has a bit for every axis: take it from its start, to its end, all axes here, a new one, a single place."""

    def masked(mask: str, axis: int) -> bool:
        return bool(node.integer(mask) >> axis & 1)

    places: list[Any] = []
    for axis, (first, last, stride) in enumerate(zip(begin, end, step, strict=True)):
        if masked("ellipsis_mask", axis):
            places.append(...)
        elif masked("new_axis_mask", axis):
            places.append(None)
        elif masked("shrink_axis_mask", axis):
            places.append(first)
        else:
            start = None if masked("begin_mask", axis) else first
            places.append(slice(start, None if masked("end_mask", axis) else last, stride))
    return value[tuple(places)]


@_named("Conv2D")
def _convolve(node: Node, value: Tensor, kernel: Tensor) -> Tensor:
    """Kernel (h, w, in, out). ``SAME`` pads to ceil(size / stride), the odd pixel right and below."""
    strides, padding = _strides(node), node.text("padding")
    if padding not in ("SAME", "VALID") or any(each != 1 for each in node.integers("dilations")):
        raise WeightsError(f"the convolution {node.name!r} pads by {padding!r} or is dilated, which cannot be run here")
    before, after = [0, 0], [0, 0]
    if padding == "SAME":
        for axis in (0, 1):
            size, reach = value.shape[axis + 1], kernel.shape[axis]
            missing = max((-(-size // strides[axis]) - 1) * strides[axis] + reach - size, 0)
            before[axis], after[axis] = missing // 2, missing - missing // 2
    picture = value.permute(0, 3, 1, 2)
    if before != after:
        picture = F.pad(picture, (before[1], after[1], before[0], after[0]))
        before = [0, 0]
    return F.conv2d(picture, kernel.permute(3, 2, 0, 1), None, strides, before).permute(0, 2, 3, 1)


@_named("Conv2DBackpropInput", 0)
def _convolve_transposed(node: Node, shape: list[int], kernel: Tensor, value: Tensor) -> Tensor:
    """Kernel (h, w, out, in)."""
    picture = F.conv_transpose2d(value.permute(0, 3, 1, 2), kernel.permute(3, 2, 0, 1), None, _strides(node))
    result = picture.permute(0, 2, 3, 1)
    if node.text("padding") != "VALID" or list(result.shape) != shape:
        raise WeightsError(
            f"the transposed convolution {node.name!r} gives {tuple(result.shape)} where {tuple(shape)} is wanted; "
            "only such that neither pad nor cut can be run here"
        )
    return result


@_named("Einsum")
def _einsum(node: Node, left: Tensor, right: Tensor) -> Tensor:
    """The two products MAXIM consists of as matrix products, which are faster; others as they are."""
    equation = node.text("equation")
    terms, result = equation.split("->")
    value, weight = terms.split(",")
    if len(weight) == 2 and weight[0] == value[-1] and result == value[:-1] + weight[1]:
        return F.linear(left, right.t())
    if len(weight) == 2 and weight[0] == value[-2] and result == value[:-2] + weight[1] + value[-1]:
        return torch.matmul(right.t(), left)
    return torch.einsum(equation, left, right)


def _strides(node: Node) -> list[int]:
    if node.text("data_format") not in ("", "NHWC"):
        raise WeightsError(f"{node.name!r} works on {node.text('data_format')}; only NHWC can be run here")
    return node.integers("strides")[1:3]


def _type(node: Node, key: str) -> torch.dtype:
    if node.type(key) not in _TYPES:
        raise WeightsError(f"{node.name!r} makes {node.type(key)}; {', '.join(_TYPES)} can be run here")
    return _TYPES[node.type(key)]
