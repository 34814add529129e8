import json

import numpy as np
import pytest

from cotir.bench.schema import Crop, Metadata, Sample, Source, sample_key, type_name
from cotir.degrade import KINDS, sample_recipe
from cotir.errors import ConfigError, PromptError
from cotir.prompts import Instruction, ReasoningTrace


def metadata(*kinds, **changes):
    applied = sample_recipe(np.random.default_rng(0), kinds, [0.3] * len(kinds))
    deg = type_name(tuple(each.kind for each in applied))
    values = {
        "key": sample_key(deg, 3, "train"),
        "deg": deg,
        "group": "seen",
        "split": "train",
        "index": 3,
        "seed": 7,
        "size": 64,
        "applied": applied,
        "instruction": Instruction("make it better", "remove the haze, all of it"),
        "trace": ReasoningTrace("a lake", "slight haze", "clear the haze"),
        "answer": "the restored picture",
        "writer": "template",
        "source": Source("ab" * 32, "lakes/é.jpg", "CC0-1.0", "Ann"),
        "crop": Crop(1, 2, 100, True),
        "psnr": 21.25,
    }
    return Metadata(**{**values, **changes})


@pytest.mark.parametrize("kind", KINDS)
def test_metadata_survives_json_whatever_the_kind(kind):
    meta = metadata(kind)
    assert Metadata.from_json(meta.to_json()) == meta
    assert Metadata.from_json(meta.to_json().encode()).to_json() == meta.to_json()


def test_the_released_loader_finds_its_keys():
    data = json.loads(metadata("haze", "jpeg").to_json())
    assert data["cot"]["questions"] == ["make it better", "remove the haze, all of it"]
    assert data["cot"]["answers"] == (
        "scene description: a lake degradation description: slight haze "
        "enhancement plan: clear the haze answer: the restored picture"
    )
    assert data["deg"] == data["jpeg_type"] == "haze-jpeg"
    assert "jpeg_type" not in json.loads(metadata("haze").to_json())


def test_every_sampled_parameter_is_recorded():
    data = json.loads(metadata("noise", "haze").to_json())
    assert [entry["kind"] for entry in data["applied"]] == ["haze", "noise"]
    assert {"severity", "model", "sigma", "shot", "seed"} <= set(data["applied"][1])
    assert data["source"] == {"sha256": "ab" * 32, "file": "lakes/é.jpg", "licence": "CC0-1.0", "author": "Ann"}


def test_members_are_named_by_the_key():
    sample = Sample(b"h", b"l", metadata("haze"))
    assert [name for name, _ in sample.members()] == [
        f"haze-0000003.{end}" for end in ("hq.png", "lq.png", "meta.json")
    ]


def test_a_clean_picture_has_a_type_too():
    assert type_name(()) == "clean"
    assert sample_key("clean", 12, "test") == "clean-test-00012"


def test_a_type_that_the_loader_would_rename_is_refused():
    with pytest.raises(ConfigError, match=r"'haze\+blur' cannot name a folder"):
        metadata("haze", deg="haze+blur")


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("{", ConfigError, "cannot be read"),
        ('{"cot": {"questions": ["a", "b"], "answers": "x"}}', ConfigError, "lacks 'key'"),
        ("{}", ConfigError, "lacks 'cot'"),
        (json.dumps({**json.loads(metadata("haze").to_json()), "applied": [{"kind": "fog", "severity": 1}]}),
         ConfigError, "unknown degradation 'fog'"),
        (json.dumps({**json.loads(metadata("haze").to_json()), "cot": {"questions": ["a", "b"], "answers": "x"}}),
         PromptError, "lacks 'scene description:'"),
    ],
)  # fmt: skip
def test_what_is_no_metadata_is_said(text, error, message):
    with pytest.raises(error, match=message):
        Metadata.from_json(text)
