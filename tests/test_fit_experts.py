"""scripts/fit_experts.py as a user runs it, and its regression."""

import importlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from cotir import CoTIRPipeline
from cotir.experts import Experts
from nano_model import write_tiny_pipeline

SCRIPTS = Path(__file__).parents[1] / "scripts"


def run(*arguments):
    command = [sys.executable, SCRIPTS / "fit_experts.py", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture
def script(monkeypatch):
    monkeypatch.syspath_prepend(SCRIPTS)
    yield importlib.import_module("fit_experts")
    sys.modules.pop("fit_experts", None)


def test_the_regression_finds_what_the_features_tell(script):
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(400, 5, generator=generator) * torch.tensor([1.0, 100.0, 1.0, 1.0, 0.01]) + 3
    noise, jpeg = features[:, 1] > 60, features[:, 1] < -60
    kinds = torch.stack([noise, jpeg], dim=1).float()
    experts = Experts(("noise", "jpeg"), weights=1, features=5)
    seen = [script.Seen(features[part], kinds[part], kinds[part], True) for part in (slice(150), slice(150, 400))]
    script.fit(experts.gate, seen, read=5)
    told = experts.gates(features)
    told = torch.cat([1 - told.sum(dim=1, keepdim=True), told], dim=1).argmax(dim=1)
    which = torch.where(noise, 1, torch.where(jpeg, 2, 0))
    assert (told == which).float().mean() > 0.93


def test_what_is_read_decides_where_it_says_as_much_as_what_is_seen(script):
    said = torch.randn(200, 1, generator=torch.Generator().manual_seed(0))
    noise = (said > 0).float()
    experts = Experts(("noise",), weights=1, features=4)
    script.fit(experts.gate, [script.Seen(said.expand(-1, 4), noise, noise, False)], read=1)
    seen, read = experts.gate.weight[0, :3], experts.gate.weight[0, 3]
    assert (seen > 0).all() and read > 10 * seen.sum()


def test_what_is_not_alone_is_anything_else(script):
    """Two kinds in all pictures but a few: they say nothing of either alone."""
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(300, 3, generator=generator)
    kinds = torch.ones(300, 2)
    kinds[:30, 1] = 0
    alone = kinds * (kinds.sum(dim=1, keepdim=True) == 1)
    features[:30, 0] += 8
    experts = Experts(("noise", "jpeg"), weights=1, features=3)
    script.fit(experts.gate, [script.Seen(features, kinds, alone, False)], read=3)
    told = experts.gates(features)
    assert told[:30, 0].mean() > 0.9 and told[30:].sum(dim=1).mean() < 0.05
    lines = script.report(experts, [script.Seen(features, kinds, alone, False)]).splitlines()
    assert lines[0].startswith("| expert | precise: average precision | precise: its own | precise: there all the same")
    assert lines[2].startswith("| noise | 1.00 | 0.9")


def test_the_gate_is_fitted_and_nothing_else_moves(tmp_path):
    base = write_tiny_pipeline(tmp_path / "base", experts=("noise", "jpeg", "rain/noise+"))
    before = CoTIRPipeline.from_pretrained(base).transformer.state_dict()
    photos = tmp_path / "photos"
    photos.mkdir()
    for number in range(12):
        pixels = np.random.default_rng(number).integers(0, 256, (256, 256, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(photos / f"{number}.png")
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(
        "share: {single: 0.5, seen: 0.3, clean: 0.2}\nsingle: [noise, jpeg]\nseen: [noise + jpeg]\nclean: true\n",
        encoding="utf-8",
    )
    done = run(base, photos, "--crops", 16, "--judge", 12, "--crop", 32, "--recipe", recipe)
    assert done.returncode == 0, done.stderr
    table = [line for line in done.stdout.splitlines() if line.startswith("|")]
    assert [line.split(" | ")[0] for line in table[2:]] == ["| noise", "| jpeg", "| rain/noise+"]
    assert not any("nan" in line for line in table)
    after = CoTIRPipeline.from_pretrained(base).transformer.state_dict()
    moved = {name for name, weight in before.items() if not torch.equal(weight, after[name])}
    assert moved == {"expertise.gate.weight", "expertise.gate.bias"}


def test_a_model_without_experts_is_one_clear_line(tmp_path):
    done = run(write_tiny_pipeline(tmp_path / "base"), tmp_path)
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert "has no experts; make some with scripts/reshape_nano.py" in done.stderr.splitlines()[-1]


@pytest.mark.parametrize("few", [("--crops", 1), ("--judge", 0)])
def test_too_few_crops_are_one_clear_line(few, tmp_path):
    done = run(tmp_path, tmp_path, *few)
    assert done.returncode == 2 and "give two crops or more, and one to judge on" in done.stderr.splitlines()[-1]
