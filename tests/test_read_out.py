"""Reading reasoning: what is written is read back, whatever wrote it; confidences are as right as they say."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch

from cotir import CoTIRPipeline
from cotir.adapter import CoTOutput
from cotir.backbones import NANO
from cotir.diagnosis import Diagnosis
from cotir.encode import TextTokens
from cotir.errors import ConfigError, WeightsError
from cotir.evaluate.diagnosis import diagnose
from cotir.loading import NANO_FOLDER
from cotir.phrase_bank import KINDS, MOST, draw_bank
from cotir.read_out import FILE, ReadOut, severities_of
from cotir.read_outs import read_out_for
from cotir.storage import read_safetensors, write_safetensors
from cotir.words import SCENE_WORDS
from nano_model import tiny_pipeline

PARTS = ("scene", "degradation", "plan")


@pytest.fixture(scope="module")
def read_out():
    return ReadOut.load(NANO_FOLDER / FILE)


@pytest.fixture(scope="module")
def unseen():
    """Traces that no read-out was fitted on."""
    return draw_bank(48, np.random.default_rng(99))


def knowing(encode, read_out, traces):
    """What an adapter would predict that knows the trace, word for word; past its end it says what all say."""
    predicted = {}
    for part in PARTS:
        tokens = encode([trace.text(part) for trace in traces])
        mean = torch.zeros(tokens.embeddings.shape[1:])
        lens = read_out.lenses[part]
        mean[: len(lens.mean)] = lens.mean
        predicted[part] = torch.where(tokens.mask[..., None] > 0, tokens.embeddings, mean)
    return CoTOutput(torch.zeros(1), **predicted)


@pytest.fixture(scope="module")
def thought(read_out, unseen):
    return knowing(CoTIRPipeline.from_pretrained("nano").encode_prompt, read_out, unseen)


def fake_encoder(width=24, length=32):
    """Words to vectors, without a model: each position holds the mean of its own word and of all words so far."""
    table = {}

    def vector(word):
        if word not in table:
            table[word] = torch.randn(width, generator=torch.Generator().manual_seed(len(table)))
        return table[word]

    def encode(texts):
        embeddings, mask = torch.zeros(len(texts), length, width), torch.zeros(len(texts), length)
        for row, text in enumerate(texts):
            words = torch.stack([vector(word) for word in text.split()[:length]])
            embeddings[row, : len(words)] = words + words.mean(dim=0)
            mask[row, : len(words)] = 1
        return TextTokens(embeddings, mask)

    return encode


def test_the_bank_draws_every_kind_and_word_alike():
    bank = draw_bank(3000, np.random.default_rng(0))
    counts = np.mean([trace.damage_values()[: len(KINDS)] for trace in bank], axis=0)
    assert counts == pytest.approx(MOST / 2 / len(KINDS), rel=0.3)
    assert {len(trace.damage) for trace in bank} == set(range(MOST + 1))
    said = np.sum([trace.scene_values() for trace in bank], axis=0)
    assert len(said) == sum(map(len, SCENE_WORDS.values())) and (said > 0).all()


def test_what_is_written_is_read_back(read_out, thought, unseen):
    readings = read_out.read(thought)
    scores = read_out.scores(thought).numpy()
    labels = np.array([trace.damage_values()[: len(KINDS)] for trace in unseen])
    # of the pairs of a kind that is there and one that is not, nearly all are in the right order; what was learned from
    # pictures costs a little here
    there, absent = scores[labels == 1], scores[labels == 0]
    assert np.mean(there[:, None] > absent[None]) > 0.97
    for part in ("brightness", "contrast", "colour"):
        right = [getattr(reading.scene, part) == getattr(trace.scene, part)
                 for reading, trace in zip(readings, unseen, strict=True)]  # fmt: skip
        assert np.mean(right) > 0.8, part


def test_what_is_written_is_read_back_by_a_read_out_that_no_picture_corrected(unseen):
    encode = fake_encoder(width=64, length=48)
    bank = ReadOut.fit(encode)
    scores = bank.scores(knowing(encode, bank, unseen)).numpy()
    labels = np.array([trace.damage_values()[: len(KINDS)] for trace in unseen])
    assert np.mean(scores[labels == 1][:, None] > scores[labels == 0][None]) > 0.98


def test_presence_is_the_scores_with_their_gradient(read_out, thought):
    predicted = {part: getattr(thought, part).clone().requires_grad_() for part in PARTS}
    presence = read_out.presence(CoTOutput(torch.zeros(1), **predicted))
    assert torch.allclose(presence, read_out.scores(thought), atol=1e-6)
    presence.sum().backward()
    assert predicted["degradation"].grad.abs().sum() > 0
    assert predicted["plan"].grad.abs().sum() > 0
    assert predicted["scene"].grad is None


def test_readings_are_whole(read_out, thought):
    for reading in read_out.read(thought):
        confidences = [finding.confidence for finding in reading.findings]
        assert {finding.kind for finding in reading.findings} == set(KINDS)
        assert confidences == sorted(confidences, reverse=True)
        assert all(0 <= each <= 1 for each in confidences)
        assert all(0 <= finding.severity <= 1 for finding in reading.findings)


def test_a_score_rises_with_the_share_of_fitting_traces_that_name_the_kind():
    """A prediction between traces is read as each in part: what fits the picture, not the nearest trace alone."""
    encode = fake_encoder()
    read_out = ReadOut.fit(encode)
    bank = draw_bank(400, np.random.default_rng(7))
    texts = {part: encode([trace.text(part) for trace in bank]) for part in PARTS}
    place = KINDS.index("noise")
    noisy = torch.tensor([trace.damage_values()[place] for trace in bank]) == 1
    scores = []
    for share in (0.0, 0.5, 1.0):
        weights = torch.where(noisy, share / noisy.sum(), (1 - share) / (~noisy).sum())
        mean = {
            part: torch.einsum("b,bnd->nd", weights, torch.nn.functional.normalize(t.embeddings, dim=-1))[None]
            for part, t in texts.items()
        }
        scores.append(float(read_out.scores(CoTOutput(torch.zeros(1), **mean))[0, place]))
    assert scores[0] < 0.2 < 0.4 < scores[1] < scores[2]


def test_calibrated_confidences_are_right_as_often_as_they_say(read_out):
    rng = np.random.default_rng(0)
    truth = rng.uniform(-6, 2, size=(4000, len(KINDS)))
    labels = torch.tensor(rng.random(truth.shape) < 1 / (1 + np.exp(-truth)), dtype=torch.float32)
    scores = torch.tensor(0.1 * truth + 0.3, dtype=torch.float32)  # right in order, wrong as a probability
    calibrated = read_out.calibrated(scores[:2000], labels[:2000])
    slope, offset = calibrated.calibration.unbind(dim=1)
    confidence = torch.sigmoid(scores[2000:] * slope + offset).flatten()
    rest, error = labels[2000:].flatten(), 0.0
    for low in np.arange(0, 1, 0.1):
        chosen = (confidence >= low) & (confidence < low + 0.1)
        error += float((confidence[chosen].mean() - rest[chosen].mean()).abs() * chosen.float().mean())
    assert error < 0.01
    assert float((scores[2000:].flatten() - rest).abs().mean()) > 0.2  # as they came they were no probabilities


@dataclass(frozen=True)
class Pictures:
    """Thoughts about pictures by a model of its own wording, and what was there."""

    features: torch.Tensor
    labels: torch.Tensor
    severities: torch.Tensor


def pictures(read_out, count, seed):
    """Features that tell kinds and severities in directions the bank knows nothing of, under noise."""
    width = len(read_out.damage.matrix)
    own = torch.randn(2 * len(KINDS), width, generator=torch.Generator().manual_seed(0))
    draw = torch.Generator().manual_seed(seed)
    labels = (torch.rand(count, len(KINDS), generator=draw) < 0.2).float()
    severities = torch.rand(labels.shape, generator=draw)
    said = torch.cat([labels, labels * severities], dim=1) @ own
    return Pictures(said + 0.5 * torch.randn(said.shape, generator=draw), labels, severities)


def test_what_a_model_says_in_its_own_way_is_learned_from_pictures():
    bank = ReadOut.fit(fake_encoder())
    known, other = (pictures(bank, 600, seed) for seed in (1, 2))
    found = bank.corrected(known.features, known.labels, known.severities)

    def judged(read_out):
        values = read_out.damage(other.features)
        confidences = read_out.confidences(values[:, : len(KINDS)])
        arrays = (confidences, severities_of(values), other.labels, other.severities)
        return diagnose(*(each.double().numpy() for each in arrays), KINDS)

    before = judged(bank.calibrated(bank.damage(known.features)[:, : len(KINDS)], known.labels))
    after = judged(found.read_out)
    assert before.mean_average_precision < 0.5 and before.severity_correlation < 0.3
    assert after.mean_average_precision > 0.9 and after.severity_correlation > 0.5
    # what is learned tells the pictures it was learned from no better than others, judged by all the rest
    assert after.calibration_error < 0.02


def test_what_a_correction_tells_of_an_example_is_learned_from_the_others():
    bank = ReadOut.fit(fake_encoder())
    known = pictures(bank, 60, 1)
    values = torch.cat([known.labels, known.labels * known.severities], dim=1)
    found = bank.damage.corrected(known.features, values)
    rest = torch.arange(60) != 7
    # the ridge is of the mean variance, which one picture of sixty hardly moves
    alone = bank.damage.corrected(known.features[rest], values[rest]).corrected(known.features[7:8])
    assert torch.allclose(found.unseen[7:8], alone, atol=0.02)
    assert not torch.allclose(found.unseen, found.corrected(known.features), atol=0.1)


def test_a_correction_needs_a_row_for_each_picture(read_out):
    features, there = torch.zeros(4, len(read_out.damage.matrix)), torch.zeros(4, len(KINDS))
    with pytest.raises(ConfigError, match=rf"labels are \(4, {len(KINDS)}\) and severities \(3, {len(KINDS)}\); both"):
        read_out.corrected(features, there, there[:3])
    with pytest.raises(ConfigError, match=r"in none or all of the pictures; calibrate on more"):
        read_out.corrected(features, there, there)


def test_calibration_needs_every_kind(read_out):
    with pytest.raises(ConfigError, match=r"^shadow, .*jpeg: in none or all of the pictures; calibrate on more"):
        read_out.calibrated(torch.zeros(4, len(KINDS)), torch.zeros(4, len(KINDS)))
    with pytest.raises(ConfigError, match=r"scores are \(4, 3\) and labels \(4, 3\); both need"):
        read_out.calibrated(torch.zeros(4, 3), torch.zeros(4, 3))


def test_it_comes_back_from_its_file(tmp_path):
    encode = fake_encoder()
    made = ReadOut.fit(encode)
    labels = torch.rand(200, len(KINDS)) < 0.5
    made = made.calibrated(torch.rand(200, len(KINDS)), labels.float())
    made.save(tmp_path / FILE)
    back = ReadOut.load(tmp_path / FILE)
    texts = {part: encode([trace.text(part) for trace in draw_bank(8, np.random.default_rng(3))]) for part in PARTS}
    output = CoTOutput(torch.zeros(1), **{part: tokens.embeddings for part, tokens in texts.items()})
    assert torch.allclose(back.scores(output), made.scores(output), atol=0.02)
    assert torch.equal(back.calibration, made.calibration)
    assert [reading.scene for reading in back.read(output)] == [reading.scene for reading in made.read(output)]


@pytest.mark.parametrize("harm", ["words", "missing"])
def test_a_file_of_other_words_is_refused(harm, tmp_path):
    tensors = read_safetensors(NANO_FOLDER / FILE)
    if harm == "words":
        tensors["words"] = tensors["words"] + 1
    else:
        del tensors["plan.mean"]
    write_safetensors(tensors, tmp_path / FILE)
    with pytest.raises(WeightsError, match="is no read-out of this version's words; delete it, and make it anew"):
        ReadOut.load(tmp_path / FILE)


def test_an_output_without_predictions_is_named(read_out):
    with pytest.raises(ConfigError, match="the output holds no reasoning; ask the transformer for it"):
        read_out.read(CoTOutput(torch.zeros(1)))


def test_one_that_cannot_be_kept_serves_all_the_same(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.warns(
        UserWarning, match=r"the read-out cannot be kept in .*file/home \(Not a directory\); set COTIR_HOME"
    ):
        made = read_out_for(NANO, tiny_pipeline().components, tmp_path / "file" / "home")
    assert len(made.damage.offset) == 2 * len(KINDS)


def test_one_is_made_for_an_encoder_and_kept(tmp_path):
    parts, told = tiny_pipeline().components, []
    made = read_out_for(NANO, parts, tmp_path, lambda done, total: told.append((done, total)))
    assert told[-1] == (6000, 6000) and told == sorted(told)
    again = read_out_for(NANO, parts, tmp_path, lambda done, total: pytest.fail("made again"))
    assert torch.allclose(again.damage.offset, made.damage.offset)
    assert len(list(tmp_path.iterdir())) == 1
    with torch.no_grad():
        parts["text_encoder"].encoder.layer[0].output.dense.weight.mul_(2)
    read_out_for(NANO, parts, tmp_path)
    assert len(list(tmp_path.iterdir())) == 2


def test_a_diagnosis_tells_the_damage_and_the_thoughts_the_scene(read_out, thought, tmp_path):
    generator, kinds = torch.Generator().manual_seed(0), len(KINDS)
    measured = torch.randn(300, 30, generator=generator)
    labels = (torch.rand(300, kinds, generator=generator) < 0.3).float()
    measured[:, :kinds] += 4 * labels
    diagnosis = Diagnosis.fit(measured, labels, labels * 0.5, seed=0, epochs=3).calibrated(measured, labels)
    both = replace(read_out, diagnosis=diagnosis)
    seen = [measured[number : number + 1] for number in range(len(thought.scene))]
    for alone, reading, row in zip(read_out.read(thought), both.read(thought, seen), seen, strict=True):
        assert reading.scene == alone.scene and reading.findings == both.find(row) != alone.findings
    assert [each.findings for each in both.read(thought)] == [each.findings for each in read_out.read(thought)]
    both.save(tmp_path / FILE)
    back = ReadOut.load(tmp_path / FILE)
    for one, other in zip(back.find(seen[0]), both.find(seen[0]), strict=True):
        assert one.confidence == pytest.approx(other.confidence, abs=0.01)
    tensors = read_safetensors(tmp_path / FILE)
    write_safetensors({name: each for name, each in tensors.items() if name != "diagnosis.mean"}, tmp_path / FILE)
    with pytest.raises(WeightsError, match=rf"{FILE}: the diagnosis is not one of this version; fit it anew"):
        ReadOut.load(tmp_path / FILE)
    with pytest.raises(ConfigError, match="this read-out has no diagnosis"):
        replace(read_out, diagnosis=None).find(seen[0])
