"""What depends on the step alone: learning rate, stage, share of vague instructions, and the objective's annealing."""

import math
from dataclasses import dataclass

from cotir.train.config import FlowConfig, OptimizerConfig, ScheduleConfig, StageConfig


@dataclass(frozen=True)
class Schedule:
    """Functions of the step, counted from 0. There is no state: a run that goes on needs the step and nothing else."""

    schedule: ScheduleConfig
    optimizer: OptimizerConfig
    flow: FlowConfig

    @property
    def steps(self) -> int:
        """Of the whole run."""
        return self.schedule.stages[-1].until

    def share(self, step: int) -> float:
        """Part of the run that is behind, 0 to 1."""
        return min(1.0, step / self.steps)

    def rate(self, step: int) -> float:
        """Learning rate: linear warm-up from ``rate / warmup``, then a cosine to the floor."""
        peak, floor, warmup = self.optimizer.rate, self.optimizer.floor, self.optimizer.warmup
        if step < warmup:
            return peak * (step + 1) / warmup
        part = min(1.0, (step - warmup) / max(1, self.steps - warmup))
        return floor + (peak - floor) * (1 + math.cos(math.pi * part)) / 2

    def stage(self, step: int) -> StageConfig:
        """Crop and batch at a step."""
        return next((stage for stage in self.schedule.stages if step < stage.until), self.schedule.stages[-1])

    def vague(self, step: int) -> float:
        """Share of vague instructions."""
        return self.schedule.vague[max(start for start in self.schedule.vague if start <= step)]

    def power(self, step: int) -> float:
        """Of the balanced flow loss: linear."""
        first, last = self.flow.power
        return first + (last - first) * self.share(step)

    def floor(self, step: int) -> float:
        """Of the balanced flow loss: geometric."""
        first, last = self.flow.floor
        return first * (last / first) ** self.share(step)
