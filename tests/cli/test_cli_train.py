"""``cotir train`` as a user runs it."""

import json
import os
import signal
import subprocess
import sys

import numpy as np
import pytest
import yaml
from PIL import Image

RECIPES = "single: [noise, blur]\nclean: true\ntest: {photos: 0.2, samples: 1}\n"


@pytest.fixture
def run_file(tmp_path, nano_folder):
    """A run of four steps on six made-up photos, from a tiny base."""
    photos = tmp_path / "photos"
    photos.mkdir()
    rng = np.random.default_rng(0)
    for number in range(6):
        Image.fromarray(rng.integers(0, 256, (80, 96, 3), np.uint8)).save(photos / f"{number}.png")
    (tmp_path / "recipes.yaml").write_text(RECIPES, encoding="utf-8")
    config = {
        "run": str(tmp_path / "run"),
        "threads": 1,
        "model": {"preset": "nano", "base": str(nano_folder), "train": "all"},
        "data": {
            "source": "photos",
            "path": str(photos),
            "recipe": str(tmp_path / "recipes.yaml"),
            "region": 48,
            "held_out": 0.3,
            "workers": 0,
        },
        "objective": {"time": {"at_one": 0.5, "floor": 0.05}},
        "optimizer": {"rate": 1e-3, "floor": 1e-4, "warmup": 2},
        "schedule": {"stages": [{"until": 4, "crop": 32, "batch": 2}]},
        "checkpoint": {"every": 2},
        "log": {"every": 1, "trackers": []},
        "validation": {"every": 4, "samples": 2, "pictures": 1, "crop": 32},
    }
    path = tmp_path / "run.yaml"
    path.write_text(yaml.safe_dump(config), encoding="utf-8")
    return path


def test_a_run_ends_with_a_model_that_restores_and_a_report(cotir, run_file, tmp_path):
    done = cotir("train", run_file)
    assert done.code == 0, done.err
    assert "4 steps done; use it: cotir restore PHOTO --model" in done.out
    rows = [json.loads(line) for line in (tmp_path / "run/log.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [row["step"] for row in rows] == [1, 2, 3, 4]
    weights = tmp_path / "run/weights"
    restored = cotir("restore", tmp_path / "photos/0.png", "-o", tmp_path / "out.png", "--model", weights)
    assert restored.code == 0, restored.err
    assert Image.open(tmp_path / "out.png").size == (96, 80)
    report = cotir("train", "report", tmp_path / "run")
    assert report.code == 0, report.err
    assert "</html>" in (tmp_path / "run/report.html").read_text(encoding="utf-8")


def test_sigterm_to_all_its_processes_saves_and_the_same_command_goes_on(cotir, run_file, tmp_path):
    command = [sys.executable, "-m", "cotir", "train", str(run_file), "schedule.stages.0.until=400"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command.append("data.workers=1")
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment, start_new_session=True)
    assert process.stderr is not None
    for line in process.stderr:  # the first logged step
        if line.startswith("step "):
            break
    os.killpg(process.pid, signal.SIGTERM)  # as a cluster's manager does
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM, errors
    assert "to continue, run the same command" in errors
    (saved, *_) = sorted((tmp_path / "run/checkpoints").iterdir(), reverse=True)
    step = int(saved.name.removeprefix("step-"))
    again = cotir("train", run_file, "schedule.stages.0.until=400", "model.ema=0.5")
    assert again.code == 1
    assert "model.ema is 0.5 and was 0.0" in again.err
    assert step < 400


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["optimizer.rat=1"], "unknown key 'rat' at optimizer.rat (did you mean 'rate'?)"),
        (["data.path=/nowhere"], "is no folder; name a folder of clean photos"),
        (["model.preset=4b"], "CoTNanoTransformer2DModel; CoTIR builds on"),
        (["nonsense"], "'nonsense' is no override; write key=value"),
    ],
)
def test_bad_input_is_one_message(cotir, run_file, arguments, message):
    done = cotir("train", run_file, *arguments)
    assert done.code == 2
    assert message in done.err
    assert "Traceback" not in done.err


def test_a_missing_run_file_is_named(cotir):
    done = cotir("train", "nowhere.yaml")
    assert done.code == 2
    assert "the run file nowhere.yaml cannot be read" in done.err


def test_a_dry_run_writes_nothing(cotir, run_file, tmp_path):
    done = cotir("train", run_file, "--dry-run")
    assert done.code == 0, done.err
    assert "preset: nano" in done.out
    assert not (tmp_path / "run").exists()


def test_a_dry_run_counts_the_processes_it_was_launched_with(cotir, run_file, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "8")
    monkeypatch.setenv("RANK", "0")
    assert "8 processes" in cotir("train", run_file, "--dry-run").out
    monkeypatch.setenv("RANK", "1")
    assert cotir("train", run_file, "--dry-run").out == ""


def test_help_shows_examples(cotir):
    done = cotir("train", "--help")
    assert done.code == 0
    assert "--dry-run" in done.out and "accelerate launch" in done.out


def test_a_report_of_nothing_is_an_error(cotir, tmp_path):
    done = cotir("train", "report", tmp_path / "no-run")
    assert done.code == 2
    assert "no-run" in done.err
