"""AdamW over the trained weights, with decay on matrices only, and their moving average."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from diffusers.training_utils import EMAModel
from torch import Tensor, nn

from cotir.errors import ConfigError
from cotir.train.config import OptimizerConfig


def make_optimizer(config: OptimizerConfig, trained: Mapping[str, nn.Parameter]) -> torch.optim.Optimizer:
    """AdamW in two groups: matrices and kernels decay; biases, norms and gates do not.

    Raises:
        ConfigError: nothing is trained, or 8-bit moments are asked for without bitsandbytes or CUDA.
    """
    if not trained:
        raise ConfigError("nothing is trained: model.train and objective.reasoning leave no weight to move")
    groups = [
        {"params": [p for p in trained.values() if p.ndim > 1], "weight_decay": config.weight_decay},
        {"params": [p for p in trained.values() if p.ndim <= 1], "weight_decay": 0.0},
    ]
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


class Average:
    """The exponential moving average of the trained weights.

    Its decay rises as ``(1 + n) / (10 + n)`` over the first updates n, so that early weights are soon forgotten.

    Args:
        trained: the weights.
        decay: of the average; 0 keeps none, and :meth:`applied` then changes nothing.
    """

    def __init__(self, trained: Mapping[str, nn.Parameter], decay: float) -> None:
        self._trained = dict(trained)
        self._model = EMAModel(self._trained.values(), decay=decay, foreach=True) if decay else None

    def update(self) -> None:
        """Take the weights in."""
        if self._model is not None:
            self._model.step(self._trained.values())

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Within it, the model has the averaged weights."""
        if self._model is None:
            yield
            return
        self._model.store(self._trained.values())
        self._model.copy_to(self._trained.values())
        try:
            yield
        finally:
            self._model.restore(self._trained.values())

    def tensors(self) -> dict[str, Tensor]:
        """The average by name; empty where none is kept."""
        if self._model is None:
            return {}
        return dict(zip(self._trained, self._model.shadow_params, strict=True))

    @property
    def updates(self) -> int:
        """How often weights were taken in, on which the decay depends."""
        return self._model.optimization_step if self._model is not None else 0

    @updates.setter
    def updates(self, count: int) -> None:
        if self._model is not None:
            self._model.optimization_step = count
