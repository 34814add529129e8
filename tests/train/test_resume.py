"""A run that is killed and goes on ends exactly as one that is not."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from tiny_run import Record, end_state, tiny_config

from cotir.train.loop import Trainer
from cotir.train.records import read_log, rising
from cotir.train.run_file import load_config, to_yaml

STEPS, KILLED = 30, (13, 22)
HERE = Path(__file__).parent
CURVE = (
    "loss",
    "flow",
    "d_scene",
    "d_degradation",
    "d_plan",
    "lambda_scene",
    "lambda_degradation",
    "lambda_plan",
    "lr",
)


class Killer(Record):
    """Ends its own process, without a word, when a step is logged."""

    def __init__(self, step):
        super().__init__()
        self.step = step

    def update(self, row):
        if row["step"] == self.step:
            os.kill(os.getpid(), signal.SIGKILL)


def sitting(config, kill):
    """A process of its own that trains, to the end if ``kill`` is 0; returns how it ended."""
    path = os.pathsep.join([str(HERE), str(HERE.parent), *filter(None, [os.environ.get("PYTHONPATH")])])
    command = [sys.executable, "-m", "test_resume", str(config), str(kill)]
    return subprocess.run(
        command, env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True, check=False, timeout=120
    )


def curve(run):
    return [[row["step"], *(row[key] for key in CURVE)] for row in rising(read_log(run / "log.jsonl"))]


@pytest.mark.timeout(300)
@pytest.mark.parametrize("workers", [0, pytest.param(2, marks=pytest.mark.slow)])
def test_killed_twice_it_ends_bit_for_bit_as_if_it_had_not_been(material, tmp_path, workers):
    files = {}
    for name in ("straight", "killed"):
        config = tiny_config(material, tmp_path / name, steps=STEPS, data={"region": 40, "workers": workers})
        files[name] = tmp_path / f"{name}.yaml"
        files[name].write_text(to_yaml(config), encoding="utf-8")
    ended = sitting(files["straight"], 0)
    assert ended.returncode == 0, ended.stderr
    for step in KILLED:
        ended = sitting(files["killed"], step)
        assert ended.returncode == -signal.SIGKILL, ended.stderr
    ended = sitting(files["killed"], 0)
    assert ended.returncode == 0, ended.stderr
    straight, killed = tmp_path / "straight", tmp_path / "killed"
    assert end_state(killed) == end_state(straight)
    assert len(read_log(killed / "log.jsonl")) > STEPS  # it did take steps again
    assert curve(killed) == curve(straight)
    assert [row[0] for row in curve(killed)] == list(range(1, STEPS + 1))


@pytest.mark.slow
def test_data_workers_end_when_the_training_is_killed(material, tmp_path):
    config = tiny_config(material, tmp_path / "run", steps=STEPS, data={"workers": 2})
    file = tmp_path / "run.yaml"
    file.write_text(to_yaml(config), encoding="utf-8")
    ended = sitting(file, 2)  # returns only when no process holds its output any more
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    left = [p for p in psutil.process_iter(["cmdline"]) if str(file) in (p.info["cmdline"] or ())]
    assert left == []


if __name__ == "__main__":
    Trainer(load_config(sys.argv[1]), Killer(int(sys.argv[2]))).run()
