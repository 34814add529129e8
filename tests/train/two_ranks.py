"""Fifty dual steps in each of two processes. Imports little, for both processes import it anew."""

import json
import os

import torch
import torch.distributed
import torch.multiprocessing
from accelerate import Accelerator

from cotir.train.multipliers import average_constraints, make

NAMES = ("scene", "degradation", "plan")


def run(folder, rules):
    """What each rank holds in the end, with the reduction (``together``) and without (``alone``)."""
    torch.multiprocessing.spawn(_rank, (folder, rules), nprocs=2)
    return [json.loads((folder / f"{rank}.json").read_text(encoding="utf-8")) for rank in range(2)]


def _rank(rank, folder, rules):
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
    store = torch.distributed.FileStore(str(folder / "store"), 2)
    torch.distributed.init_process_group("gloo", store=store, rank=rank, world_size=2)
    accelerator = Accelerator(cpu=True)
    generator = torch.Generator().manual_seed(rank)
    together, alone = ({rule: make(rule, NAMES) for rule in rules} for _ in range(2))
    for _ in range(50):
        micro = {name: 0.1 + 0.2 * torch.randn(3, generator=generator) for name in NAMES}
        for rule in rules:
            together[rule].ascend(average_constraints(micro, accelerator))
            alone[rule].ascend(average_constraints(micro))
    report = {
        "processes": accelerator.num_processes,
        "mean": average_constraints({"plan": torch.tensor(float(rank))}, accelerator),
        "together": {rule: multipliers.state_dict() for rule, multipliers in together.items()},
        "alone": {rule: multipliers.state_dict() for rule, multipliers in alone.items()},
    }
    (folder / f"{rank}.json").write_text(json.dumps(report), encoding="utf-8")
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()
    # Under load, gloo's threads may outlive the interpreter, which then aborts; what was measured is on the disk.
    os._exit(0)
