"""What scripts/bundle_nano.py takes from a run; it writes into the package, so its parts are tried here."""

import importlib
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from cotir.errors import ConfigError
from nano_model import tiny_pipeline

SCRIPTS = Path(__file__).parents[1] / "scripts"


@pytest.fixture
def script(monkeypatch):
    monkeypatch.syspath_prepend(SCRIPTS)
    yield importlib.import_module("bundle_nano")
    sys.modules.pop("bundle_nano", None)


def nano(value, **shape):
    transformer = tiny_pipeline(**shape).transformer
    for weight in transformer.parameters():
        torch.nn.init.constant_(weight, value)
    return transformer


def same_but_experts(some, other):
    theirs = other.state_dict()
    return all(
        torch.equal(weight, theirs[name]) for name, weight in some.state_dict().items() if "expertise" not in name
    )


def test_some_experts_are_taken_and_all_else_stays(script):
    package = nano(1.0, experts=("noise", "jpeg", "rain"))
    made = script.with_experts(package, nano(2.0, experts=("rain", "noise")), ["rain", "noise"], 0.75)
    assert made.expertise.learned().mean(dim=1).tolist() == [1.75, 1.0, 1.75]
    assert same_but_experts(made, package) and torch.equal(made.expertise.gate.weight, package.expertise.gate.weight)
    assert bool((package.expertise.changes == 1).all())


@pytest.mark.parametrize("had", [(), ("noise",)])
def test_experts_that_the_package_has_not_are_added_with_a_gate_that_is_shut(script, had):
    package = nano(1.0, experts=had)
    made = script.with_experts(package, nano(2.0, experts=("haze+",)), ["haze+"], 1.0)
    assert made.expertise.names == (*had, "haze+") and same_but_experts(made, package)
    assert made.expertise.learned().mean(dim=1).tolist() == [*[1.0] * len(had), 2.0]
    assert bool((made.expertise.gates(torch.zeros(1, made.expertise.gate.in_features))[:, -1] < 0.02).all())


def test_a_mean_is_between_both(script):
    made = script.mean(nano(1.0, experts=("noise",)), nano(3.0, experts=("noise",)), 0.25)
    assert all(bool((weight == 1.5).all()) for weight in made.parameters())


@pytest.mark.parametrize(
    ("package", "trained", "said"),
    [
        ({}, {}, "RUN has no expert for haze+"),
        ({}, {"experts": ("haze",)}, "RUN has no expert for haze+"),
        ({}, {"experts": ("haze+",), "tone": True}, "RUN's way up has another than the package's"),
    ],
)
def test_experts_that_cannot_be_taken_are_one_clear_message(script, package, trained, said):
    with pytest.raises(ConfigError, match=said.replace("+", r"\+")):
        script.with_experts(nano(1.0, **package), nano(1.0, **trained), ["haze+"], 1.0)


@pytest.mark.parametrize("trained", [{"experts": ("jpeg",)}, {"tone": True}, {}])
def test_a_mean_of_two_shapes_is_one_clear_message(script, trained):
    with pytest.raises(ConfigError, match="--share needs weights of one shape"):
        script.mean(nano(1.0, experts=("noise",)), nano(1.0, **trained), 0.5)


def test_a_folder_without_weights_is_one_clear_line(tmp_path):
    command = [sys.executable, SCRIPTS / "bundle_nano.py", tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and "holds no weights of a nano" in done.stderr.splitlines()[-1]
