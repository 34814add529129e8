"""Weights of their own for kinds of damage: experts that are merged for every picture.

    W = W_0 + sum_k g_k Delta_k,    (g_0, g_1, ..., g_K) = softmax(0, A f + b)

W_0 are a module's weights, Delta_k what expert k changes of them, and f what the model has seen and read by then. g_k
says how likely the damage is what expert k is for (:class:`Scope`), g_0 that it is anything else: that is what W_0 is
for. What experts have learned of different damage leads, added up, far from what any of them is; so each picture has
one, and the gate says which.

A mixture of experts of which the weights are mixed, not the outputs (Yang et al. 2019, "CondConv"): any number of them
takes hardly more time than none.

Shapes: K experts, P weights of the module, F features of the gate.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cotir.phrase_bank import KINDS

SELDOM = -4.0
"""What an unfitted gate says of every expert, before the softmax."""
OPEN = 30.0
"""What a gate says of an expert that it gives every picture."""
BLOCK = 256
"""Weights that are packed by the largest of them."""
STEPS = 127
"""Of a packed weight, either way from zero."""


@dataclass(frozen=True)
class Scope:
    """What an expert is for.

    Written ``haze`` for haze alone, ``haze+`` for haze among other kinds, and ``haze/nonhomogeneous_haze+`` for any
    of several. Of experts in a row a picture belongs to the first that has it in its scope.
    """

    kinds: frozenset[str]
    mixed: bool
    """Whether other kinds are there as well."""

    @classmethod
    def of(cls, name: str) -> "Scope":
        """Read a scope as it is written.

        Raises:
            ValueError: it names no kind of damage.
        """
        kinds = name.removesuffix("+").split("/")
        wrong = [kind for kind in kinds if kind not in KINDS]
        if wrong:
            raise ValueError(
                f"an expert is for kinds of damage, and {wrong[0]!r} in {name!r} is none; write one (haze), one among "
                f"others (haze+) or any of several among others (rain/snow+): {', '.join(KINDS)}"
            )
        return cls(frozenset(kinds), name.endswith("+"))

    def has(self, damage: Collection[str]) -> bool:
        """Whether the kinds of damage of a picture are in this scope."""
        return not self.kinds.isdisjoint(damage) and (len(damage) > 1) is self.mixed


class Experts(nn.Module):
    """Experts for the weights of a module.

    They start as nothing: Delta = 0, and a gate that says 0.02 of every one.

    Args:
        names: of the experts, which say what each is for (:class:`Scope`) (K).
        weights: P.
        features: F.
        packed: whether Delta is kept in bytes and cannot be trained: every number as 127ths of the largest of its
            256, in half the room of half precision.

    Raises:
        ValueError: a name is no scope, or is there twice.
    """

    codes: Tensor
    """Delta in bytes (K, P / 256, 256), where it is packed, and"""
    largest: Tensor
    """the largest of every 256 (K, P / 256)."""

    def __init__(self, names: Sequence[str], weights: int, features: int, *, packed: bool = False) -> None:
        super().__init__()
        self.names = tuple(names)
        self.scopes = tuple(map(Scope.of, names))
        twice = [name for name in names if self.names.count(name) > 1]
        if twice:
            raise ValueError(f"an expert is there once, and {twice[0]!r} is twice; leave one out")
        self.gate = nn.Linear(features, len(names))
        nn.init.zeros_(self.gate.weight)
        nn.init.constant_(self.gate.bias, SELDOM)
        self.weights = weights
        self.packed = packed
        if packed:
            blocks = -(-weights // BLOCK)
            self.register_buffer("codes", torch.zeros(len(names), blocks, BLOCK, dtype=torch.int8))
            self.register_buffer("largest", torch.zeros(len(names), blocks))
        else:
            self.changes = nn.Parameter(torch.zeros(len(names), weights))
            """Delta (K, P), in the order of the module's parameters."""

    def scope(self, damage: Collection[str]) -> int | None:
        """The place of the expert that the damage of a picture belongs to; None where it is for the base."""
        return next((place for place, scope in enumerate(self.scopes) if scope.has(damage)), None)

    def gates(self, features: Tensor) -> Tensor:
        """How much of each expert a picture gets, in (0, 1), less than 1 in all (B, K), by features (B, F)."""
        return F.pad(self.gate(features), (1, 0)).softmax(dim=1)[:, 1:]

    @torch.no_grad()
    def stand_open(self) -> None:
        """Let every picture through, to all of them alike: so that a single one can be trained alone."""
        self.gate.weight.zero_()
        self.gate.bias.fill_(OPEN)

    def learned(self) -> Tensor:
        """Delta (K, P) in floating point, packed or not."""
        if not self.packed:
            return self.changes.detach()
        return (self.codes * (self.largest / STEPS)[..., None]).flatten(1)[:, : self.weights]

    @torch.no_grad()
    def learn(self, changes: Tensor) -> None:
        """Take these for Delta (K, P); packed they are rounded, by 1/254 of the largest of their 256 at most."""
        if not self.packed:
            self.changes.copy_(changes)
            return
        blocks = F.pad(changes.float(), (0, -self.weights % BLOCK)).unflatten(1, (-1, BLOCK))
        largest = blocks.abs().amax(dim=2)
        self.largest.copy_(largest)
        self.codes.copy_((blocks / largest.clamp_min(1e-30)[..., None] * STEPS).round())

    @torch.no_grad()
    def take(self, other: "Experts") -> list[str]:
        """Take over what others of the same names have learned, with their gates; the names.

        Nothing where they are for other weights, or see other features.
        """
        names = [name for name in self.names if name in other.names]
        if other.weights != self.weights or other.gate.in_features != self.gate.in_features or not names:
            return []
        mine, theirs = ([each.names.index(name) for name in names] for each in (self, other))
        changes = self.learned().clone()
        changes[mine] = other.learned()[theirs].to(changes)
        self.learn(changes)
        self.gate.weight[mine] = other.gate.weight[theirs].to(self.gate.weight)
        self.gate.bias[mine] = other.gate.bias[theirs].to(self.gate.bias)
        return names

    def merged(self, base: Mapping[str, Tensor], gates: Tensor) -> list[dict[str, Tensor]]:
        """The weights W for every picture.

        Args:
            base: W_0 by name, P numbers in all.
            gates: g (B, K).
        """
        sizes = [weight.numel() for weight in base.values()]
        # for all pictures at once: in training each would add a gradient as large as all experts
        changes = zip(*self._mixed(gates).split(sizes, dim=1), strict=True)
        return [
            {
                name: weight + change.view_as(weight)
                for (name, weight), change in zip(base.items(), picture, strict=True)
            }
            for picture in changes
        ]

    def _mixed(self, gates: Tensor) -> Tensor:
        if not self.packed:
            return gates @ self.changes
        scaled = gates[:, :, None] * (self.largest / STEPS)  # (B, K, blocks)
        mixed = torch.einsum("bkn,knj->bnj", scaled, self.codes.to(scaled.dtype))
        return mixed.flatten(1)[:, : self.weights]
