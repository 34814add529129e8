"""One step of training: primal descent on the weights, dual ascent on the multipliers."""

import math
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Literal

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from cotir.adapter import CoTOutput
from cotir.errors import ConfigError
from cotir.read_out import ReadOut
from cotir.train.batch import Batch, Encoder
from cotir.train.config import ObjectiveConfig, TrainConfig
from cotir.train.multipliers import average_constraints, make
from cotir.train.objective import (
    PARTS,
    READING,
    LossTerms,
    balanced_flow_loss,
    flow_loss,
    flow_scale,
    interpolate,
    lagrangian,
    reading_distance,
    reasoning_distances,
)
from cotir.train.optimizer import Average, make_optimizer
from cotir.train.pairs import Pair
from cotir.train.schedule import Schedule
from cotir.train.trainee import Trainee

Row = dict[str, float]


@dataclass(frozen=True)
class Step:
    """A step as it was taken."""

    row: Row
    """For the log: losses, distances, constraints and multipliers as used, gradient norm, learning rate."""
    taken: bool
    """False where the loss or its gradient was not finite: nothing was changed."""


def constrained(objective: ObjectiveConfig) -> tuple[str, ...]:
    """Names of the constraints, in the order in which they are told."""
    return PARTS if objective.delta.reading is None else (*PARTS, READING)


class Learner:
    """The weights under training with everything that moves them.

    Args:
        config: of the run.
        trainee: loaded, on no particular device.
        accelerator: of this process.
        read_out: of the trainee's text encoder, where the reading is a constraint.

    Raises:
        ConfigError: nothing is trained, or an optimiser or a rule cannot be used.
    """

    def __init__(
        self, config: TrainConfig, trainee: Trainee, accelerator: Accelerator, read_out: ReadOut | None = None
    ) -> None:
        self.config, self.trainee, self.accelerator = config, trainee, accelerator
        self.parts = constrained(config.objective)
        if READING in self.parts and read_out is None:
            raise ConfigError("objective.delta.reading needs a read-out of the text encoder; give the learner one")
        self.read_out = None if read_out is None else read_out.to(accelerator.device)
        self.schedule = Schedule(config.schedule, config.optimizer, config.objective.flow)
        for part in trainee.components.values():
            if isinstance(part, nn.Module):
                part.to(accelerator.device)
        if config.model.compile:
            trainee.transformer.compile()
        optimizer = make_optimizer(config.optimizer, trainee.trained())
        self.model, self._prepared = accelerator.prepare(trainee.transformer, optimizer)
        self.trained = trainee.trained()
        self.average = Average(self.trained, config.model.ema)
        multipliers = config.objective.multipliers
        self.multipliers = make(multipliers.rule, self.parts, **multipliers.options)
        self.encoder = Encoder(trainee.backbone, trainee.components, config.cache, config.objective.time, config.seed)

    @property
    def optimizer(self) -> torch.optim.Optimizer:
        """AdamW itself, without accelerate's wrapping."""
        return getattr(self._prepared, "optimizer", self._prepared)

    @property
    def form(self) -> Literal["cosine", "released"] | None:
        """Of the reasoning distances; None where no reasoning is trained."""
        reasoning = self.config.objective.reasoning
        return None if reasoning == "none" else reasoning

    def delta(self) -> dict[str, float]:
        """Allowed distance of each part."""
        return {part: getattr(self.config.objective.delta, part) for part in self.parts}

    def learn(self, micros: Sequence[list[Pair]], step: int, *, measure: bool) -> Step:
        """Take one step.

        Args:
            micros: this process's micro-batches.
            step: counted from 0.
            measure: whether to find the constraints' share of the gradient, at the price of a backward pass.
        """
        rate = self.schedule.rate(step)
        for group in self._prepared.param_groups:
            group["lr"] = rate * group["factor"]
        self._prepared.zero_grad(set_to_none=True)
        used, reasoning_norm = self.multipliers.values, 0.0
        seen: list[dict[str, Tensor]] = []
        for number, pairs in enumerate(micros):
            last = number == len(micros) - 1
            with nullcontext() if last else self.accelerator.no_sync(self.model):
                terms = self.loss(pairs, step)
                if last and measure:
                    reasoning_norm = self._reasoning_norm(terms)
                self.accelerator.backward(terms.loss / len(micros))
            seen.append({"flow": terms.flow, **terms.distances})
        norm = self._clip()
        flow, distances = self._means(seen)
        constraints = {part: distance - self.delta()[part] for part, distance in distances.items()}
        loss = flow + sum(used[part] * value for part, value in constraints.items())
        taken = math.isfinite(loss) and math.isfinite(norm)
        if taken:
            self._prepared.step()
            self.average.update()
            self._ascend(flow, constraints, step)
        row = {
            "loss": loss,
            "flow": flow,
            **{f"d_{part}": value for part, value in distances.items()},
            **{f"c_{part}": value for part, value in constraints.items()},
            **{f"lambda_{part}": used[part] for part in constraints},
            "grad_norm": norm,
            "lr": rate,
        }
        if measure and constraints and norm > 0:
            row["constraint_share"] = reasoning_norm / norm
        return Step(row, taken)

    def loss(self, pairs: list[Pair], step: int) -> LossTerms:
        """The Lagrangian of a micro-batch."""
        objective = self.config.objective
        batch = self.encoder(
            pairs,
            vague=self.schedule.vague(step),
            reasoning=self.form is not None,
            device=self.accelerator.device,
        )
        noisy = interpolate(batch.clean, batch.noise, batch.time)
        with self.accelerator.autocast():
            output = self.model(
                torch.cat([noisy, batch.condition.reference], dim=1),
                timestep=batch.time,
                predict_reasoning=self.form is not None,
                **batch.condition.arguments(),
            )
        velocity = output.sample[:, : noisy.shape[1]]
        if objective.flow.form == "mse":
            flow = flow_loss(velocity, batch.clean, batch.noise)
        else:
            power, floor = self.schedule.power(step), self.schedule.floor(step)
            flow = balanced_flow_loss(velocity, batch.clean, batch.noise, batch.time, power=power, floor=floor)
        if self.form is None:
            return LossTerms(flow=flow, distances={}, constraints={}, loss=flow)
        distances = self.distances(output.reasoning, batch)
        return lagrangian(flow, distances, self.delta(), self.multipliers.values)

    def distances(self, predicted: CoTOutput, batch: Batch) -> dict[str, Tensor]:
        """D of every constraint, a scalar each; empty where no reasoning is trained."""
        if self.form is None:
            return {}
        found = reasoning_distances(predicted, batch.targets, self.form)
        if READING in self.parts and self.read_out is not None:
            found[READING] = reading_distance(self.read_out.presence(predicted), batch.kinds)
        return found

    @property
    def is_split(self) -> bool:
        """Whether weights are split over processes, so that all must take part in using them."""
        return self.accelerator.distributed_type.value == "FSDP"

    def _clip(self) -> float:
        norm = self.accelerator.clip_grad_norm_(list(self.trained.values()), self.config.optimizer.clip)
        return math.nan if norm is None else float(norm)

    def _means(self, seen: Sequence[Mapping[str, Tensor]]) -> tuple[float, dict[str, float]]:
        """Flow loss and distances over micro-batches and processes."""
        stacked = {name: torch.stack([each[name].detach().float() for each in seen]) for name in seen[0]}
        distances = average_constraints(stacked, self.accelerator)
        return distances.pop("flow"), distances

    def _ascend(self, flow: float, constraints: Mapping[str, float], step: int) -> None:
        if constraints:
            power = self.schedule.power(step) if self.config.objective.flow.form == "balanced" else None
            self.multipliers.ascend(constraints, scale=float(flow_scale(torch.tensor(flow), power)))

    def _reasoning_norm(self, terms: LossTerms) -> float:
        """Gradient norm of sum lambda_k c_k alone, for the micro-batch of this process."""
        values = self.multipliers.values
        weighted = [values[part] * value for part, value in terms.constraints.items() if values[part] > 0]
        if not weighted or self.is_split:
            return 0.0
        weights = list(self.trained.values())
        gradients = torch.autograd.grad(torch.stack(weighted).sum(), weights, retain_graph=True, allow_unused=True)
        squares = [gradient.float().square().sum() for gradient in gradients if gradient is not None]
        return float(torch.stack(squares).sum().sqrt())
