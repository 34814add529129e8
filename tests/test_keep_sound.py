"""A picture that restoring would harm comes back as it was, on a tiny random nano with a benefit made up."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from cotir.errors import ConfigError
from cotir.phrase_bank import KINDS
from cotir.read_out import ReadOut
from nano_model import tiny_pipeline


@pytest.fixture(scope="module", autouse=True)
def home(tmp_path_factory):
    """The read-out of the tiny model's text encoder is made once, apart from the user's own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COTIR_HOME", str(tmp_path_factory.getbasetemp() / "home"))
        yield


@pytest.fixture
def pipeline(home):
    made = tiny_pipeline()
    made.prepare_read_out()
    return made


def expecting(pipeline, *gains):
    """Has the pictures of the next calls read one after another as worth so much."""
    sound, said = pipeline.read_out, list(gains)

    class Made(ReadOut):
        def read(self, output, measured=None):
            return [replace(reasoning, expected_gain=said.pop(0)) for reasoning in super().read(output)]

    pipeline.read_out = Made(sound.lenses, sound.damage, sound.scenes, benefit=torch.zeros(len(KINDS) + 1))
    return pipeline


def picture(seed):
    return np.random.default_rng(seed).random((16, 24, 3), dtype=np.float32)


def test_what_restoring_would_harm_comes_back_as_it_was(pipeline):
    pictures = [picture(0), picture(1), picture(2)]
    output = expecting(pipeline, -0.1, 0.1, 0.0)(pictures, batch_size=2, output_type="np")
    assert output.kept == [True, False, True]
    assert [np.array_equal(a, b) for a, b in zip(pictures, output.images, strict=True)] == [True, False, True]


def test_a_person_who_says_what_to_do_is_obeyed(pipeline):
    output = expecting(pipeline, -1.0)(picture(0), "clear the haze", output_type="np")
    assert output.kept == [False] and not np.array_equal(output.image, picture(0))
    output = expecting(pipeline, -1.0)(picture(0), "clear the haze", keep_sound=True, output_type="np")
    assert output.kept == [True]
    output = expecting(pipeline, -1.0)(picture(0), keep_sound=False, output_type="np")
    assert output.kept == [False]


def test_a_plan_of_its_own_is_weighed_too(pipeline):
    output = expecting(pipeline, -1.0)(picture(0), plan_first=True, explain=False, output_type="np")
    assert output.kept == [True] and output.readings is None


def test_a_model_that_cannot_tell_keeps_nothing(pipeline):
    assert pipeline(picture(0), output_type="np").kept == [False]


def test_the_benefit_is_learned_from_gains_and_survives_the_disk(pipeline, tmp_path):
    """Noise gains 6 dB, haze loses 3, and a picture without either loses 1."""
    torch.manual_seed(0)
    scores = torch.rand(4000, len(KINDS))
    read_out = replace(pipeline.read_out, calibration=torch.tensor([[100.0, -50.0]] * len(KINDS)))  # a step at 0.5
    noise, haze = KINDS.index("noise"), KINDS.index("haze")
    found = read_out.confidences(scores)
    gains = 6 * found[:, noise] - 3 * found[:, haze] - 1
    taught = read_out.with_benefit(found, gains)
    torch.testing.assert_close(taught.expected_gain(found), gains, rtol=0, atol=0.05)
    taught.save(tmp_path / "reasoning.safetensors")
    again = ReadOut.load(tmp_path / "reasoning.safetensors")
    assert torch.equal(again.benefit, taught.benefit)
    (reasoning,) = again.read(pipeline(picture(0), predict_reasoning=True).thoughts[0])
    assert reasoning.is_worth_restoring == (reasoning.expected_gain > 0 or bool(reasoning.degradation))
    assert reasoning.to_json()["expected_gain"] == round(reasoning.expected_gain, 2)


def test_a_benefit_needs_a_calibration_and_a_gain_for_each(pipeline):
    scores = torch.rand(5, len(KINDS))
    with pytest.raises(ConfigError, match="is not calibrated; its confidences say nothing of gains yet"):
        pipeline.read_out.with_benefit(scores, torch.rand(5))
    read_out = replace(pipeline.read_out, calibration=torch.ones(len(KINDS), 2))
    with pytest.raises(ConfigError, match=r"confidences are \(5, 27\) and gains \(4,\); give a gain for each"):
        read_out.with_benefit(scores, torch.rand(4))
    with pytest.raises(ConfigError, match="was not measured for this model"):
        read_out.expected_gain(scores)
