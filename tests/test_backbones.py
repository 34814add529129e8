import json

import pytest
import torch

from cotir.backbones import BACKBONES, FLUX1, FLUX2, NANO, backbone_of
from cotir.errors import ConfigError
from golden_model import GOLDEN, vectors

SCHEDULES = json.loads((GOLDEN / "vectors.json").read_text(encoding="utf-8"))["schedules"]
RELEASED = [(family, key) for family in ("flux1", "flux2") for key in SCHEDULES[family]]


@pytest.mark.parametrize(("family", "key"), RELEASED)
def test_schedule_is_the_released_one(family, key):
    steps, tokens = map(int, key.split("_"))
    torch.testing.assert_close(
        BACKBONES[family].schedule(steps, tokens), torch.tensor(SCHEDULES[family][key]), rtol=0, atol=1e-6
    )


@pytest.mark.parametrize("key", SCHEDULES["flux2_mu"])
def test_flux2_mu_is_the_released_one(key):
    steps, tokens = map(int, key.split("_"))
    assert FLUX2.mu(steps, tokens) == pytest.approx(SCHEDULES["flux2_mu"][key], abs=1e-9)


@pytest.mark.parametrize("backbone", BACKBONES.values(), ids=BACKBONES)
@pytest.mark.parametrize("steps", [1, 4, 50])
def test_schedule_falls_from_noise_to_clean(backbone, steps):
    times = backbone.schedule(steps, 1024)
    assert len(times) == steps + 1
    assert times[0].item() == pytest.approx(1)
    assert times[-1] == 0
    assert (times.diff() < 0).all()


def test_one_step_of_nano_goes_all_the_way():
    assert NANO.schedule(1, 64).tolist() == [1, 0]


def test_schedule_refuses_no_steps():
    with pytest.raises(ConfigError, match="steps is 0; it must be at least 1"):
        NANO.schedule(0, 64)


@pytest.mark.parametrize("backbone", [FLUX1, FLUX2], ids=["flux1", "flux2"])
def test_image_positions_are_the_released_ones(backbone):
    released = vectors(backbone.name)
    ours = backbone.image_positions(96 // 16, 160 // 16)
    expected = torch.cat([released["ids.96x160.img_ids"], released["ids.96x160.img_cond_ids"]])
    assert torch.equal(ours, expected.float())
    ours = backbone.image_positions(4, 3)
    assert torch.equal(ours, torch.cat([released["io.img_ids"][0], released["io.img_cond_ids"][0]]))


@pytest.mark.parametrize("backbone", [FLUX1, FLUX2], ids=["flux1", "flux2"])
def test_text_positions_are_the_released_ones(backbone):
    released = vectors(backbone.name)["io.txt_ids"][0]
    assert torch.equal(backbone.text_positions(len(released)), released)


def test_backbone_of_an_unknown_model_names_the_known_ones():
    with pytest.raises(ConfigError, match=r"Linear is not a CoTIR transformer; use one of CoTFluxTransformer2DModel"):
        backbone_of(torch.nn.Linear(1, 1))
