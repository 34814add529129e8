"""Before a picture is restored: what is measured of it, the plan that comes of that, and whether it is sound.

Measuring takes no pass of the model. A model without a diagnosis (:mod:`cotir.diagnosis`) has to look in a pass of its
own to plan, and tells whether a picture is sound only when it has restored it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from cotir.adapter import CoTOutput
from cotir.evidence import looks
from cotir.jobs import Job
from cotir.phrase_bank import KINDS
from cotir.phrases import is_vague
from cotir.read_out import ReadOut
from cotir.reasoning import THRESHOLD, Finding, Reasoning, instruction_for


@dataclass(frozen=True)
class Sight:
    """A picture to restore, and what is known of it by now."""

    job: Job
    """Under its plan, where there is one."""
    measured: Tensor | None = None
    """In one or more looks (L, E); None where nothing was measured."""
    is_sound: bool = False
    """No damage is found, and restoring is expected to lose: it is given back as it came."""
    thought: CoTOutput | None = None
    """About it, in the pass that restored it or in one that only looked; None before either."""
    reading: Reasoning | None = None
    """That comes of the thought; None where nobody asks."""

    def after(self, thought: CoTOutput, read_out: ReadOut | None, *, plan: bool = False) -> "Sight":
        """What is known once it was thought about.

        Args:
            thought: about the picture.
            read_out: reads the thought; None where nobody asks.
            plan: the job is to go on under the plan that comes of it.
        """
        if read_out is None:
            return replace(self, thought=thought)
        reading = read_out.read(thought, None if self.measured is None else [self.measured])[0]
        job = planned(self.job, reading.findings) if plan else self.job
        return replace(self, job=job, thought=thought, reading=reading)


def measured(jobs: Sequence[Job]) -> list[Tensor]:
    """What can be measured of each picture, in one or more looks (L, E)."""
    pictures = [job.canvas.tensor[0, :, : job.canvas.pixels.shape[0], : job.canvas.pixels.shape[1]] for job in jobs]
    return [looks(picture) for picture in pictures]


def by_measures(jobs: Sequence[Job], read_out: ReadOut, *, plan_first: bool | None, keep_sound: bool) -> list[Sight]:
    """Pictures under the plans that come of what is measured of them.

    Args:
        jobs: of the pictures.
        read_out: with a diagnosis.
        plan_first: whether they are planned; None for those whose instruction names nothing that is to be done.
        keep_sound: whether sound ones are told from others.
    """
    sights = []
    for job, seen in zip(jobs, measured(jobs), strict=True):
        found = read_out.find(seen)
        plan = is_vague(job.prompt) if plan_first is None else plan_first
        sights.append(Sight(planned(job, found) if plan else job, seen, keep_sound and is_sound(read_out, found)))
    return sights


def planned(job: Job, findings: Sequence[Finding]) -> Job:
    """The job under the plan that comes of what was found in its picture; as it was where nothing is sure."""
    return replace(job, prompt=instruction_for(findings) or job.prompt)


def is_sound(read_out: ReadOut, findings: Sequence[Finding]) -> bool:
    """As :attr:`~cotir.reasoning.Reasoning.is_worth_restoring` denies it, by every kind's confidence."""
    confidences = {finding.kind: finding.confidence for finding in findings}
    if read_out.benefit is None or max(confidences.values()) >= THRESHOLD:
        return False
    return float(read_out.expected_gain(torch.tensor([confidences[kind] for kind in KINDS]))) <= 0
