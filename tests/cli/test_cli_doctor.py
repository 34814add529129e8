"""``cotir doctor`` and ``cotir convert``."""

import sys
from importlib.metadata import metadata

import pytest
import torch

from cotir import __version__
from cotir.loading import NANO_FOLDER
from cotir.presets import PRESETS
from golden_model import TINY


def lines(text, name):
    """The line that starts with a name, and the remedy under it."""
    rows = text.splitlines()
    index = next(i for i, row in enumerate(rows) if row.split()[:1] == [name])
    remedy = rows[index + 1].strip() if index + 1 < len(rows) and rows[index + 1].strip().startswith("->") else ""
    return rows[index], remedy


@pytest.fixture
def caches(tmp_path, monkeypatch):
    """Empty places for adapters and hub models."""
    monkeypatch.setenv("COTIR_HOME", str(tmp_path / "adapters"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path


def test_versions_machine_and_extras(cotir, caches):
    outcome = cotir("doctor")
    assert outcome.code == 0
    assert lines(outcome.out, "cotir")[0].split() == ["cotir", __version__]
    assert lines(outcome.out, "torch")[0].split() == ["torch", torch.__version__]
    assert "GiB free" in lines(outcome.out, "memory")[0]
    assert f"torch uses {torch.get_num_threads()} threads" in lines(outcome.out, "cpu")[0]
    for kind in ("avif", "heic", "jxl"):
        assert "read" in lines(outcome.out, kind)[0] or "pip install" in lines(outcome.out, kind)[1]
    for extra in metadata("cotir").get_all("Provides-Extra") or []:
        if extra != "dev":
            row, remedy = lines(outcome.out, extra)
            assert (" ready (" in row) or remedy == f"-> pip install 'cotir[{extra}]'"


def test_missing_package_of_an_extra_names_the_command(cotir, caches, monkeypatch):
    needed = ["torch>=2", "no-such-package>=1; extra == 'ui'", "pillow; extra == 'ui'", "pillow; extra == 'server'"]
    monkeypatch.setattr("cotir.interfaces.doctor.requires", lambda name: needed)
    out = cotir("doctor").out
    row, remedy = lines(out, "ui")
    assert "missing no-such-package (the web page)" in row and remedy == "-> pip install 'cotir[ui]'"
    assert lines(out, "server")[0].endswith("ready (the service)")


def test_models_licences_and_what_is_missing(cotir, caches):
    out = cotir("doctor").out
    for preset in PRESETS.values():
        row, remedy = lines(out, preset.name)
        assert f"weights under {preset.licence}" in row
        if preset.base is not None:
            assert f"missing: adapter {caches / 'adapters' / preset.name}, base {preset.base}" in row
            assert f"cotir convert RELEASED_DIR {caches / 'adapters' / preset.name}" in remedy
            assert f"hf download {preset.base} (licence: {preset.licence_url})" in remedy
    state = "ready" if (NANO_FOLDER / "model_index.json").is_file() else "missing"
    assert state in lines(out, "nano")[0]


def test_models_at_hand(cotir, caches):
    (caches / "adapters" / "4b").mkdir(parents=True)
    (caches / "adapters" / "4b" / "cotir.json").touch()
    hub = caches / "hub" / "models--black-forest-labs--FLUX.2-klein-4B"
    (hub / "refs").mkdir(parents=True)
    (hub / "refs" / "main").write_text("f" * 40)
    (hub / "snapshots" / ("f" * 40)).mkdir(parents=True)
    (hub / "snapshots" / ("f" * 40) / "model_index.json").touch()
    row, remedy = lines(cotir("doctor").out, "4b")
    assert "ready; weights under Apache-2.0" in row and remedy == ""


def test_absent_jxl_plug_in_and_package(cotir, caches, monkeypatch):
    monkeypatch.setitem(sys.modules, "pillow_jxl", None)
    monkeypatch.setattr("cotir.interfaces.doctor.find_spec", lambda name: None)
    assert lines(cotir("doctor").out, "jxl")[1] == "-> pip install pillow-jxl-plugin"


@pytest.fixture
def tiny_presets(monkeypatch):
    """The tiny released models of the suite are sizes like any other."""
    known = dict(PRESETS) | {preset.name: preset for preset in TINY.values()}
    monkeypatch.setattr("cotir.presets.PRESETS", known)


def test_convert_makes_a_folder_and_says_how_to_use_it(cotir, imported, tiny_presets, tmp_path):
    outcome = cotir("convert", imported["flux2"].released, tmp_path / "out", "--preset", "tiny-flux2")
    assert outcome.code == 0
    assert {path.name for path in (tmp_path / "out").iterdir()} >= {"cotir.json", "cot_adapter.safetensors", "lora"}
    assert outcome.out.splitlines() == [
        f"{tmp_path / 'out'}: adapter for tiny-flux2, LoRA of rank 4, base tiny",
        f"use it: cotir restore PHOTO --model {tmp_path / 'out'}",
    ]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("nothing", "out"), 1, "nothing/lora.pt does not exist: a released checkpoint is a folder with"),
        (("RELEASED", "out"), 1, "the checkpoint fits no preset"),
        (("RELEASED", "out", "--preset", "5b"), 2, "there is no preset '5b'; choose one of nano, 4b, 9b, 12b"),
    ],
)
def test_convert_that_cannot_be_done(cotir, imported, tmp_path, monkeypatch, arguments, code, message):
    monkeypatch.chdir(tmp_path)
    released = imported["flux2"].released
    outcome = cotir("convert", *(released if word == "RELEASED" else word for word in arguments))
    assert outcome.code == code
    assert outcome.err.startswith(f"error: {message}") and outcome.err.count("\n") == 1
    assert not (tmp_path / "out").exists()
