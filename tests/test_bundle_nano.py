"""What scripts/bundle_nano.py takes from a run; it writes into the package, so its parts are tried here."""

import importlib
import sys
from pathlib import Path

import pytest
import torch

from cotir.experts import Experts

SCRIPTS = Path(__file__).parents[1] / "scripts"


@pytest.fixture
def script(monkeypatch):
    monkeypatch.syspath_prepend(SCRIPTS)
    yield importlib.import_module("bundle_nano")
    sys.modules.pop("bundle_nano", None)


def experts(value):
    made = Experts(("noise", "jpeg", "rain"), weights=4, features=2)
    torch.nn.init.constant_(made.changes, value)
    torch.nn.init.constant_(made.gate.weight, value)
    return made


def test_some_experts_are_taken_and_all_else_stays(script):
    package = {f"expertise.{name}": weight for name, weight in experts(1.0).state_dict().items()} | {"a": torch.ones(1)}
    taken = script.with_experts(package, experts(2.0), ["rain", "noise"])
    assert taken.keys() == package.keys()
    assert torch.equal(taken["expertise.changes"], torch.tensor([2.0, 1.0, 2.0])[:, None].expand(3, 4))
    assert all(torch.equal(taken[name], package[name]) for name in package if name != "expertise.changes")
    assert torch.equal(package["expertise.changes"], torch.ones(3, 4))


def test_a_package_without_experts_has_some_that_change_nothing(script):
    made = script.as_nothing(experts(2.0))
    assert not made["expertise.changes"].any() and bool((made["expertise.gate.weight"] == 2).all())
