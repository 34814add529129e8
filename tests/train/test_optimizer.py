"""AdamW's groups, the moving average, and what a step makes of its micro-batches."""

import pytest
import torch
from tiny_run import Record, tiny_config

from cotir.errors import ConfigError
from cotir.train.config import OptimizerConfig
from cotir.train.loop import Trainer
from cotir.train.optimizer import Average, make_optimizer
from cotir.train.pairs import Place


def weights():
    return {"matrix": torch.nn.Parameter(torch.ones(2, 3)), "bias": torch.nn.Parameter(torch.ones(3))}


def test_only_matrices_decay():
    trained = weights()
    optimizer = make_optimizer(OptimizerConfig(weight_decay=0.3, betas=(0.8, 0.9)), trained)
    decays = {id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    assert decays == {id(trained["matrix"]): 0.3, id(trained["bias"]): 0.0}
    assert {group["betas"] for group in optimizer.param_groups} == {(0.8, 0.9)}


def test_a_part_may_have_its_own_rate_and_the_longest_name_counts():
    names = ("trunk.a", "trunk.b.c", "trunks", "entry")
    trained = {name: torch.nn.Parameter(torch.ones(2, 2)) for name in names}
    optimizer = make_optimizer(OptimizerConfig(factors={"trunk": 0.1, "trunk.b": 3.0}), trained)
    factors = {id(p): group["factor"] for group in optimizer.param_groups for p in group["params"]}
    assert [factors[id(trained[name])] for name in names] == [0.1, 3.0, 1.0, 1.0]


def test_a_factor_of_no_trained_weight_is_an_error():
    with pytest.raises(ConfigError, match=r"optimizer\.factors names 'trunc'.* there are matrix, bias"):
        make_optimizer(OptimizerConfig(factors={"trunc": 0.1}), weights())


def test_nothing_to_train_is_an_error():
    with pytest.raises(ConfigError, match=r"nothing is trained: model\.train and objective\.reasoning"):
        make_optimizer(OptimizerConfig(), {})


@pytest.mark.skipif(torch.cuda.is_available(), reason="with CUDA it may be used")
def test_8_bit_needs_cuda():
    with pytest.raises(ConfigError, match=r"optimizer\.name adamw8bit needs CUDA; use adamw"):
        make_optimizer(OptimizerConfig(name="adamw8bit"), weights())


def test_the_average_follows_and_is_applied_for_a_while():
    trained = weights()
    average = Average(trained, 0.9)
    for value in (2.0, 4.0):
        with torch.no_grad():
            trained["bias"].fill_(value)
        average.update()
    shadow = average.tensors()["bias"].clone()
    assert 1 < float(shadow[0]) < 4
    with average.applied():
        assert torch.equal(trained["bias"], shadow)
    assert torch.equal(trained["bias"], torch.full((3,), 4.0))
    with pytest.raises(KeyError), average.applied():
        raise KeyError
    assert torch.equal(trained["bias"], torch.full((3,), 4.0))
    assert average.updates == 2


def test_the_average_forgets_early_weights_soon_and_late_ones_slowly():
    trained = {"weight": torch.nn.Parameter(torch.zeros(1))}
    average, expected = Average(trained, 0.5), 0.0
    for number in range(12):
        with torch.no_grad():
            trained["weight"].fill_(number)
        average.update()
        decay = min(0.5, (1 + number) / (10 + number))
        expected = decay * expected + (1 - decay) * number
        assert float(average.tensors()["weight"]) == pytest.approx(expected)


def test_no_average_changes_nothing():
    trained = weights()
    average = Average(trained, 0)
    average.update()
    assert average.tensors() == {}
    with average.applied():
        assert torch.equal(trained["bias"], torch.ones(3))


def learner_of(material, tmp_path, **options):
    return Trainer(tiny_config(material, tmp_path / "run", **options), Record())


def test_two_micro_batches_of_two_are_one_of_four(material, tmp_path):
    options = {"objective": {"reasoning": "none"}, "model": {"train": "base"}}
    results = []
    for sizes in ((4,), (2, 2)):
        trainer = learner_of(material, tmp_path, **options)
        pairs = iter([trainer.source[Place(position, 32)] for position in range(4)])
        micros = [[next(pairs) for _ in range(size)] for size in sizes]
        before = {name: weight.detach().clone() for name, weight in trainer.learner.trained.items()}
        step = trainer.learner.learn(micros, 0, measure=False)
        moved = {name: weight.detach() - before[name] for name, weight in trainer.learner.trained.items()}
        results.append((step.row, {name: weight.grad for name, weight in trainer.learner.trained.items()}, moved))
    (one, gradients, moved), (two, others, _) = results
    assert one["flow"] == pytest.approx(two["flow"], rel=1e-5)
    assert one["grad_norm"] == pytest.approx(two["grad_norm"], rel=1e-4)
    for name, gradient in gradients.items():
        torch.testing.assert_close(others[name], gradient, rtol=1e-3, atol=1e-6, msg=name)
    assert any(float(change.abs().max()) > 0 for change in moved.values())
    assert not any(key.startswith(("d_", "lambda_")) for key in one)


def test_a_step_follows_the_factors(material, tmp_path):
    options = {"model": {"train": "all"}, "optimizer": {"factors": {"trunk": 1e-6}}}
    trainer = learner_of(material, tmp_path, **options)
    before = {name: weight.detach().clone() for name, weight in trainer.learner.trained.items()}
    trainer.learner.learn([[trainer.source[Place(0, 32)]]], 0, measure=False)
    moved = {name: float((w.detach() - before[name]).abs().max()) for name, w in trainer.learner.trained.items()}
    # a first step of Adam is at most its rate
    assert max(moved[name] for name in moved if name.startswith("trunk.")) < 1e-8
    assert max(moved[name] for name in moved if not name.startswith("trunk.")) > 1e-4


def test_the_constraints_share_of_the_gradient(done):
    rows = done[1].rows
    assert rows[0]["constraint_share"] == 0  # the multipliers start at 0
    later = [row["constraint_share"] for row in rows if row["lambda_scene"] > 0]
    assert len(later) > 5
    assert all(0 < share < 3 for share in later)
