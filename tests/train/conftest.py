"""Fixtures of the trainer's tests."""

import shutil

import pytest
from tiny_run import tiny_config, train, write_material

STEPS = 10


@pytest.fixture(scope="session")
def material(tmp_path_factory):
    """Photos, a recipe and a tiny nano: change nothing in it."""
    return write_material(tmp_path_factory.mktemp("material") / "all")


@pytest.fixture(scope="session")
def _done(material, tmp_path_factory):
    run = tmp_path_factory.mktemp("done") / "run"
    return train(tiny_config(material, run, steps=STEPS, validation={"every": STEPS}))


@pytest.fixture
def done(_done):
    """A run of ten steps with checkpoints at 5 and 10 and one validation: trainer, record and outcome, to look at."""
    return _done


@pytest.fixture
def copied(_done, material, tmp_path):
    """The configuration of the same run in a folder of its own, to break."""
    shutil.copytree(_done[0].config.run, tmp_path / "run")
    return tiny_config(material, tmp_path / "run", steps=STEPS)
