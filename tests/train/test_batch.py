"""Noise, times and instructions belong to a pair, in whatever batch it comes."""

import pytest
import torch

from cotir.phrase_bank import KINDS
from cotir.train.batch import draw_time
from cotir.train.config import TimeConfig
from cotir.train.pairs import Place


@pytest.fixture(scope="module")
def given(_done):
    trainer = _done[0]
    return trainer.learner.encoder, [trainer.source[Place(position, 32)] for position in range(4)]


def encode(given, pairs, **options):
    return given[0](pairs, **{"vague": 0.5, "reasoning": True, "device": torch.device("cpu")} | options)


def test_shapes_and_kinds(given):
    batch = encode(given, given[1])
    assert batch.clean.shape == batch.noise.shape == batch.condition.reference.shape
    assert batch.clean.shape[0] == len(given[1])
    assert {batch.clean.dtype, batch.noise.dtype, batch.time.dtype} == {torch.float32}
    assert ((batch.time > 0) & (batch.time <= 1)).all()
    assert list(batch.targets) == ["scene", "degradation", "plan"]
    assert encode(given, given[1], reasoning=False).targets == {}
    for pair, row in zip(given[1], batch.kinds, strict=True):
        named = [kind for kind, there in zip(KINDS, row.tolist(), strict=True) if there]
        assert sorted(named) == sorted(pair.deg.split("-") if pair.deg != "clean" else [])


def test_a_pair_is_the_same_in_every_batch(given):
    together = encode(given, given[1])
    for number, pair in reversed(list(enumerate(given[1]))):
        alone = encode(given, [pair])
        assert torch.equal(alone.noise[0], together.noise[number])
        assert torch.equal(alone.time[0], together.time[number])
        torch.testing.assert_close(alone.clean[0], together.clean[number])
    assert not torch.equal(together.noise[0], together.noise[1])


def test_the_share_of_vague_instructions(given, monkeypatch):
    encoder, pairs = given
    asked = []
    monkeypatch.setattr(
        encoder, "texts", lambda texts, sound=encoder.texts: (asked.append(list(texts)), sound(texts))[1]
    )
    encode(given, pairs, vague=0.0, reasoning=False)
    encode(given, pairs, vague=1.0, reasoning=False)
    assert asked == [[pair.instruction.precise for pair in pairs], [pair.instruction.vague for pair in pairs]]


def test_times():
    generator = torch.Generator().manual_seed(0)
    config = TimeConfig(at_one=0.25, floor=0.3)
    times = torch.stack([draw_time(config, generator) for _ in range(2000)])
    assert float((times == 1).float().mean()) == pytest.approx(0.25, abs=0.03)
    assert float(times.min()) == pytest.approx(0.3)
    inner = times[times < 1]
    assert float((inner > 0.5).float().mean()) == pytest.approx(0.5, abs=0.04)
    assert float(draw_time(TimeConfig(at_one=1.0), generator)) == 1
