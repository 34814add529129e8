"""The loop: bad losses, changed configurations, requests to stop."""

import itertools
import math
import re
import shutil

import pytest
from tiny_run import Record, end_state, hashes, poison, tiny_config, train

from cotir.errors import TrainingError
from cotir.train.checkpoint import Checkpoints
from cotir.train.loop import MAX_SKIPPED, Trainer


def moving(trainer):
    """Hashes of all that a step changes."""
    learner = trainer.learner
    return [hashes(learner.trained), hashes(learner.average.tensors()), learner.multipliers.state_dict()]


def test_a_loss_that_is_not_finite_changes_nothing(material, tmp_path, monkeypatch):
    poison(monkeypatch, lambda step: step == 2)
    states = []

    def looking():
        states.append(moving(trainer))
        return False

    record = Record()
    trainer = Trainer(tiny_config(material, tmp_path / "run", steps=5), record, stopping=looking)
    assert trainer.run().finished
    assert states[2] == states[1]
    assert all(before != after for before, after in itertools.pairwise([states[0], *states[2:]]))
    assert [math.isfinite(row["loss"]) for row in record.rows] == [True, True, False, True, True]
    (note,) = record.noted("left out")
    assert note.startswith("step 3 left out: loss nan, gradient norm nan")
    assert trainer.clock.skipped == 1


def test_many_in_a_row_stop_the_run(material, tmp_path, monkeypatch):
    poison(monkeypatch, lambda step: step >= 3)
    config = tiny_config(material, tmp_path / "run", steps=20, checkpoint={"every": 2})
    trainer = Trainer(config, Record())
    with pytest.raises(TrainingError, match=f"{MAX_SKIPPED} steps in a row .* up to step 13 .*lower optimizer.rate"):
        trainer.run()
    state, path = trainer.checkpoints.newest(lambda text: pytest.fail(text))
    assert (state.step, state.skipped) == (12, 9)
    assert path.name == "step-00000012"


def test_a_request_to_stop_saves_and_the_run_goes_on_to_the_same_end(copied, done, tmp_path):
    config = copied.model_copy(update={"run": tmp_path / "stopped"})
    record = Record()
    trainer = Trainer(config, record, stopping=lambda: trainer.clock.step == 3)
    outcome = trainer.run()
    assert (outcome.step, outcome.finished, outcome.weights) == (3, False, None)
    assert trainer.checkpoints.numbers() == {3}
    assert not (config.run / "weights").exists()
    _, again, outcome = train(config)
    assert outcome.finished
    assert again.noted("resumed from")
    assert end_state(config.run) == end_state(copied.run)
    losses = [row["loss"] for row in (*record.rows, *again.rows)]
    assert losses == [row["loss"] for row in done[1].rows]


def test_a_finished_run_is_left_as_it_is(copied):
    shutil.rmtree(copied.run / "weights")
    wanted = end_state(copied.run)
    _, record, outcome = train(copied)
    assert outcome.finished
    assert record.rows == []
    assert end_state(copied.run) == wanted
    assert (copied.run / "weights" / "model_index.json").is_file()


@pytest.mark.parametrize(
    ("section", "values", "message"),
    [
        ("optimizer", {"rate": 1e-3}, "optimizer.rate is 0.001 and was 0.002"),
        ("seed", 5, "seed is 5 and was 0"),
        ("data", {"held_out": 0.5}, "data.held_out is 0.5 and was 0.3"),
        ("objective", {"delta": {"scene": 0.1, "degradation": 0.3, "plan": 0.3}}, "delta.scene is 0.1 and was 0.3"),
    ],
)
def test_a_changed_configuration_is_named(material, copied, section, values, message):
    config = tiny_config(material, copied.run, steps=10, **{section: values})
    with pytest.raises(TrainingError, match=rf"was begun otherwise: .*{re.escape(message)}.*run=FOLDER"):
        train(config)
    assert Checkpoints(copied.run / "checkpoints", 2).numbers() == {5, 10}


def test_what_does_not_steer_may_change(material, copied, tmp_path):
    moved = tmp_path / "elsewhere"
    shutil.copytree(material, moved)
    config = tiny_config(moved, copied.run, steps=10, log={"every": 5}, checkpoint={"every": 3})
    assert train(config)[2].finished


def test_resume_never_leaves_a_run_alone(copied):
    config = copied.model_copy(update={"resume": "never"})
    with pytest.raises(TrainingError, match="holds a run already and resume is never; choose another folder"):
        train(config)
