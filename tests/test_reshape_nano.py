"""scripts/reshape_nano.py as a user runs it."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from cotir import CoTIRPipeline
from nano_model import write_tiny_pipeline

SCRIPT = Path(__file__).parents[1] / "scripts/reshape_nano.py"


def reshape(*arguments):
    return subprocess.run([sys.executable, SCRIPT, *map(str, arguments)], capture_output=True, text=True, check=False)


def test_what_fits_is_kept_and_the_rest_is_told(tmp_path):
    old = CoTIRPipeline.from_pretrained(write_tiny_pipeline(tmp_path / "old")).transformer
    done = reshape(tmp_path / "old", tmp_path / "new", "block=residual", "tone=true")
    assert done.returncode == 0, done.stderr
    kept, new, left_out = done.stdout.splitlines()
    assert new.startswith("new: decoder.0 (6), ") and new.endswith("tone_map.tell (2)")
    assert left_out.startswith("left out: decoder.0 (6), ") and "tone_map" not in left_out
    shaped = CoTIRPipeline.from_pretrained(tmp_path / "new").transformer
    assert (
        shaped.config["block"] == "residual" and shaped.config["tone"] and shaped.config["width"] == old.config["width"]
    )
    new_weights = shaped.state_dict()
    same = old.state_dict().keys() & new_weights.keys()
    assert all(torch.equal(new_weights[name], old.state_dict()[name]) for name in same)
    assert kept == f"{len(same)} tensors kept"
    assert {name.split(".")[0] for name in old.state_dict().keys() - same} == {"encoder", "decoder"}


@pytest.mark.parametrize(
    ("shape", "ones", "new", "left_out"),
    [
        (("experts=[noise, jpeg]",), [1.0, 1.0], False, False),
        (("packed=true",), [1.0, 1.0], False, False),
        (("experts=[jpeg, noise]",), [1.0, 1.0], False, False),
        (("experts=[jpeg, haze+]", "packed=true"), [1.0, 0.0], True, True),
        (("experts=[haze+, noise, jpeg]",), [0.0, 1.0, 1.0], True, False),
        (("experts=[]",), None, False, True),
    ],
)
def test_experts_are_kept_by_their_names(tmp_path, shape, ones, new, left_out):
    old = write_tiny_pipeline(tmp_path / "old", experts=("noise", "jpeg"))
    transformer = CoTIRPipeline.from_pretrained(old).transformer
    torch.nn.init.ones_(transformer.expertise.changes)
    transformer.save_pretrained(old / "transformer")
    done = reshape(old, tmp_path / "new", *shape)
    assert done.returncode == 0, done.stderr
    expertise = CoTIRPipeline.from_pretrained(tmp_path / "new").transformer.expertise
    assert (None if expertise is None else expertise.learned().mean(dim=1).tolist()) == ones
    assert ("new: expertise." in done.stdout) is new
    assert ("left out: expertise." in done.stdout) is left_out


def test_experts_may_stand_open(tmp_path):
    write_tiny_pipeline(tmp_path / "old")
    assert reshape(tmp_path / "old", tmp_path / "new", "experts=[haze+]", "--open").returncode == 0
    expertise = CoTIRPipeline.from_pretrained(tmp_path / "new").transformer.expertise
    features = torch.randn(2, expertise.gate.in_features)
    torch.testing.assert_close(expertise.gates(features), torch.ones(2, 1))
    done = reshape(tmp_path / "old", tmp_path / "none", "tone=true", "--open")
    assert done.returncode == 2 and "has no experts; name some" in done.stderr.splitlines()[-1]
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(
    ("model", "shape", "said"),
    [
        ("old", "widht=8", "has no 'widht'; it takes"),
        ("old", "block=dense", "there is no block 'dense'"),
        ("old", "experts=[jpg]", "an expert is for kinds of damage, and 'jpg' in 'jpg' is none"),
        ("old", "tone", "'tone' is no KEY=VALUE"),
        ("none", "tone=true", "none"),
    ],
)
def test_what_cannot_be_is_one_clear_line(tmp_path, model, shape, said):
    write_tiny_pipeline(tmp_path / "old")
    done = reshape(tmp_path / model, tmp_path / "new", shape)
    assert done.returncode == 2 and said in done.stderr.splitlines()[-1] and "Traceback" not in done.stderr
    assert not (tmp_path / "new").exists()
