"""Weights of their own for kinds of damage: experts that are merged for every picture.

    W = W_0 + sum_k g_k Delta_k,    (g_0, g_1, ..., g_K) = softmax(0, A f + b)

W_0 are a module's weights, Delta_k what the expert of kind k changes of them, and f what the model has seen and read by
then. g_k says how likely kind k is all that is wrong, g_0 that it is something else, or several things at once: those
are what W_0 is for. An expert learns one kind alone; several together lead far from what any of them is.

A mixture of experts of which the weights are mixed, not the outputs (Yang et al. 2019, "CondConv"): any number of them
takes hardly more time than none.

Shapes: K experts, P weights of the module, F features of the gate.
"""

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SELDOM = -4.0
"""What an unfitted gate says of every kind, before the softmax."""


class Experts(nn.Module):
    """Experts for the weights of a module.

    They start as nothing: Delta = 0, and a gate that says 0.02 of every kind.

    Args:
        kinds: of damage that have an expert (K).
        weights: P.
        features: F.
    """

    def __init__(self, kinds: Sequence[str], weights: int, features: int) -> None:
        super().__init__()
        self.kinds = tuple(kinds)
        self.gate = nn.Linear(features, len(kinds))
        nn.init.zeros_(self.gate.weight)
        nn.init.constant_(self.gate.bias, SELDOM)
        self.changes = nn.Parameter(torch.zeros(len(kinds), weights))
        """Delta (K, P), in the order of the module's parameters."""

    def gates(self, features: Tensor) -> Tensor:
        """How much of each expert a picture gets, in (0, 1), less than 1 in all (B, K), by features (B, F)."""
        return F.pad(self.gate(features), (1, 0)).softmax(dim=1)[:, 1:]

    def merged(self, base: Mapping[str, Tensor], gates: Tensor) -> list[dict[str, Tensor]]:
        """The weights W for every picture.

        Args:
            base: W_0 by name, P numbers in all.
            gates: g (B, K).
        """
        sizes = [weight.numel() for weight in base.values()]
        # for all pictures at once: in training each would add a gradient as large as all experts
        changes = zip(*(gates @ self.changes).split(sizes, dim=1), strict=True)
        return [
            {
                name: weight + change.view_as(weight)
                for (name, weight), change in zip(base.items(), picture, strict=True)
            }
            for picture in changes
        ]
