"""Validation: what it scores, what it writes, and whose weights it uses."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_run import Record, hashes, tiny_config, train

from cotir.train.loop import Trainer
from cotir.train.records import read_log
from cotir.train.trainee import Trainee
from cotir.train.validation import CEILING, Validator, psnr, read_out_of
from cotir.words import WORDS

PARTS = ("scene", "degradation", "plan")


def test_psnr():
    black, white = np.zeros((4, 5, 3), np.uint8), np.full((4, 5, 3), 255, np.uint8)
    assert psnr(black, black) == CEILING
    assert psnr(white, black) == 0
    assert psnr(black + np.uint8(16), black) == pytest.approx(20 * np.log10(255 / 16))


def test_the_row(done):
    trainer, record, _ = done
    (row,) = read_log(trainer.config.run / "validation.jsonl")
    kinds = {pair.deg for pair in trainer.validator.pairs}
    scores = {f"psnr_{which}" for which in ("input", "vague", "precise")}
    split = {f"{score}/{kind}" for score in scores for kind in kinds}
    assert set(row) == {"step", "flow", *(f"{x}_{part}" for x in "dc" for part in PARTS), *scores, *split}
    assert row["step"] == 10
    for part, delta in trainer.learner.delta().items():
        assert row[f"c_{part}"] == pytest.approx(row[f"d_{part}"] - delta)
    for score in scores:
        assert 0 < row[score] <= CEILING
    expected = np.mean([psnr(pair.lq, pair.hq) for pair in trainer.validator.pairs])
    assert row["psnr_input"] == pytest.approx(expected)
    assert record.noted("validation at step 10: input")


def test_the_pictures(done):
    trainer = done[0]
    folder, pair = trainer.config.run / "validation" / "step-00000010", trainer.validator.pairs[0]
    assert sorted(path.name for path in folder.iterdir()) == [f"00-{pair.deg}.json", f"00-{pair.deg}.png"]
    strip = np.asarray(Image.open(folder / f"00-{pair.deg}.png"))
    assert strip.shape == (32, 4 * 32, 3)
    assert np.array_equal(strip[:, :32], pair.lq)
    assert np.array_equal(strip[:, 96:], pair.hq)
    facts = json.loads((folder / f"00-{pair.deg}.json").read_text(encoding="utf-8"))
    assert facts == {
        "deg": pair.deg,
        "vague": pair.instruction.vague,
        "precise": pair.instruction.precise,
        "psnr_input": psnr(strip[:, :32], pair.hq),
        "psnr_vague": psnr(strip[:, 32:64], pair.hq),
        "psnr_precise": psnr(strip[:, 64:96], pair.hq),
        "read_out": "",
    }


def test_it_uses_the_averaged_weights_and_gives_the_others_back(material, tmp_path, monkeypatch):
    seen, sound = [], Validator.__call__

    def watched(self, pipeline, step, run):
        learner = trainer.learner
        seen.append((hashes(learner.trained), hashes(learner.average.tensors()), trainer.trainee.transformer.training))
        return sound(self, pipeline, step, run)

    def looking():
        trained.append(hashes(trainer.learner.trained))
        return False

    trained = []
    monkeypatch.setattr(Validator, "__call__", watched)
    config = tiny_config(material, tmp_path / "run", steps=3, validation={"every": 2, "samples": 1, "pictures": 0})
    trainer = Trainer(config, Record(), stopping=looking)
    trainer.run()
    assert len(seen) == 2  # at step 2 and at the end
    for used, average, _ in seen:
        assert used == average
    assert seen[0][0] != trained[1]
    assert hashes(trainer.learner.trained) == trained[-1]
    assert trainer.trainee.transformer.training
    assert not (config.run / "validation").exists()


def test_the_reasoning_is_told_on_the_pictures(material, tmp_path, monkeypatch):
    monkeypatch.setenv("COTIR_HOME", str(tmp_path / "home"))
    config = tiny_config(material, tmp_path / "run", steps=3, validation={"every": 3, "samples": 1, "read_out": True})
    _, record, _ = train(config)
    (told,) = (config.run / "validation").rglob("*.json")
    words = json.loads(told.read_text(encoding="utf-8"))["read_out"]
    assert "tones with" in words and (
        "no damage found; " in words or any(noun.noun in words for noun in WORDS.values())
    )
    assert len(record.noted("the read-out of this text encoder was made from 6,000 texts")) == 1
    assert len(list((tmp_path / "home" / "reasoning").iterdir())) == 1


def test_a_constraint_on_the_reading_is_trained_told_and_validated(material, tmp_path, monkeypatch):
    monkeypatch.setenv("COTIR_HOME", str(tmp_path / "home"))
    objective = {"delta": {"scene": 0.3, "degradation": 0.3, "plan": 0.3, "reading": 0.25}}
    config = tiny_config(
        material, tmp_path / "run", steps=3, objective=objective, validation={"every": 3, "samples": 2, "pictures": 0}
    )
    train(config)
    row = json.loads((config.run / "validation.jsonl").read_text(encoding="utf-8"))
    assert row["c_reading"] == pytest.approx(row["d_reading"] - 0.25)
    logged = [json.loads(line) for line in (config.run / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    assert all(each["d_reading"] > 0 for each in logged)
    assert logged[-1]["lambda_reading"] > 0


def test_nano_brings_its_own_read_out(material):
    config = tiny_config(material, "run", model={"base": None})
    trainee = Trainee(config.model, torch.nn.Identity(), {})
    assert read_out_of(trainee, note=pytest.fail).damage is not None


def test_validating_does_not_change_the_training(done, material, tmp_path):
    record = Record()
    trainer = Trainer(tiny_config(material, tmp_path / "run", steps=10, validation={"every": 4, "samples": 1}), record)
    trainer.run()
    assert [row["loss"] for row in record.rows] == [row["loss"] for row in done[1].rows]
