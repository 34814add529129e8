"""A run in two processes is the run of one that takes the samples of both."""

import pytest
import torch
import two_trainers
from tiny_run import tiny_config, train

from cotir.storage import read_safetensors
from cotir.train.checkpoint import Checkpoints

STEPS = 4
OPTIONS = {"steps": STEPS, "validation": {"every": STEPS}, "checkpoint": {"every": 2}}


@pytest.fixture(scope="module")
def alone(material, tmp_path_factory):
    """One process whose steps have two micro-batches: trainer, record and outcome."""
    stage = {"until": STEPS, "crop": 32, "batch": 2, "accumulate": 2}
    config = tiny_config(material, tmp_path_factory.mktemp("alone") / "run", **OPTIONS, schedule={"stages": [stage]})
    return train(config)


@pytest.mark.parametrize("split", [False, True], ids=["whole", "split"])
def test_two_processes_train_what_one_does(split, alone, material, tmp_path):
    rows = []
    if split:  # in two sittings, so that what was split is put back too
        rows = two_trainers.run(tmp_path, material, split=split, stop=1, **OPTIONS)[0]["rows"]
        assert len(rows) == 1
    first, second = two_trainers.run(tmp_path, material, split=split, **OPTIONS)
    trainer, record, _ = alone
    trained = trainer.learner.trained
    whole = sum(weight.numel() for weight in trained.values())
    assert first["finished"] and second["finished"]
    assert first["split"] == split
    assert first["held"] + second["held"] == (whole if split else 2 * whole)
    assert (first["hashes"] == second["hashes"]) == (not split)
    assert first["multipliers"] == second["multipliers"]
    # of one rank alone, the journal
    assert second["rows"] == []
    for mine, other in zip(record.rows, [*rows, *first["rows"]], strict=True):
        for key in ("step", "samples", "loss", "flow", "d_plan", "lambda_plan", "grad_norm", "lr", "batch"):
            assert other[key] == pytest.approx(mine[key], rel=2e-4, abs=1e-6), key
    # the model that is written: the average, whole
    written = read_safetensors(tmp_path / "run" / "weights" / "transformer" / "diffusion_pytorch_model.safetensors")
    checkpoint = Checkpoints(tmp_path / "run" / "checkpoints", 2).steps()[0]
    average = read_safetensors(checkpoint / "average.safetensors")
    mine = trainer.learner.average.tensors()
    assert set(average) == set(mine) == set(trained)
    for name, tensor in average.items():
        assert torch.equal(written[name], tensor), name
        assert torch.allclose(tensor, mine[name], atol=2e-4), name
    assert {path.name for path in checkpoint.glob("random-*")} == {"random-0.json", "random-1.json"}
    assert (tmp_path / "run" / "validation.jsonl").is_file()
