"""AdamW over the trained weights, with decay on matrices only, and their moving average."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from cotir.errors import ConfigError
from cotir.train.config import OptimizerConfig


def make_optimizer(config: OptimizerConfig, trained: Mapping[str, nn.Parameter]) -> torch.optim.Optimizer:
    """AdamW in groups: matrices and kernels decay, biases, norms and gates do not; and each part has its own rate.

    Every group carries ``factor``, by which the rate of the schedule is multiplied.

    Raises:
        ConfigError: nothing is trained, ``factors`` names a part that is not, or 8-bit moments are asked for without
            bitsandbytes or CUDA.
    """
    if not trained:
        raise ConfigError("nothing is trained: model.train and objective.reasoning leave no weight to move")
    groups = []
    for factor, part in _by_factor(config.factors, trained):
        matrices, others = ([p for p in part if (p.ndim > 1) is matrix] for matrix in (True, False))
        groups.append({"params": matrices, "weight_decay": config.weight_decay, "factor": factor})
        groups.append({"params": others, "weight_decay": 0.0, "factor": factor})
    groups = [group for group in groups if group["params"]]
    if config.name == "adamw":
        return torch.optim.AdamW(groups, lr=config.rate, betas=config.betas)
    if not torch.cuda.is_available():
        raise ConfigError("optimizer.name adamw8bit needs CUDA; use adamw")
    try:
        import bitsandbytes as bnb  # pyright: ignore[reportMissingImports] - for CUDA machines
    except ImportError as error:
        raise ConfigError(
            f"optimizer.name adamw8bit needs bitsandbytes ({error}); pip install it, or use adamw"
        ) from error
    return bnb.optim.AdamW8bit(groups, lr=config.rate, betas=config.betas)


def _by_factor(
    factors: Mapping[str, float], trained: Mapping[str, nn.Parameter]
) -> list[tuple[float, list[nn.Parameter]]]:
    """Sort the weights by their factor: that of the longest name given that theirs begins with, or 1."""
    parts: dict[str | None, list[nn.Parameter]] = {None: []} | {name: [] for name in factors}
    for name, weight in trained.items():
        given = [part for part in factors if name == part or name.startswith(f"{part}.")]
        parts[max(given, key=len, default=None)].append(weight)
    for part in factors:
        if not parts[part]:
            known = ", ".join(dict.fromkeys(name.split(".")[0] for name in trained))
            raise ConfigError(f"optimizer.factors names {part!r}, where no weight is trained; there are {known}")
    return [(1.0 if part is None else factors[part], weights) for part, weights in parts.items()]


class Average:
    """The exponential moving average of the trained weights.

    Its decay rises as ``(1 + n) / (10 + n)`` over the first updates n, so that early weights are soon forgotten.

    Args:
        trained: the weights, which may be split over processes.
        decay: of the average; 0 keeps none, and :meth:`applied` then changes nothing.
    """

    # Not diffusers' EMAModel, whose fused operations have no form for weights that are split over processes.

    def __init__(self, trained: Mapping[str, nn.Parameter], decay: float) -> None:
        self._trained, self._decay = dict(trained), decay
        self._average = {name: weight.detach().clone() for name, weight in trained.items()} if decay else {}
        self.updates = 0
        """How often weights were taken in, on which the decay depends."""

    @torch.no_grad()
    def update(self) -> None:
        """Take the weights in."""
        decay = min(self._decay, (1 + self.updates) / (10 + self.updates))
        self.updates += 1
        for name, average in self._average.items():
            average.lerp_(self._trained[name].detach(), 1 - decay)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Within it, the model has the averaged weights."""
        kept = {name: self._trained[name].detach().clone() for name in self._average}
        self._put(self._average)
        try:
            yield
        finally:
            self._put(kept)

    def tensors(self) -> dict[str, Tensor]:
        """The average by name; empty where none is kept."""
        return dict(self._average)

    @torch.no_grad()
    def _put(self, weights: Mapping[str, Tensor]) -> None:
        for name, weight in weights.items():
            self._trained[name].copy_(weight)
