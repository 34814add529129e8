"""What a run tells."""

import json

import pytest
from accelerate import Accelerator
from accelerate.utils import DistributedType, LoggerType
from tiny_run import Record, tiny_config

from cotir.errors import ConfigError
from cotir.train.journal import memory_gb
from cotir.train.loop import Trainer
from cotir.train.records import read_log
from cotir.train.run_file import load_config


def test_the_log_holds_every_step_as_it_was_told(done):
    trainer, record, _ = done
    rows = read_log(trainer.config.run / "log.jsonl")
    assert rows == json.loads(json.dumps(record.rows))
    assert [row["step"] for row in rows] == list(range(1, 11))
    assert [row["samples"] for row in rows] == list(range(2, 22, 2))
    for row in rows:
        assert {"loss", "flow", "grad_norm", "lr", "vague", "crop", "batch", "samples_per_second"} <= set(row)
        assert (row["crop"], row["batch"], row["vague"], row["problems"]) == (32, 2, 0.5, 0)
        assert 0 < row["memory_gb"] < 64


def test_the_configuration_lies_beside_it(done):
    config = done[0].config
    assert load_config(config.run / "config.yaml") == config


def test_a_tracker_that_is_not_installed_is_named(material, tmp_path, monkeypatch):
    monkeypatch.setattr("accelerate.tracking._available_trackers", [LoggerType.TENSORBOARD])
    config = tiny_config(material, tmp_path / "run", log={"trackers": ["tensorboard", "wandb"]})
    with pytest.raises(
        ConfigError, match=r"log\.trackers: wandb is not installed; .*or set log\.trackers=\[tensorboard\]"
    ):
        Trainer(config, Record())


def test_nano_is_not_split_over_processes(material, tmp_path, monkeypatch):
    monkeypatch.setattr(Accelerator, "distributed_type", DistributedType.FSDP)
    with pytest.raises(ConfigError, match=r"^nano's weights cannot be split .*launch it with configs/accelerate/ddp-8"):
        Trainer(tiny_config(material, tmp_path / "run"), Record())


def test_processes_that_do_not_know_of_each_other_are_an_error(material, tmp_path, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ConfigError, match=r"2 processes were started \(WORLD_SIZE\).*set ACCELERATE_USE_CPU=true"):
        Trainer(tiny_config(material, tmp_path / "run"), Record())


def test_a_tracker_is_told(material, tmp_path):
    pytest.importorskip("tensorboard")
    config = tiny_config(material, tmp_path / "run", steps=3, log={"trackers": ["tensorboard"]})
    Trainer(config, Record()).run()
    assert [path for path in config.run.rglob("events.out.tfevents.*") if path.stat().st_size > 500]


def test_a_folder_that_cannot_be_written_is_named(material, tmp_path):
    (tmp_path / "file").write_text("in the way")
    trainer = Trainer(tiny_config(material, tmp_path / "file" / "run"), Record())
    with pytest.raises(ConfigError, match=r"file/run: cannot be written \(Not a directory\); choose another folder"):
        trainer.run()


def test_a_row_that_cannot_be_written_is_told_and_not_fatal(material, tmp_path):
    record = Record()
    trainer = Trainer(tiny_config(material, tmp_path / "run"), record)
    trainer.journal.begin()
    (trainer.config.run / "log.jsonl").mkdir()
    trainer.journal.log({"step": 1, "loss": 2.0})
    assert record.rows == [{"step": 1, "loss": 2.0}]
    assert record.noted("this row is lost, training goes on")


def test_memory_is_a_plausible_number():
    assert 0.01 < memory_gb() < 1000


def test_half_a_row_that_a_crash_left_is_taken_away(copied):
    log = copied.run / "log.jsonl"
    whole = read_log(log)
    with log.open("a", encoding="utf-8") as file:
        file.write('{"step": 11, "lo')
    Trainer(copied, Record()).journal.begin()
    assert log.read_bytes().endswith(b"}\n")
    assert read_log(log) == whole
