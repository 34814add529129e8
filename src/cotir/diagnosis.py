"""From what is measured of a picture to the damage in it: small nets, and confidences as right as they say.

    z = (m - mean) / deviation, within +-5        h = silu(W_2 silu(W_1 z))
    log-odds = a (A h) + b        severity = sigmoid(S h)

m is what :func:`cotir.evidence.measure` gives. Several nets that differ in where they began and in what they saw
together answer in the mean of A h and S h (Lakshminarayanan et al. 2017, "Deep Ensembles"); one wide net does as well
(docs/science.md). They are learned from pictures whose damage is known (``scripts/fit_diagnosis.py``), a and b
from pictures of photographs left out of that, kind by kind (Platt 1999).

Shapes: B pictures, L looks at one picture, E statistics, K kinds of damage in the order of
:data:`cotir.phrase_bank.KINDS`, N nets.
"""

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from cotir.calibration import platt
from cotir.errors import ConfigError, WeightsError
from cotir.phrase_bank import KINDS

_FARTHEST = 5.0
"""Deviations from the mean beyond which a statistic says no more: what was never seen must not decide alone."""
_NETS = 1
_HIDDEN = (1024, 512)
_DROPPED = (0.1, 0.3, 0.2)
"""Shares of the statistics and of either hidden layer that are left out in training."""
_BATCH = 256
_RATE, _DECAY = 4e-3, 0.05
_LAYER = ("matrix", "offset")
"""Of a layer, in the order of :class:`Layer`, as tensors are named."""
_SEVERITY = 0.3
"""Weight of the squared error of severities beside the cross-entropy of the kinds."""


@dataclass(frozen=True)
class Layer:
    """A linear layer of every net."""

    matrix: Tensor
    """(N, in, out)."""
    offset: Tensor
    """(N, 1, out)."""

    def __call__(self, values: Tensor) -> Tensor:
        """Values (N, B, out) of such (N, B, in)."""
        return torch.baddbmm(self.offset, values, self.matrix)


@dataclass(frozen=True)
class Diagnosis:
    """Tells kinds of damage and how severe they are."""

    mean: Tensor
    """(E,)."""
    deviation: Tensor
    """(E,), above 0."""
    layers: tuple[Layer, ...]
    """The last to log-odds and severities (2 K)."""
    calibration: Tensor
    """(K, 2): a and b."""

    @classmethod
    def fit(
        cls,
        measured: Tensor,
        labels: Tensor,
        severities: Tensor,
        *,
        seed: int,
        nets: int = _NETS,
        epochs: int = 30,
        on_progress: Callable[[int, int], None] = lambda done, total: None,
    ) -> "Diagnosis":
        """Learn one from pictures whose damage is known; not yet calibrated.

        Args:
            measured: of the pictures (B, E).
            labels: 1 where the kind is there, else 0 (B, K).
            severities: in [0, 1]; of kinds that are not there they do not matter (B, K).
            seed: of the first weights, the order and what is left out.
            nets: N.
            epochs: times that every net sees every picture.
            on_progress: called with (steps done, steps in all).

        Raises:
            ConfigError: shapes do not fit.
        """
        if labels.shape != severities.shape or labels.shape != (len(measured), len(KINDS)):
            raise ConfigError(
                f"labels are {tuple(labels.shape)} and severities {tuple(severities.shape)}; both need "
                f"({len(measured)}, {len(KINDS)}): a row for each measured picture"
            )
        mean, deviation = measured.mean(dim=0), measured.std(dim=0).clamp_min(1e-6)
        given = ((measured - mean) / deviation).clamp(-_FARTHEST, _FARTHEST)
        generator = torch.Generator().manual_seed(seed)
        layers = _fresh(measured.shape[1], nets, generator)

        def drop(place: int, values: Tensor) -> Tensor:
            kept = torch.rand(values.shape, generator=generator) >= _DROPPED[place]
            return values * kept / (1 - _DROPPED[place])

        steps = epochs * -(-len(given) // _BATCH)
        weights = [weight.requires_grad_(True) for layer in layers for weight in (layer.matrix, layer.offset)]
        optimizer = torch.optim.AdamW(weights, weight_decay=_DECAY)
        rates = torch.optim.lr_scheduler.OneCycleLR(optimizer, _RATE, total_steps=steps)
        for step in range(steps):
            rows = torch.randint(len(given), (nets, _BATCH), generator=generator)
            optimizer.zero_grad()
            _loss(_through(layers, given[rows], drop), labels[rows], severities[rows]).backward()
            optimizer.step()
            rates.step()
            on_progress(step + 1, steps)
        learned = tuple(Layer(layer.matrix.detach(), layer.offset.detach()) for layer in layers)
        untouched = torch.stack([torch.ones(len(KINDS)), torch.zeros(len(KINDS))], dim=1)
        return cls(mean, deviation, learned, untouched)

    def calibrated(self, measured: Tensor, labels: Tensor) -> "Diagnosis":
        """This diagnosis with confidences that are right as often as they say.

        Args:
            measured: of pictures that it was not learned from (B, E).
            labels: 1 where the kind is there, else 0 (B, K).

        Raises:
            ConfigError: a kind is never there or always.
        """
        share = shares(labels)
        raw = self._told(measured)[:, : len(KINDS)]
        return replace(self, calibration=platt(raw.double(), labels.double(), share).float())

    def confidences(self, measured: Tensor) -> Tensor:
        """That each kind is there, in [0, 1] (B, K), of pictures measured (B, E)."""
        slope, offset = self.calibration.unbind(dim=1)
        return torch.sigmoid(self._told(measured)[:, : len(KINDS)] * slope + offset)

    def severities(self, measured: Tensor) -> Tensor:
        """Of every kind, if it is there, in [0, 1] (B, K), of pictures measured (B, E)."""
        return self._told(measured)[:, len(KINDS) :].sigmoid()

    def of_looks(self, measured: Tensor) -> tuple[Tensor, Tensor]:
        """Confidences and severities (K,) each of one picture, by several looks at it (L, E).

        Log-odds are averaged: what every look suspects a little is there with some right.
        """
        told = self._told(measured).mean(dim=0)
        slope, offset = self.calibration.unbind(dim=1)
        return torch.sigmoid(told[: len(KINDS)] * slope + offset), told[len(KINDS) :].sigmoid()

    def tensors(self) -> dict[str, Tensor]:
        """All it is, by name; the matrices in half precision."""
        tensors = {"mean": self.mean, "deviation": self.deviation, "calibration": self.calibration}
        for number, layer in enumerate(self.layers):
            tensors |= {f"layers.{number}.matrix": layer.matrix.half(), f"layers.{number}.offset": layer.offset}
        return tensors

    @classmethod
    def of(cls, tensors: Mapping[str, Tensor]) -> "Diagnosis":
        """From what :meth:`tensors` gave.

        Raises:
            WeightsError: they are not those of a diagnosis of this version.
        """
        layers = sorted(
            {name.rpartition(".")[0] for name in tensors if name.startswith("layers.")}, key=lambda x: (len(x), x)
        )
        expected = {"mean", "deviation", "calibration"} | {f"{name}.{part}" for name in layers for part in _LAYER}
        if (
            not layers
            or set(tensors) != expected
            or any(tensors[f"{name}.{part}"].ndim != 3 for name in layers for part in _LAYER)
        ):
            raise WeightsError("the diagnosis is not one of this version; fit it anew (scripts/fit_diagnosis.py)")
        made = tuple(Layer(*(tensors[f"{name}.{part}"].float() for part in _LAYER)) for name in layers)
        return cls(tensors["mean"], tensors["deviation"], made, tensors["calibration"])

    def _told(self, measured: Tensor) -> Tensor:
        values = ((measured - self.mean) / self.deviation).clamp(-_FARTHEST, _FARTHEST)
        nets = len(self.layers[0].matrix)
        return _through(self.layers, values.expand(nets, *values.shape)).mean(dim=0)


def shares(labels: Tensor) -> Tensor:
    """Of the pictures that have each kind (K,) float64, in (0, 1), by labels of 1 or 0 (B, K).

    Raises:
        ConfigError: a kind is never there or always, so that it cannot be learned.
    """
    share = labels.double().mean(dim=0)
    lacking = [kind for kind, part in zip(KINDS, share.tolist(), strict=True) if not 0 < part < 1]
    if lacking:
        raise ConfigError(f"{', '.join(lacking)}: in none or all of the pictures; calibrate on more of them")
    return share


def _fresh(statistics: int, nets: int, generator: torch.Generator) -> list[Layer]:
    widths = (statistics, *_HIDDEN, 2 * len(KINDS))
    layers = []
    for width, after in itertools.pairwise(widths):
        bound = width**-0.5
        sizes = ((nets, width, after), (nets, 1, after))
        layers.append(Layer(*(torch.empty(size).uniform_(-bound, bound, generator=generator) for size in sizes)))
    return layers


def _through(
    layers: Sequence[Layer], values: Tensor, drop: Callable[[int, Tensor], Tensor] = lambda place, values: values
) -> Tensor:
    """What the nets tell (N, B, 2 K) of values (N, B, E); ``drop`` is given the place of a layer and what it is fed."""
    for place, layer in enumerate(layers):
        values = layer(drop(place, F.silu(values) if place else values))
    return values


def _loss(told: Tensor, labels: Tensor, severities: Tensor) -> Tensor:
    """The sum over nets, which learn apart."""
    odds, strengths = told.chunk(2, dim=2)
    off = (labels * (strengths.sigmoid() - severities).square()).sum(dim=(1, 2)) / labels.sum(dim=(1, 2)).clamp_min(1)
    unlike = F.binary_cross_entropy_with_logits(odds, labels, reduction="none").mean(dim=(1, 2))
    return (unlike + _SEVERITY * off).sum()
