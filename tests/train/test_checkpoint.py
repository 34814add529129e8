"""The state on disk: whole or not at all, checked on the way back, and never the last one lost."""

import errno
import json
import os
import random
import shutil
import subprocess

import numpy as np
import pytest
import torch
from safetensors import SafetensorError
from tiny_run import Record, end_state, hashes, tiny_config, train

import cotir.train.checkpoint as module
from cotir.errors import TrainingError
from cotir.storage import read_safetensors
from cotir.train.checkpoint import (
    Checkpoints,
    State,
    differences,
    load_optimizer,
    load_tensors,
    optimizer_tensors,
    random_state,
    restore_random_state,
)
from cotir.train.loop import Trainer


def state_at(step):
    return State(step, 2 * step, 1.5, {"values": {"scene": 0.25}}, problems=1, skipped=2, facts={"seed": 3})


def write(folder, *steps, keep=2):
    checkpoints = Checkpoints(folder, keep)
    for step in steps:
        tensors = {"weights": {"w": torch.full((3, 4), float(step))}}
        checkpoints.write(state_at(step), tensors, rank=0, wait=lambda: None, main=True)
    return checkpoints


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def cut(path):
    path.write_bytes(path.read_bytes()[:-7])


def flip(path):
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(bytes(data))


def test_everything_comes_back(tmp_path):
    checkpoints = write(tmp_path, 7)
    state, path = checkpoints.newest(lambda text: pytest.fail(text))
    assert set(state.files) == {"weights.safetensors", "random-0.json"}
    assert State(**{**vars(state), "files": {}}) == state_at(7)
    assert torch.equal(read_safetensors(path / "weights.safetensors")["w"], torch.full((3, 4), 7.0))
    assert names(tmp_path) == ["step-00000007"]


def test_the_newest_are_kept(tmp_path):
    checkpoints = write(tmp_path, 5, 10, 15, keep=2)
    assert checkpoints.numbers() == {10, 15}
    assert names(tmp_path) == ["step-00000010", "step-00000015"]


def test_old_ones_go_only_when_the_new_one_is_there(tmp_path, monkeypatch):
    checkpoints = write(tmp_path, 5, keep=1)
    seen = []
    remove = shutil.rmtree

    def watched(path, **options):
        if path.name == "step-00000005":
            seen.append(Checkpoints.read_state(tmp_path / "step-00000010").step)
        remove(path, **options)

    monkeypatch.setattr(module.shutil, "rmtree", watched)
    checkpoints.write(state_at(10), {"weights": {"w": torch.zeros(2)}}, rank=0, wait=lambda: None, main=True)
    assert seen == [10]
    assert names(tmp_path) == ["step-00000010"]


BREAKS = {
    "cut": (lambda path: cut(path / "weights.safetensors"), r"weights\.safetensors has .* and should have"),
    "flipped": (lambda path: flip(path / "weights.safetensors"), r"weights\.safetensors has .*, other ones"),
    "missing": (lambda path: (path / "weights.safetensors").unlink(), r"weights\.safetensors is missing"),
    "random missing": (lambda path: (path / "random-0.json").unlink(), r"random-0\.json is missing"),
    "state cut": (lambda path: cut(path / "state.json"), r"state\.json cannot be read"),
    "state a list": (lambda path: (path / "state.json").write_text("[]"), r"state\.json cannot be read"),
    "state without keys": (lambda path: (path / "state.json").write_text("{}"), r"state\.json cannot be read"),
    "state missing": (lambda path: (path / "state.json").unlink(), r"state\.json cannot be read"),
}


@pytest.mark.parametrize("how", BREAKS)
def test_a_broken_one_is_passed_over_for_the_one_before(tmp_path, how):
    checkpoints, notes = write(tmp_path, 5, 10), []
    spoil, message = BREAKS[how]
    spoil(tmp_path / "step-00000010")
    state, path = checkpoints.newest(notes.append)
    assert (state.step, path.name) == (5, "step-00000005")
    with pytest.raises(TrainingError, match=message):
        Checkpoints.read_state(tmp_path / "step-00000010")
    (note,) = notes
    assert "step-00000010 is not whole" in note
    assert note.endswith("taking the one before")


def test_if_all_are_broken_it_says_so(tmp_path):
    checkpoints = write(tmp_path, 5, 10)
    for name in names(tmp_path):
        cut(tmp_path / name / "weights.safetensors")
    with pytest.raises(
        TrainingError, match=r"no checkpoint in .* is whole: .*step-00000010.*step-00000005.*run=FOLDER"
    ):
        checkpoints.newest(lambda text: None)


def test_there_may_be_none(tmp_path):
    assert Checkpoints(tmp_path / "nowhere", 2).newest(lambda text: None) is None
    (tmp_path / ".step-00000005.part").mkdir()
    assert Checkpoints(tmp_path, 2).newest(lambda text: None) is None


def test_another_format_is_refused(tmp_path):
    checkpoints = write(tmp_path, 5)
    file = tmp_path / "step-00000005" / "state.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"format": 2}))
    with pytest.raises(TrainingError, match="has format 2, this version reads format 1"):
        checkpoints.newest(lambda text: None)


def test_random_numbers_go_on(tmp_path):
    def draw():
        return random.random(), float(np.random.random()), float(torch.rand(()))

    (tmp_path / "random-0.json").write_text(json.dumps(random_state()))
    first = draw()
    assert draw() != first
    restore_random_state(tmp_path, 0)
    assert draw() == first
    restore_random_state(tmp_path, 1)  # of a process that was not there: nothing happens


def test_the_optimiser_goes_on(tmp_path):
    def weights():
        return {"a": torch.nn.Parameter(torch.ones(2, 3)), "b.c": torch.nn.Parameter(torch.ones(4))}

    def step(optimizer, trained):
        for parameter in trained.values():
            parameter.grad = parameter.detach() * 0.5
        optimizer.step()

    straight, resumed = weights(), weights()
    first, second = torch.optim.AdamW(straight.values()), torch.optim.AdamW(resumed.values())
    step(first, straight)
    module.write_safetensors(optimizer_tensors(first, straight), tmp_path / "optimizer.safetensors")
    module.write_safetensors(straight, tmp_path / "weights.safetensors")
    load_tensors(tmp_path / "weights.safetensors", resumed)
    stored = read_safetensors(tmp_path / "optimizer.safetensors")
    load_optimizer(second, resumed, stored)
    for optimizer, trained in ((first, straight), (second, resumed)):
        step(optimizer, trained)
    assert hashes(straight) == hashes(resumed)
    with pytest.raises(TrainingError, match=r"moments of b\.c, which is not trained here"):
        load_optimizer(second, {"a": resumed["a"]}, stored)
    with pytest.raises(TrainingError, match="no moments of d: it belongs to another run"):
        load_optimizer(second, resumed | {"d": resumed["a"]}, stored)


def test_differences_are_named():
    then = {"a": 1, "b": [2], "gone": 0}
    assert list(differences({"a": 1, "b": [3], "new": None}, then)) == [
        "b is [3] and was [2]",
        "gone is None and was 0",
    ]


def test_a_run_writes_all_of_its_state(done):
    trainer, _, _ = done
    path = trainer.checkpoints.steps()[0]
    assert names(path) == [
        "average.safetensors",
        "optimizer.safetensors",
        "random-0.json",
        "state.json",
        "weights.safetensors",
    ]
    assert hashes(read_safetensors(path / "weights.safetensors")) == hashes(trainer.learner.trained)
    assert hashes(read_safetensors(path / "average.safetensors")) == hashes(trainer.learner.average.tensors())
    assert trainer.checkpoints.numbers() == {5, 10}


def test_a_run_goes_on_before_a_broken_checkpoint_to_the_same_end(copied, done):
    wanted = end_state(copied.run)
    shutil.rmtree(copied.run / "weights")
    cut(copied.run / "checkpoints" / "step-00000010" / "optimizer.safetensors")
    trainer, record, outcome = train(copied)
    assert outcome.finished
    assert record.noted("step-00000010 is not whole: optimizer.safetensors has")
    assert [row["step"] for row in record.rows] == [6, 7, 8, 9, 10]
    assert end_state(copied.run) == wanted
    assert hashes(trainer.learner.average.tensors()) == hashes(done[0].learner.average.tensors())


def test_a_full_disk_does_not_stop_the_training(material, tmp_path, monkeypatch):
    config = tiny_config(material, tmp_path / "run", steps=8, checkpoint={"every": 2, "keep": 2})
    sound, trainer, record = module.write_safetensors, None, Record()

    def full(tensors, path):
        if trainer is not None and 4 <= trainer.clock.step < 8:
            path.write_bytes(b"the first bytes")
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        sound(tensors, path)

    monkeypatch.setattr(module, "write_safetensors", full)
    seen = []

    def looking():
        folder = config.run / "checkpoints"
        seen.append(names(folder) if folder.is_dir() else [])
        return False

    trainer = Trainer(config, record, stopping=looking)
    assert trainer.run().finished
    assert seen[6] == ["step-00000002"]  # after the failures at steps 4 and 6
    assert names(config.run / "checkpoints") == ["step-00000002", "step-00000008"]
    found = record.noted("no checkpoint at step")
    assert [note[:23] for note in found] == ["no checkpoint at step 4", "no checkpoint at step 6"]
    assert "No space left on device" in found[0]


def test_a_disk_that_stays_full_ends_in_words(copied, monkeypatch):
    def full(tensors, path):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    shutil.rmtree(copied.run / "checkpoints" / "step-00000010")
    monkeypatch.setattr(module, "write_safetensors", full)
    with pytest.raises(TrainingError, match=r"takes no checkpoint; free some space and give the same command"):
        train(copied)
    assert names(copied.run / "checkpoints") == ["step-00000005"]


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left"), SafetensorError("No space left")])
def test_weights_that_cannot_be_written_end_in_words(copied, monkeypatch, error):
    def full(self, folder):
        raise error

    monkeypatch.setattr("cotir.train.trainee.Trainee.save", full)
    with pytest.raises(TrainingError, match=r"checkpoint is whole, but .*/weights could not be written: No space left"):
        train(copied)
    assert Checkpoints(copied.run / "checkpoints", 2).numbers() == {5, 10}


@pytest.mark.slow
def test_a_disk_that_is_really_full(material, tmp_path):
    small = tmp_path / "small"
    small.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=700k", "tmpfs", str(small)], capture_output=True)
    if done.returncode:
        pytest.skip("no right to mount a small disk")
    try:
        checkpoints, notes = Checkpoints(small / "checkpoints", 2), []
        for step, size in ((1, 50_000), (2, 400_000)):
            tensors = {"weights": {"w": torch.zeros(size)}}
            try:
                checkpoints.write(state_at(step), tensors, rank=0, wait=lambda: None, main=True)
            except OSError as error:
                notes.append((step, error.errno))
        assert notes == [(2, errno.ENOSPC)]
        assert names(small / "checkpoints") == ["step-00000001"]
        assert Checkpoints.read_state(small / "checkpoints" / "step-00000001").step == 1
    finally:
        subprocess.run(["umount", str(small)], check=False)
