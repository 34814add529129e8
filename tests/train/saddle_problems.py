"""Two problems whose multipliers are known, solved the way the trainer solves its own."""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from cotir.train.multipliers import average_constraints, make
from cotir.train.objective import lagrangian

ONE = "plan"
"""The name of the only constraint."""


@dataclass(frozen=True)
class Trace:
    """A solver's path: lambda after, the constraint and the flow loss before every step."""

    multiplier: list
    constraint: list
    flow: list

    def append(self, multiplier, constraint, flow):
        self.multiplier.append(multiplier)
        self.constraint.append(constraint)
        self.flow.append(flow)


@dataclass(frozen=True)
class Point:
    """Where a path ends: its mean over the last steps."""

    multiplier: float
    constraint: float
    flow: float


def end(trace, steps=200):
    return Point(*(sum(path[-steps:]) / steps for path in (trace.multiplier, trace.constraint, trace.flow)))


def plane(multipliers, steps, optimizer="sgd"):
    """min (x - 2)^2 + (y - 1)^2 subject to x + y <= 1. The saddle point is (1, 0), lambda = 2, where the loss is 2."""
    point = torch.zeros(2, requires_grad=True)
    primal = torch.optim.SGD([point], lr=0.05) if optimizer == "sgd" else torch.optim.AdamW([point], lr=0.02)
    trace = Trace([], [], [])
    for _ in range(steps):
        flow = (point - torch.tensor([2.0, 1.0])).square().sum()
        terms = lagrangian(flow, {ONE: point.sum()}, {ONE: 1.0}, multipliers.values)
        primal.zero_grad()
        terms.loss.backward()
        primal.step()
        violated = average_constraints(terms.constraints)
        multipliers.ascend(violated)
        trace.append(multipliers[ONE], violated[ONE], terms.flow.item())
    return trace


@dataclass(frozen=True)
class Wedge:
    """Stay near a point while pointing within ``arccos(1 - delta)`` of a direction 60 degrees from it.

        min size (rest + |x - (1, 0)|^2)    subject to    1 - cos(x, (cos 60, sin 60)) + offset <= delta

    The flow loss and the cosine distance of the trainer, in two dimensions: the loss cannot fall below ``size rest``,
    as a flow loss cannot fall to zero, and the start points away from the target, as a fresh adapter does. At the
    solution x is the foot of the perpendicular from (1, 0) on the ray at angle theta = 60 degrees - arccos(1 - delta).
    """

    size: float = 1.0
    delta: float = 0.15
    rest: float = 1.0
    offset: float = 0.0

    @property
    def theta(self):
        return math.pi / 3 - math.acos(1 - self.delta)

    @property
    def multiplier(self):
        """d loss / d theta over - d distance / d theta."""
        return self.size * math.sin(2 * self.theta) / math.sin(math.pi / 3 - self.theta)

    @property
    def flow(self):
        return self.size * (self.rest + math.sin(self.theta) ** 2)


def solve(problems, steps, *, scaled=True, **options):
    """Solve by AdamW and ``pi``, all at once: AdamW treats every number on its own, so each could as well be alone.

    Gradients, flow losses (by a factor of 1.6 up or down) and distances (0.03) are noisy, as small batches make them.

    Args:
        problems: what to solve.
        steps: how often.
        scaled: tell ``pi`` the size of the flow loss.
        options: of ``pi``.
    """
    noise = torch.randn(steps, 4, generator=torch.Generator().manual_seed(0))
    points = torch.tensor([[0.5, -0.87]]).repeat(len(problems), 1).requires_grad_()
    direction = torch.tensor([[math.cos(math.pi / 3), math.sin(math.pi / 3)]])
    primal = torch.optim.AdamW([points], lr=1e-2, weight_decay=0)
    controllers = [make("pi", [ONE], **options) for _ in problems]
    size, rest, offset, delta = torch.tensor([[p.size, p.rest, p.offset, p.delta] for p in problems]).T
    traces = [Trace([], [], []) for _ in problems]
    for shake in noise:
        flow = size * (rest + (points - torch.tensor([1.0, 0.0])).square().sum(dim=1))
        constraint = 1 - F.cosine_similarity(points, direction) + offset - delta
        primal.zero_grad()
        (flow + torch.tensor([each[ONE] for each in controllers]) * constraint).sum().backward()
        points.grad += 0.5 * size[:, None] * shake[:2]
        primal.step()
        seen = (flow * (0.5 * shake[2]).exp()).tolist(), (constraint + 0.03 * shake[3]).tolist()
        for controller, seen_flow, seen_constraint in zip(controllers, *seen, strict=True):
            controller.ascend({ONE: seen_constraint}, scale=seen_flow if scaled else 1.0)
        for trace, *row in zip(traces, [c[ONE] for c in controllers], constraint.tolist(), flow.tolist(), strict=True):
            trace.append(*row)
    return traces
