import pytest

from cotir.errors import ConfigError
from cotir.presets import PRESETS, find_preset


def test_every_base_names_its_licence():
    licences = {preset.base: preset.licence for preset in PRESETS.values() if preset.base}
    assert licences == {
        "black-forest-labs/FLUX.2-klein-4B": "Apache-2.0",
        "black-forest-labs/FLUX.2-klein-9B": "FLUX Non-Commercial License",
        "black-forest-labs/FLUX.1-Kontext-dev": "FLUX.1 [dev] Non-Commercial License",
    }
    assert all(preset.licence_url.startswith("https://") for preset in PRESETS.values())


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_is_found_by_its_name(name):
    preset = find_preset(name)
    assert preset.name == name
    assert preset.steps == preset.backbone.steps >= 1


def test_an_unknown_preset_lists_the_known():
    with pytest.raises(ConfigError, match="no preset '5b'; choose one of nano, 4b, 9b, 12b"):
        find_preset("5b")
