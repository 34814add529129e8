"""Where a model is looked for, and what a reader is told when it is not there. Nothing here touches the network."""

import json
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import pytest
from huggingface_hub.errors import GatedRepoError, HFValidationError, LocalEntryNotFoundError

from cotir import loading
from cotir.errors import WeightsError
from cotir.loading import NANO_FOLDER, Source, adapters_home, locate
from cotir.presets import PRESETS

LARGE = ("4b", "9b", "12b")


@dataclass
class Hub:
    """In place of ``snapshot_download``: folders by repository, an error for every other, and a record of calls."""

    folders: dict[str, Path] = field(default_factory=dict)
    error: Exception = field(default_factory=lambda: LocalEntryNotFoundError("Cannot find a cached snapshot folder"))
    patterns: dict[str, list[str] | None] = field(default_factory=dict)

    def __call__(self, name, *, allow_patterns=None):
        self.patterns[name] = allow_patterns
        if name not in self.folders:
            raise self.error
        return str(self.folders[name])


@pytest.fixture(autouse=True)
def hub(monkeypatch):
    stand_in = Hub()
    monkeypatch.setattr(loading, "snapshot_download", stand_in)
    return stand_in


@pytest.fixture(autouse=True)
def home(monkeypatch, tmp_path):
    monkeypatch.setenv("COTIR_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def whole(tmp_path):
    return pipeline_folder(tmp_path / "whole")


@pytest.fixture
def base(tmp_path):
    return pipeline_folder(tmp_path / "base")


@pytest.fixture
def adapter(tmp_path):
    return adapter_folder(tmp_path / "adapter")


def pipeline_folder(folder):
    folder.mkdir()
    (folder / "model_index.json").write_text("{}", encoding="utf-8")
    return folder


def adapter_folder(folder, preset="4b", base="owner/base"):
    folder.mkdir(parents=True)
    manifest = {
        "preset": preset,
        "backbone": "flux2",
        "base": base,
        "rank": 4,
        "scale": 1.0,
        "depth": 2,
        "mlp_ratio": 4.0,
        "sources": {},
        "format": 1,
    }
    (folder / "cotir.json").write_text(json.dumps(manifest), encoding="utf-8")
    return folder


def test_adapters_live_in_the_cache_unless_told_otherwise(monkeypatch, tmp_path):
    assert adapters_home() == tmp_path / "home"
    monkeypatch.delenv("COTIR_HOME")
    assert adapters_home() == Path.home() / ".cache" / "cotir"


# --- found ------------------------------------------------------------------------------------------------------------


def test_nano_is_bundled(hub):
    assert locate("nano") == Source(whole=NANO_FOLDER)
    assert not hub.patterns


def test_a_whole_folder_needs_nothing_else(whole, hub):
    assert locate(whole) == locate(str(whole)) == Source(whole=whole)
    assert not hub.patterns


@pytest.mark.parametrize("name", LARGE)
def test_a_preset_is_its_converted_adapter_on_its_base(name, home, base, hub):
    converted = adapter_folder(home / name, name)
    hub.folders[PRESETS[name].base] = base
    assert locate(name) == Source(base=base, adapter=converted)
    # without the single-file copies beside the pipeline
    assert hub.patterns == {PRESETS[name].base: ["model_index.json", "*/*"]}


def test_a_preset_takes_a_base_and_an_adapter_from_elsewhere(base, adapter, hub):
    assert locate("9b", base=base, adapter=str(adapter)) == Source(base=base, adapter=adapter)
    hub.folders = {"me/adapter": adapter, "me/base": base}
    assert locate("9b", base="me/base", adapter="me/adapter") == Source(base=base, adapter=adapter)
    assert hub.patterns["me/adapter"] is None


def test_an_adapter_folder_names_its_base(base, adapter, hub):
    hub.folders["owner/base"] = base
    assert locate(adapter) == Source(base=base, adapter=adapter)
    assert locate(adapter, base=base) == Source(base=base, adapter=adapter)


def test_a_hub_repository_holds_either(whole, base, adapter, hub):
    hub.folders = {"me/whole": whole, "me/adapter": adapter, "owner/base": base}
    assert locate("me/whole") == Source(whole=whole)
    assert locate("me/adapter") == Source(base=base, adapter=adapter)


def test_a_folder_goes_before_a_repository_of_the_same_name(monkeypatch, tmp_path, hub):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "me").mkdir()
    pipeline_folder(tmp_path / "me" / "model")
    assert locate("me/model") == Source(whole=Path("me/model"))
    assert not hub.patterns


# --- not found --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "model", ["nono", "a/b/c", "./missing", "/no/such/folder", "~/missing", Path("owner/name"), Path("nono")]
)
def test_an_unknown_model_lists_what_there_is(model, hub):
    with pytest.raises(WeightsError) as caught:
        locate(model)
    assert str(caught.value) == (
        f"the model {str(model)!r} is no folder, no hub id (owner/name) and none of nano, 4b, 9b, 12b"
    )
    assert not hub.patterns


def test_an_empty_folder_says_what_was_looked_for(tmp_path):
    with pytest.raises(
        WeightsError, match=r"holds neither model_index\.json .* nor cotir\.json .*or use a preset: nano, 4b, 9b, 12b"
    ):
        locate(tmp_path)


def test_a_damaged_manifest_is_an_error(adapter):
    (adapter / "cotir.json").write_text('{"format": 2}', encoding="utf-8")
    with pytest.raises(WeightsError, match=r"cotir\.json is no format-1 adapter description"):
        locate(adapter)


@pytest.mark.parametrize("name", LARGE)
def test_a_preset_that_is_not_converted_says_how(name, home, hub):
    with pytest.raises(WeightsError) as caught:
        locate(name)
    assert str(caught.value) == (
        f"no CoTIR adapter for {name!r} at {home / name}; convert the released weights with "
        f"'cotir convert RELEASED_DIR {home / name}', or pass adapter=FOLDER"
    )
    assert not hub.patterns  # an adapter is missed before tens of gigabytes of base are fetched


def test_an_adapter_that_is_none(tmp_path, base):
    (tmp_path / "empty").mkdir()
    with pytest.raises(WeightsError, match=r"no CoTIR adapter for '4b' at .*empty"):
        locate("4b", base=base, adapter=tmp_path / "empty")


def gated():
    response = SimpleNamespace(headers={}, request=None, status_code=401)
    return GatedRepoError("401 Client Error.\nAccess is restricted.", response=response)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (LocalEntryNotFoundError("An error happened while trying to locate the files on the Hub"), "An error happened"),
        (gated(), "401 Client Error"),
        (ConnectionError("offline mode is enabled"), "offline mode is enabled"),
        (TimeoutError(), "TimeoutError"),
    ],
)
@pytest.mark.parametrize("name", LARGE)
def test_a_missing_base_names_repository_licence_and_folder(name, error, reason, adapter, hub):
    hub.error, preset = error, PRESETS[name]
    with pytest.raises(WeightsError) as caught:
        locate(name, adapter=adapter)
    message = str(caught.value)
    assert message.startswith(f"the base model {preset.base} is not on this machine and could not be fetched")
    assert f"It is under the {preset.licence}: accept it at {preset.licence_url}." in message
    assert f"'hf download {preset.base}'" in message
    assert "base=FOLDER (--base FOLDER)" in message
    assert reason in message
    assert "Access is restricted" not in message  # one line of the reason is enough


def test_a_missing_base_of_an_adapter_of_one_s_own(tmp_path, adapter):
    with pytest.raises(WeightsError, match=r"accept it at https://huggingface\.co/black-forest-labs/FLUX\.2-klein-4B"):
        locate(adapter)
    own = adapter_folder(tmp_path / "own", preset="mine")
    with pytest.raises(WeightsError) as caught:
        locate(own)
    assert "the base model owner/base is not on this machine" in str(caught.value)
    assert "licence" not in str(caught.value).lower()


def test_an_adapter_without_a_base(tmp_path):
    with pytest.raises(WeightsError, match="this adapter does not name its base; pass base=FOLDER"):
        locate(adapter_folder(tmp_path / "nameless", base=None))


def test_a_base_that_is_a_folder_of_something_else(tmp_path, adapter, base):
    shutil.rmtree(base)
    base.mkdir()
    with pytest.raises(WeightsError, match=r"base has no model_index\.json; point at a diffusers pipeline folder"):
        locate(adapter, base=base)


def test_a_hub_model_that_cannot_be_fetched(hub):
    hub.error = HFValidationError("Repo id must use alphanumeric chars")
    with pytest.raises(
        WeightsError, match="cannot fetch the model 'me/mo del' from the hub: Repo id must use alphanumeric"
    ):
        locate("me/mo del")
