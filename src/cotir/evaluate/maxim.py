"""MAXIM, restorers for one kind of damage each, run in PyTorch from the weights in npm's ``@upscalerjs/maxim-*``.

MAXIM (Tu et al., "MAXIM: Multi-Axis MLP for Image Processing", CVPR 2022) was exported to TensorFlow.js with a graph
that computes its own shapes: most of its nodes depend on the picture's size alone. So a size is planned once, which
leaves a list of steps on the picture, and the plan is followed for every picture of that size.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from cotir.colour import unit
from cotir.errors import ImageError, WeightsError
from cotir.evaluate.methods import Pixels
from cotir.evaluate.tfjs import Graph, Node
from cotir.evaluate.tfjs_operations import operation
from cotir.image import quantise
from cotir.tiling import Blend, windows

MULTIPLE = 64
"""Height and width a model takes are multiples of this: three halvings, then blocks of eight."""
WINDOW, OVERLAP = 512, 64
"""Largest side of what a model computes at once, and what windows of a larger picture share: memory grows with the area
(on 256 px 0.8 GB above the weights)."""
_PLANS_KEPT = 4
_UNCOMPUTED = ("Placeholder", "Const", "Shape")

Given = str | Tensor
"""What a step is given: the name of an earlier result, or a constant."""
Pattern = str | tuple[Any, ...]
"""An operation over patterns, as in ``("Mul", "x", "#half")``; a word stands for any result, with ``#`` for any
constant."""


@dataclass(frozen=True, eq=False)
class Step:
    """One computation on the picture."""

    name: str
    label: str
    """The operation; of a sum with its axes: ``Sum[3]``."""
    run: Callable[..., Tensor]
    given: tuple[Given, ...]


@dataclass(frozen=True, eq=False)
class Plan:
    """What is computed for pictures of one size."""

    input: str
    output: str
    steps: tuple[Step, ...]
    forgotten: tuple[tuple[str, ...], ...]
    """After each step, the results that no later step is given."""

    def follow(self, picture: Tensor) -> Tensor:
        """Compute the result for ``picture``."""
        results = {self.input: picture}
        for step, forgotten in zip(self.steps, self.forgotten, strict=True):
            results[step.name] = step.run(*(results[each] if isinstance(each, str) else each for each in step.given))
            for name in forgotten:
                del results[name]
        return results[self.output]


class Maxim:
    """A restorer for one kind of damage."""

    def __init__(self, graph: Graph) -> None:
        for node in graph.nodes:
            if node.operation not in _UNCOMPUTED:
                operation(node)
        self._graph = graph
        self._plans: dict[tuple[int, ...], Plan] = {}

    @classmethod
    def load(cls, folder: Path | str) -> "Maxim":
        """Read a model from ``node_modules/@upscalerjs/maxim-.../models``, or any with one picture in and one out.

        Raises:
            WeightsError: it is missing, incomplete or quantised, or uses an operation that is not known.
        """
        return cls(Graph.load(folder))

    def __call__(self, image: Pixels) -> Pixels:
        """Restore a picture.

        Args:
            image: uint8 (H, W, 3), sRGB-encoded, of any size. It is mirrored to the next multiple of 64 on the right
                and below, over and over where it is smaller than that, and the result is cut and clipped. One larger
            than :data:`WINDOW` is computed in windows, which the published code does not do.

        Returns:
            A new picture of the same shape and type.

        Raises:
            ImageError: it is no such picture.
            WeightsError: the model cannot be run on it.
        """
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or image.size == 0:
            raise ImageError(f"MAXIM takes uint8 (H, W, 3), but was given {image.dtype} {image.shape}")
        height, width = image.shape[:2]
        padded = np.pad(unit(image), ((0, -height % MULTIPLE), (0, -width % MULTIPLE), (0, 0)), mode="reflect")
        result = self._run_in_windows(torch.from_numpy(padded)[None])
        if result.shape != (1, *padded.shape):
            raise WeightsError(f"the model in {self._graph.folder} made {tuple(result.shape)} of {(1, *padded.shape)}")
        return cast(Pixels, quantise(result[0, :height, :width].numpy(), 8))

    def _run_in_windows(self, picture: Tensor) -> Tensor:
        """As :meth:`run`, in as many windows as the picture needs."""
        height, width = picture.shape[1:3]
        places = windows(height, width, WINDOW, OVERLAP, MULTIPLE)
        if len(places) == 1:
            return self.run(picture)
        blend = Blend(1, height, width, OVERLAP)
        for place in places:
            part = self.run(place.cut(picture.movedim(3, 1)).movedim(1, 3))
            if part.shape != (1, place.height, place.width, 3):
                return part  # which the caller refuses
            blend.add(place, part.movedim(3, 1))
        return blend.result().movedim(1, 3)

    @torch.inference_mode()
    def run(self, picture: Tensor) -> Tensor:
        """The model itself.

        Args:
            picture: float32 (1, H, W, 3) in [0, 1]; H and W are multiples of 64.

        Returns:
            float32 of the same shape, not clipped: it may leave [0, 1].
        """
        shape = tuple(picture.shape)
        if shape not in self._plans:
            while len(self._plans) >= _PLANS_KEPT:
                del self._plans[next(iter(self._plans))]
            self._plans[shape] = plan(self._graph, shape)
        return self._plans[shape].follow(picture)


def plan(graph: Graph, shape: Sequence[int]) -> Plan:
    """Work out the steps for pictures of ``shape``.

    What depends on the size alone is computed now. The rest runs on tensors without content, for their shapes.

    Raises:
        WeightsError: the result does not depend on the picture, or a shape depends on the picture's content.
    """
    fixed: dict[str, Tensor] = {}
    shapes = {graph.input: torch.empty(tuple(shape), device="meta")}
    steps: list[Step] = []
    for node in graph.nodes:
        if node.operation == "Placeholder":
            continue
        if node.operation == "Const":
            fixed[node.name] = graph.weights[node.name]
        elif node.operation == "Shape":
            size = (shapes if node.inputs[0] in shapes else fixed)[node.inputs[0]].shape
            fixed[node.name] = torch.tensor(size, dtype=torch.int32)
        else:
            step = _step(node, fixed, shapes)
            if any(isinstance(each, str) for each in step.given):
                steps.append(step)
                shapes[node.name] = step.run(*(_shape_of(each, shapes) for each in step.given))
            else:
                fixed[node.name] = step.run(*step.given)
    if graph.output not in shapes:
        raise WeightsError(f"the result of the model in {graph.folder} does not depend on the picture")
    return _plan_of(_fuse(steps, shapes), graph)


def _step(node: Node, fixed: Mapping[str, Tensor], shapes: Mapping[str, Tensor]) -> Step:
    """A node with its numbers filled in, to be given tensors alone."""
    known = operation(node)
    numbers: dict[int, Any] = {}
    given: list[Given] = []
    for position, name in enumerate(node.inputs):
        if not known.takes_number(position, len(node.inputs)):
            given.append(name if name in shapes else fixed[name])
        elif name in fixed:
            numbers[position] = fixed[name].tolist()
        else:
            raise WeightsError(f"{node.name!r} takes a shape or an axis from the picture's content; it cannot be run")

    def run(*tensors: Tensor) -> Tensor:
        values = iter(tensors)
        return known.run(node, *(numbers[i] if i in numbers else next(values) for i in range(len(node.inputs))))

    return Step(node.name, f"Sum{numbers[1]}" if node.operation == "Sum" else node.operation, run, tuple(given))


def _shape_of(given: Given, shapes: Mapping[str, Tensor]) -> Tensor:
    return shapes[given] if isinstance(given, str) else torch.empty_like(given, device="meta")


def _plan_of(steps: Sequence[Step], graph: Graph) -> Plan:
    """Leave out the steps that the result does not need, and note when each result is needed last."""
    needed = {graph.output}
    kept: list[Step] = []
    forgotten: list[tuple[str, ...]] = []
    for step in reversed(steps):
        if step.name in needed:
            names = {each for each in step.given if isinstance(each, str)}
            kept.append(step)
            forgotten.append(tuple(names - needed))
            needed |= names
    return Plan(graph.input, graph.output, tuple(reversed(kept)), tuple(reversed(forgotten)))


_MEAN = ("Mul", ("Sum[3]", "x"), "#share")
_VARIANCE = ("Maximum", ("Sub", ("Mul", ("Sum[3]", ("Square", "x")), "#share of squares"), ("Square", _MEAN)), "#zero")
_DEVIATION = ("Sub", "x", ("Reshape", _MEAN))
_SLOPE = ("Mul", ("Rsqrt", ("AddV2", ("Reshape", _VARIANCE), "#epsilon")), "#weight")
LAYER_NORM: Pattern = ("AddV2", ("Mul", _DEVIATION, _SLOPE), "#bias")
"""(x - mean) * weight / sqrt(variance + epsilon) + bias over the last axis, with variance = mean(x^2) - mean(x)^2."""

_CUBE = ("Mul", ("Mul", "x", "#cubic"), ("Square", "x"))
_TANH = ("Tanh", ("Mul", ("AddV2", "x", _CUBE), "#linear"))
GELU: Pattern = ("Mul", ("Mul", "x", "#half"), ("AddV2", _TANH, "#one"))
"""x / 2 * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 x^3))): GELU in its approximation by tanh (Hendrycks, Gimpel 2016)."""


def _fuse(steps: Sequence[Step], shapes: Mapping[str, Tensor]) -> list[Step]:
    """Compute layer norms and GELUs, which the graph spells out, by one call each: the same result in half the time."""
    by_name = {step.name: step for step in steps}
    fused = []
    for step in steps:
        parts = match(LAYER_NORM, step.name, by_name)
        if parts is not None and _is_layer_norm(parts, shapes):
            epsilon = float(parts["#epsilon"])
            given = (parts["x"], parts["#weight"].reshape(-1), parts["#bias"].reshape(-1))
            fused.append(Step(step.name, "LayerNorm", _layer_norm(epsilon), given))
            continue
        parts = match(GELU, step.name, by_name)
        if parts is not None and _is_gelu(parts):
            fused.append(Step(step.name, "Gelu", lambda x: F.gelu(x, approximate="tanh"), (parts["x"],)))
            continue
        fused.append(step)
    return fused


def match(
    pattern: Pattern, given: Given, steps: Mapping[str, Step], found: Mapping[str, Any] | None = None
) -> dict[str, Any] | None:
    """What the words of ``pattern`` stand for where ``given`` is computed in that way, or None.

    The operands of sums, products and the like may stand in either order.
    """
    found = dict(found or {})
    if isinstance(pattern, str):
        fits = isinstance(given, Tensor if pattern.startswith("#") else str)
        same = pattern not in found or found[pattern] is given or found[pattern] == given
        return {**found, pattern: given} if fits and same else None
    step = steps.get(given) if isinstance(given, str) else None
    label, *parts = pattern
    if step is None or step.label != label or len(step.given) != len(parts):
        return None
    for order in permutations(step.given) if label in ("AddV2", "Mul", "Maximum") else [step.given]:
        so_far: dict[str, Any] | None = found
        for part, each in zip(parts, order, strict=True):
            so_far = match(part, each, steps, so_far) if so_far is not None else None
        if so_far is not None:
            return so_far
    return None


def _layer_norm(epsilon: float) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    return lambda x, weight, bias: F.layer_norm(x, (x.shape[-1],), weight, bias, epsilon)


def _is_layer_norm(parts: Mapping[str, Any], shapes: Mapping[str, Tensor]) -> bool:
    """Whether the constants are those of a layer norm over the last of four axes."""
    *_, channels = size = shapes[parts["x"]].shape
    return (
        len(size) == 4
        and all(_close(parts[word], 1 / channels) for word in ("#share", "#share of squares"))
        and _close(parts["#zero"], 0)
        and parts["#epsilon"].numel() == 1
        and all(parts[word].numel() == channels == parts[word].shape[-1] for word in ("#weight", "#bias"))
    )


def _is_gelu(parts: Mapping[str, Any]) -> bool:
    wanted = {"#half": 0.5, "#cubic": 0.044715, "#linear": (2 / np.pi) ** 0.5, "#one": 1.0}
    return all(_close(parts[word], value) for word, value in wanted.items())


def _close(constant: Tensor, value: float) -> bool:
    return constant.numel() == 1 and abs(float(constant) - value) < 1e-6
