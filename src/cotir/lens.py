"""From embeddings of a text to features, and from features to values: the two linear maps of a read-out.

Shapes: B texts or pictures, N text tokens, D width of the text encoder, T positions that are looked at, R directions,
F = T R features, V values.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from cotir.encode import TextTokens

_POSITIONS = 48
_SELDOM = 0.25
"""Positions that a smaller share of the texts reach are not looked at."""
_RANK = 128
"""Principal directions of the embeddings that are looked at."""
_RIDGE = 5.0
"""Of the mean variance of a feature. Any from 1 to 10 reads as well; much less follows the bank's noise."""
_RIDGE_OF_PICTURES = 0.3
"""The same of a correction by pictures. Any from 0.1 to 1 reads as well."""


@dataclass(frozen=True)
class Lens:
    """Turns embeddings of one part into features: unit tokens, centred by position, in principal directions."""

    mean: Tensor
    """(T, D) of the bank's unit tokens."""
    basis: Tensor
    """(D, R)."""
    weight: Tensor
    """(T,) root of the share of texts that reach the position."""

    def __call__(self, embeddings: Tensor, mask: Tensor | None = None) -> Tensor:
        """Features (B, T R) of embeddings (B, N, D); padding carries nothing where a mask (B, N) is given."""
        unit = F.normalize(embeddings[:, : len(self.mean)].float(), dim=-1)
        centred = unit - self.mean
        if mask is not None:
            centred = centred * mask[:, : len(self.mean), None]
        return ((centred @ self.basis) * self.weight[:, None]).flatten(1)

    @classmethod
    def fitted(cls, tokens: TextTokens) -> "Lens":
        """To a bank's embeddings."""
        mask = tokens.mask.float()
        reach = mask.mean(dim=0)
        count = min(_POSITIONS, int((reach >= _SELDOM).sum()))
        unit, mask = F.normalize(tokens.embeddings[:, :count].float(), dim=-1), mask[:, :count]
        mean = (unit * mask[..., None]).sum(dim=0) / mask.sum(dim=0)[:, None]
        centred = ((unit - mean) * mask[..., None]).flatten(0, 1)
        directions = torch.linalg.eigh(centred.T @ centred).eigenvectors
        return cls(mean, directions[:, -_RANK:].contiguous(), reach[:count].sqrt())


@dataclass(frozen=True)
class LinearMap:
    """A ridge regression: features (B, F) to values (B, V)."""

    matrix: Tensor
    """(F, V)."""
    offset: Tensor
    """(V,)."""

    def __call__(self, features: Tensor) -> Tensor:
        """Values (B, V) of features (B, F)."""
        return features @ self.matrix + self.offset

    @classmethod
    def fitted(cls, features: Tensor, values: Tensor) -> "LinearMap":
        """To the features (B, F) of a bank and their values (B, V); in the dual form, for F is larger than B."""
        mean = values.mean(dim=0)
        kernel = features @ features.T / len(features)
        ridge = _RIDGE * kernel.trace() / len(kernel)
        dual = torch.linalg.solve(kernel + ridge * torch.eye(len(kernel)), (values - mean) / len(features))
        return cls(features.T @ dual, mean)

    def corrected(self, features: Tensor, values: Tensor) -> "Correction":
        """This map with what it gets wrong on some examples learned from them, by a ridge regression of the errors.

        Args:
            features: of the examples (B, F).
            values: that it should tell of them (B, V).
        """
        told = self(features)
        error, middle = values - told, features.mean(dim=0)
        centred, count = features - middle, len(features)
        kernel = centred @ centred.T
        ridge = _RIDGE_OF_PICTURES * kernel.trace() / count * torch.eye(count)
        dual = torch.linalg.solve(kernel + ridge, error - error.mean(dim=0))
        slope = centred.T @ dual
        learned = kernel @ dual + error.mean(dim=0)
        # of a linear smoother: the error on an example it has not seen is the one on it over 1 - its own weight
        own = torch.linalg.solve(kernel + ridge, kernel).diagonal() + 1 / count
        unseen = told + error - (error - learned) / (1 - own)[:, None]
        corrected = LinearMap(self.matrix + slope, self.offset + error.mean(dim=0) - middle @ slope)
        return Correction(corrected, unseen)


@dataclass(frozen=True)
class Correction:
    """A map that was corrected by examples."""

    corrected: LinearMap
    unseen: Tensor
    """What it tells of each example if it is corrected by the others alone (B, V)."""
