"""A run from its configuration to trained weights.

Everything that decides a step is a function of the configuration, the step and the samples' positions, or lies in a
checkpoint: a run that was stopped goes on as if it had not been.
"""

import json
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
from accelerate.utils import set_seed
from safetensors import SafetensorError
from torch import Tensor

from cotir.errors import TrainingError
from cotir.storage import read_safetensors
from cotir.train.checkpoint import (
    Checkpoints,
    State,
    differences,
    fill,
    gather,
    load_optimizer,
    load_tensors,
    optimizer_tensors,
    restore_random_state,
)
from cotir.train.clock import Clock, Outcome
from cotir.train.config import TrainConfig
from cotir.train.data import Batches, Share, loader, make_source
from cotir.train.journal import Journal, Watch, make_accelerator, memory_gb
from cotir.train.learner import Learner, Row
from cotir.train.pairs import Pair
from cotir.train.run_file import steering
from cotir.train.trainee import Trainee, load_trainee
from cotir.train.validation import Validator, read_out_of

MAX_SKIPPED = 10
"""Steps in a row whose loss is not finite, after which the run stops."""
LEARNING = 256
"""Samples before the share of unreadable ones is judged."""
RECENT = 50
"""Steps over which the speed is told."""


class Trainer:
    """A run.

    Args:
        config: all of it.
        watch: who is told how it goes.
        stopping: whether somebody asks the run to stop, looked at after every step.
        trainee: a model of one's own, loaded and with its weights freed; what the configuration names if None.

    Raises:
        CoTIRError: the configuration, the base or the data cannot be used.
    """

    def __init__(
        self,
        config: TrainConfig,
        watch: Watch,
        stopping: Callable[[], bool] = lambda: False,
        trainee: Trainee | None = None,
    ) -> None:
        self.config, self.stopping = config, stopping
        if config.threads:
            torch.set_num_threads(config.threads)
        self.accelerator = make_accelerator(config)
        set_seed(config.seed)
        self.journal = Journal(config, self.accelerator, watch)
        self.share = Share(self.accelerator.process_index, self.accelerator.num_processes)
        self.source = make_source(config.data, config.seed)
        self.trainee = load_trainee(config) if trainee is None else trainee
        self.facts = {
            **steering(config),
            "base": self.trainee.fingerprint(),
            "data": self.source.fingerprint,
            "samples a step": [self.share.step_size(stage) for stage in config.schedule.stages],
        }
        read_out = None if config.objective.delta.reading is None else read_out_of(self.trainee, self.journal.note)
        self.learner = Learner(config, self.trainee, self.accelerator, read_out)
        self.checkpoints = Checkpoints(config.run / "checkpoints", config.checkpoint.keep)
        self.clock = Clock()
        self._recent: deque[tuple[float, int]] = deque(maxlen=RECENT)
        self.validator = self._make_validator() if config.validation.every else None

    @property
    def steps(self) -> int:
        """Of the whole run."""
        return self.learner.schedule.steps

    def run(self) -> Outcome:
        """Train to the end of the schedule, or until asked to stop.

        Raises:
            TrainingError: the run cannot go on; its last checkpoint is whole.
        """
        self.restore()
        self.journal.begin()
        batches = Batches(self.config.schedule.stages, self.share, self.clock.step, self.clock.position)
        pairs = iter(loader(self.source, batches, self.config.data.workers))
        for remark in self.source.remarks():
            self.journal.note(remark)
        self.journal.note(f"training from step {self.clock.step:,} to {self.steps:,}")
        stopped = False
        while self.clock.step < self.steps and not stopped:
            started = time.perf_counter()
            stage = self.learner.schedule.stage(self.clock.step)
            micros = [next(pairs) for _ in range(stage.accumulate)]
            row = self.advance(micros)
            self._recent.append((time.perf_counter() - started, self.share.step_size(stage)))
            self.clock.seconds += self._recent[-1][0]
            self._log(row)
            stopped = self._any(self.stopping())
            self._periodic(stopped)
        if self.clock.step < self.steps:
            self.accelerator.end_training()
            return Outcome(self.clock.step, finished=False, weights=None)
        return self._finish()

    def advance(self, micros: Sequence[list[Pair]]) -> Row:
        """One step; returns its row for the log.

        Raises:
            TrainingError: too many samples could not be read, or too many steps had no finite loss.
        """
        clock, step = self.clock, self.clock.step
        stage = self.learner.schedule.stage(step)
        taken = self.learner.learn(micros, step, measure=self._is_logged(step + 1))
        clock.step += 1
        clock.position += self.share.step_size(stage)
        self._count_problems(micros)
        if taken.taken:
            clock.in_a_row = 0
        else:
            self._skip(taken.row)
        size = {"crop": stage.crop, "batch": self.share.step_size(stage), "vague": self.learner.schedule.vague(step)}
        return {"step": clock.step, "samples": clock.position, **taken.row, **size}

    def restore(self) -> None:
        """Go on from the newest whole checkpoint, if the run has one and may.

        Raises:
            TrainingError: the run was begun with another configuration, base or data; or no checkpoint is whole.
        """
        run = self.config.run
        if self.config.resume == "never":
            if self.checkpoints.steps():
                raise TrainingError(
                    f"{run} holds a run already and resume is never; choose another folder (run=FOLDER), or set "
                    "resume=latest"
                )
            return
        found = self.checkpoints.newest(self.journal.note)
        if found is None:
            return
        state, path = found
        changed = list(differences(json.loads(json.dumps(self.facts)), state.facts))
        if changed:
            raise TrainingError(
                f"the run in {run} was begun otherwise: {'; '.join(changed)}. Change it back, or train in another "
                "folder (run=FOLDER)"
            )
        learner = self.learner
        load_tensors(path / "weights.safetensors", learner.trained)
        if learner.average.tensors():
            load_tensors(path / "average.safetensors", learner.average.tensors())
            learner.average.updates = state.step - state.skipped
        load_optimizer(learner.optimizer, learner.trained, read_safetensors(path / "optimizer.safetensors"))
        learner.multipliers.load_state_dict(state.multipliers)
        restore_random_state(path, self.accelerator.process_index)
        self.clock = Clock(state.step, state.position, state.seconds, state.problems, state.skipped)
        self.journal.note(f"resumed from {path}")

    def save(self) -> Path | None:
        """Write a checkpoint; None if the disk would not take it, which is told and not fatal."""
        clock, learner = self.clock, self.learner
        state = State(
            step=clock.step,
            position=clock.position,
            seconds=clock.seconds,
            multipliers=learner.multipliers.state_dict(),
            problems=clock.problems,
            skipped=clock.skipped,
            facts=self.facts,
        )
        groups = {
            "weights": gather(learner.trained),
            "average": gather(learner.average.tensors()),
            "optimizer": optimizer_tensors(learner.optimizer, learner.trained),
        }
        try:
            path = self.checkpoints.write(
                state,
                {name: tensors for name, tensors in groups.items() if tensors},
                rank=self.accelerator.process_index,
                wait=self.accelerator.wait_for_everyone,
                main=self.accelerator.is_main_process,
            )
        except OSError as error:
            self.journal.note(
                f"no checkpoint at step {clock.step:,}: {error.strerror or error}. The ones before are whole; training "
                f"goes on and tries again at the next. Free some space for {self.checkpoints.folder}"
            )
            return None
        self.journal.note(f"saved {path}")
        return path

    def _periodic(self, stopped: bool) -> None:
        step, config = self.clock.step, self.config
        done = step == self.steps
        if stopped or done or step % config.checkpoint.every == 0:
            self.save()
        if self.validator is not None and (done or (not stopped and step % config.validation.every == 0)):
            self._validate(self.validator)

    def _validate(self, validator: Validator) -> None:
        # where weights are split over processes, all must take part
        if self.accelerator.is_main_process or self.learner.is_split:
            with self.learner.average.applied():
                row = validator(self.trainee.pipeline(), self.clock.step, self.config.run)
            delta = self.learner.delta()
            row |= {f"c_{part}": row[f"d_{part}"] - delta[part] for part in delta if f"d_{part}" in row}
            self.journal.log_validation(row)
        self.accelerator.wait_for_everyone()

    def _make_validator(self) -> Validator:
        config = self.config.validation
        pairs = self.source.held_out(config.samples, config.crop)
        # the main process alone writes pictures
        reads = config.read_out and config.pictures and self.learner.form and self.accelerator.is_main_process
        read_out = read_out_of(self.trainee, self.journal.note) if reads else None
        return Validator(pairs, self.learner, config, read_out)

    def _finish(self) -> Outcome:
        weights = self.config.run / "weights"
        if self.clock.step not in self.checkpoints.numbers() and self.save() is None:
            raise TrainingError(
                f"the run is done, and {self.checkpoints.folder} takes no checkpoint; free some space and give the "
                "same command: it goes on from the last one"
            )
        with self.learner.average.applied():
            # where weights are split over processes, all must take part
            gathered = gather(self.learner.trained) if self.learner.is_split else None
            if self.accelerator.is_main_process:
                self._save_model(weights, gathered)
        self.journal.note(f"the trained model is in {weights}")
        self.accelerator.wait_for_everyone()
        self.accelerator.end_training()
        return Outcome(self.clock.step, finished=True, weights=weights)

    def _save_model(self, weights: Path, gathered: Mapping[str, Tensor] | None) -> None:
        trainee = self.trainee
        if gathered is not None:
            trainee = load_trainee(self.config)  # one whose weights are whole
            for name, parameter in trainee.trained().items():
                fill(parameter, gathered[name])
        try:
            trainee.save(weights)
        except (OSError, SafetensorError) as error:  # the latter is how diffusers meets a full disk
            reason = getattr(error, "strerror", None) or error
            raise TrainingError(
                f"the run is done and its checkpoint is whole, but {weights} could not be written: "
                f"{reason}. Free some space and give the same command again"
            ) from error

    def _skip(self, row: Row) -> None:
        clock = self.clock
        clock.skipped += 1
        clock.in_a_row += 1
        what = f"loss {row['loss']}, gradient norm {row['grad_norm']}"
        if clock.in_a_row >= MAX_SKIPPED:
            raise TrainingError(
                f"{MAX_SKIPPED} steps in a row had no finite loss or gradient, up to step {clock.step:,} ({what}); "
                "none of them touched a weight. Train again with a lower optimizer.rate, as another run=FOLDER, "
                "or look at the data"
            )
        self.journal.note(f"step {clock.step:,} left out: {what}; weights and multipliers stay as they were")

    def _count_problems(self, micros: Sequence[list[Pair]]) -> None:
        problems = [text for pairs in micros for pair in pairs for text in pair.problems]
        for text in problems:
            self.journal.note(f"a sample was replaced: {text}")
        self.clock.problems += len(problems)
        seen, allowed = self.clock.position / self.share.world, self.config.data.max_problems
        if problems and seen >= LEARNING and self.clock.problems > allowed * seen:
            self.save()
            raise TrainingError(
                f"{self.clock.problems} of {seen:,.0f} samples could not be read, and data.max_problems allows "
                f"{allowed:.1%}; the last: {problems[-1]}. Mend the data, or allow more"
            )

    def _is_logged(self, step: int) -> bool:
        return step % self.config.log.every == 0 or step == self.steps

    def _log(self, row: Row) -> None:
        if not self._is_logged(self.clock.step):
            return
        seconds, samples = (sum(values) for values in zip(*self._recent, strict=True))
        speed = {"seconds": self.clock.seconds, "samples_per_second": samples / seconds}
        self.journal.log({**row, **speed, "memory_gb": memory_gb(), "problems": self.clock.problems})

    def _any(self, flag: bool) -> bool:
        """Whether any process says so."""
        if self.share.world == 1:
            return flag
        votes = self.accelerator.reduce(torch.tensor(float(flag), device=self.accelerator.device), "sum")
        return float(votes) > 0  # pyright: ignore[reportArgumentType] - a tensor, as it was given
