"""A training run in each of two processes of one machine. Imports little, for both processes import it anew."""

import itertools
import json
import os

import torch.distributed
import torch.multiprocessing
from torch.distributed.fsdp import fully_shard


def run(folder, material, *, split=False, stop=None, **sections):
    """Train ``material`` into folder/run, with whole or with split weights, until step ``stop`` or to the end.

    Returns:
        What each rank holds then.
    """
    torch.multiprocessing.spawn(_rank, (folder, material, split, stop, sections), nprocs=2)
    (folder / "store").unlink()
    return [json.loads((folder / f"{rank}.json").read_text(encoding="utf-8")) for rank in range(2)]


def _rank(rank, folder, material, split, stop, sections):
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
    os.environ |= {"ACCELERATE_USE_CPU": "true"}
    store = torch.distributed.FileStore(str(folder / "store"), 2)
    torch.distributed.init_process_group("gloo", store=store, rank=rank, world_size=2)
    from tiny_run import hashes, tiny_config, train

    if split:
        _split_weights()
    count = itertools.count(1)
    config = tiny_config(material, folder / "run", **sections)
    trainer, record, outcome = train(config, stopping=lambda: next(count) == stop)
    held = {name: _local(weight) for name, weight in trainer.learner.trained.items()}
    report = {
        "split": trainer.learner.is_split,
        "held": sum(weight.numel() for weight in held.values()),
        "hashes": hashes(held),
        "multipliers": trainer.learner.multipliers.state_dict(),
        "rows": record.rows,
        "finished": outcome.finished,
    }
    (folder / f"{rank}.json").write_text(json.dumps(report), encoding="utf-8")
    # Under load, gloo's threads may outlive the interpreter, which then aborts; what was measured is on the disk.
    os._exit(0)


def _split_weights():
    """Split weights as FSDP2 does: accelerate itself declines to, without a GPU."""
    from accelerate import Accelerator

    from cotir.train.learner import Learner

    def prepare(self, model, optimizer):
        place = {id(parameter): name for name, parameter in model.named_parameters()}
        names = [[place[id(parameter)] for parameter in group["params"]] for group in optimizer.param_groups]
        for parameter in model.parameters():
            parameter.data = parameter.data.contiguous()  # nano's kernels lie channels last, which FSDP2 refuses
        blocks = [block for block in model.modules() if type(block).__name__ in ("GatedConvBlock", "CoTAdapterBlock")]
        for block in blocks:
            fully_shard(block)
        fully_shard(model)
        parameters = dict(model.named_parameters())
        for group, members in zip(optimizer.param_groups, names, strict=True):
            group["params"] = [parameters[name] for name in members]
        return model, optimizer

    Accelerator.prepare = prepare
    Learner.is_split = property(lambda self: True)


def _local(tensor):
    return tensor.to_local() if hasattr(tensor, "to_local") else tensor
