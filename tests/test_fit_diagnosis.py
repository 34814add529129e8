"""scripts/fit_diagnosis.py as a user runs it, and the pictures it makes."""

import importlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from cotir.errors import ConfigError
from cotir.evidence import measure
from cotir.phrase_bank import KINDS
from cotir.read_out import FILE, ReadOut
from cotir.storage import write_safetensors
from nano_model import write_tiny_pipeline

SCRIPTS = Path(__file__).parents[1] / "scripts"
STATISTICS = len(measure(torch.zeros(3, 64, 64)))


@pytest.fixture
def script(monkeypatch):
    monkeypatch.syspath_prepend(SCRIPTS)
    yield importlib.import_module("fit_diagnosis")
    sys.modules.pop("fit_diagnosis", None)


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    for number in range(12):
        pixels = np.random.default_rng(number).integers(0, 256, (256, 256, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    return folder


def run(*arguments, home):
    command = [sys.executable, SCRIPTS / "fit_diagnosis.py", *map(str, arguments)]
    environment = os.environ | {"COTIR_HOME": str(home)}
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)


def test_pictures_are_the_same_for_the_same_number_and_hold_no_mixture_that_is_held_out(script, photos):
    pictures = script.Pictures(photos, script.ROOT / "configs/bench/default.yaml")
    one, other = (pictures.known(numbers) for numbers in (range(3, 15), [14]))
    assert one.measured.shape == (12, STATISTICS) and bool(one.measured.isfinite().all())
    assert one.labels.shape == one.severities.shape == (12, len(KINDS))
    for name in ("measured", "labels", "severities"):
        torch.testing.assert_close(getattr(one, name)[-1:], getattr(other, name))
    assert bool(((one.severities > 0) <= (one.labels > 0)).all()) and one.labels.sum() > 0
    assert frozenset({"rain", "watermark"}) in pictures.held_out
    drawn = [pictures._damage(np.random.default_rng(number), 0.5)[0] for number in range(400)]
    assert not pictures.held_out & {frozenset(kinds) for kinds in drawn}
    assert {len(kinds) for kinds in drawn} == {1, 2, 3, 4}


def test_pictures_like_files_are_undamaged_or_not_and_have_a_grid_that_is_no_damage(script, photos):
    pictures = script.Pictures(photos, script.ROOT / "configs/bench/default.yaml")
    known = pictures.known(range(10), files=True)
    assert bool(known.measured.isfinite().all()) and 0 < (known.labels.sum(dim=1) == 0).sum() < 10
    rng, plain = np.random.default_rng(0), np.random.default_rng(1).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    saved = script._saved(plain, rng)
    assert saved.shape == plain.shape and not np.array_equal(saved, plain)


def test_the_photo_of_a_picture_is_told_without_making_it(script, photos, monkeypatch):
    pictures = script.Pictures(photos, script.ROOT / "configs/bench/default.yaml")
    cut, used = pictures.source.cut, []
    monkeypatch.setattr(pictures.source, "cut", lambda rng, photo, side: used.append(photo) or cut(rng, photo, side))
    for files in (False, True):
        pictures.known(range(4, 10), files=files)
        told = [pictures.source.photos["train"][pictures.place(number, files=files)] for number in range(4, 10)]
        assert used == told and len(set(used)) > 1
        used.clear()


def test_confidences_are_calibrated_on_photos_left_out_and_the_whole_is_learned_from(script):
    generator = torch.Generator().manual_seed(0)
    labels = (torch.rand(1000, len(KINDS), generator=generator) < 0.3).float()
    measured = labels + torch.randn(1000, len(KINDS), generator=generator)
    left_out = torch.arange(1000) % 10 == 0
    # what is measured says nothing of the photos left out: there nothing can be told but how frequent a kind is
    measured[left_out] = torch.randn(100, len(KINDS), generator=generator)
    known = script.Known(measured, labels, labels * 0.5)
    diagnosis = script.learn(known, left_out)
    torch.testing.assert_close(diagnosis.mean, measured.mean(dim=0))
    doubting = diagnosis.confidences(measured[left_out])
    assert (doubting.mean(dim=0) - labels[left_out].mean(dim=0)).abs().max() < 0.1 and doubting.std(dim=0).mean() < 0.1
    with pytest.raises(ConfigError, match="in none or all of the pictures"):
        script.learn(known, torch.zeros(1000, dtype=torch.bool))
    with pytest.raises(ConfigError, match="in none or all of the pictures"):
        script.learn(known, torch.ones(1000, dtype=torch.bool))


def test_what_is_measured_already_is_learned_and_the_rest_stays(tmp_path, photos):
    model = write_tiny_pipeline(tmp_path / "model")
    (tmp_path / "measured").mkdir()
    labels = (torch.rand(500, len(KINDS), generator=torch.Generator().manual_seed(0)) < 0.3).float()
    measured = torch.zeros(500, STATISTICS)
    measured[:, : len(KINDS)] = labels
    known = {"measured": measured, "labels": labels, "severities": labels * 0.5}
    write_safetensors(known, tmp_path / "measured/00000.safetensors")
    options = ("--pictures", 500, "--files", 0, "--workers", 1)
    done = run(model, photos, tmp_path / "measured", *options, home=tmp_path / "home")
    assert done.returncode == 0, done.stderr
    judged, last = [line for line in done.stdout.splitlines() if line.startswith("learned from")]
    assert "of the photos left out: mean average precision" in judged
    assert last.startswith("learned from 500 pictures; what restoring gains")
    read_out = ReadOut.load(model / FILE)
    assert read_out.diagnosis is not None and read_out.diagnosis.calibration[:, 0].ne(1).all()
    told = read_out.diagnosis.confidences(measured)
    assert told[labels > 0].mean() > told[labels == 0].mean() + 0.3


def test_too_few_pictures_are_one_clear_line(tmp_path):
    done = run(tmp_path, tmp_path, tmp_path, "--pictures", 20, home=tmp_path)
    assert done.returncode == 2 and "give 500 crops or more, and a worker" in done.stderr.splitlines()[-1]
