import json
from pathlib import Path

import pytest
import yaml
from small_data import write_run

from cotir.errors import ConfigError
from cotir.train.config import DataConfig, TrainConfig
from cotir.train.run_file import load_config, steering, to_yaml

RUN_FILES = sorted((Path(__file__).parents[2] / "configs" / "train").glob("*.yaml"))


@pytest.fixture
def run_file(tmp_path):
    return write_run(tmp_path / "run.yaml")


def refused(path, *overrides):
    """The whole complaint, without the file's name."""
    with pytest.raises(ConfigError) as caught:
        load_config(path, overrides)
    return str(caught.value).removeprefix(f"{path}: ")


# --- files ------------------------------------------------------------------------------------------------------------


def test_there_are_run_files():
    assert {path.stem for path in RUN_FILES} >= {"debug", "nano"}


@pytest.mark.parametrize("path", RUN_FILES, ids=lambda path: path.stem)
def test_every_run_file_loads_comes_back_and_names_a_recipe_that_is_there(path, tmp_path):
    config = load_config(path)
    (tmp_path / "config.yaml").write_text(to_yaml(config))
    assert load_config(tmp_path / "config.yaml") == config
    recipe = config.data.recipe
    assert recipe is None or (Path(__file__).parents[2] / recipe).is_file()


def test_a_file_that_is_not_there_is_named(tmp_path):
    message = refused(tmp_path / "no.yaml")
    assert message.startswith(f"the run file {tmp_path / 'no.yaml'} cannot be read (")
    assert message.endswith("; check the name")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "holds NoneType; it needs keys such as run, model, data, schedule"),
        ("[1, 2]", "holds list; it needs keys such as run, model, data, schedule"),
        ("run: [", "is no YAML (while parsing"),
    ],
)
def test_a_file_that_is_no_mapping_is_told_what_it_needs(text, message, tmp_path):
    (tmp_path / "run.yaml").write_text(text)
    assert refused(tmp_path / "run.yaml").startswith(message)


def test_missing_sections_are_all_named(tmp_path):
    path = write_run(tmp_path / "run.yaml", model=None, schedule=None)
    assert refused(path) == "model is missing; it must be given; schedule is missing; it must be given"


def test_every_run_has_the_same_defaults_as_the_file_it_writes(run_file, tmp_path):
    config = load_config(run_file)
    written = yaml.safe_load(to_yaml(config))
    assert written["objective"]["delta"] == {"scene": 0.15, "degradation": 0.15, "plan": 0.15, "reading": None}
    assert written["run"] == "runs/test"
    assert set(written) == set(TrainConfig.model_fields)


def test_a_reading_without_reasoning_is_refused(tmp_path):
    objective = {"reasoning": "none", "delta": {"reading": 0.3}}
    path = write_run(tmp_path / "run.yaml", objective=objective)
    assert "objective.delta.reading is set, and objective.reasoning is none; leave one of them out" in refused(path)


def test_a_configuration_of_odd_values_comes_back(run_file, tmp_path):
    overrides = [
        "schedule.vague={0: 0.25, 5: 1.0}",
        "optimizer.rate=1e-3",
        "run=läufe/ä b",
        "cache.folder=caches/ä b",
        "model.base=fresh",
        "model.transformer={width: 8, blocks: [1, 1, 1]}",
        "log.trackers=[]",
        "objective.multipliers.options.limit=2.5",
    ]
    config = load_config(run_file, overrides)
    (tmp_path / "again.yaml").write_text(to_yaml(config), encoding="utf-8")
    again = load_config(tmp_path / "again.yaml")
    assert again == config
    assert to_yaml(again) == to_yaml(config)
    assert again.schedule.vague == {0: 0.25, 5: 1.0}
    assert again.model.transformer == {"width": 8, "blocks": [1, 1, 1]}


def test_a_configuration_cannot_be_changed(run_file):
    with pytest.raises(ValueError, match="frozen"):
        load_config(run_file).optimizer.rate = 1.0


# --- unknown keys and bad values --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("optimiser.rate=1", "unknown key 'optimiser' at optimiser (did you mean 'optimizer'?); allowed are run, seed"),
        (
            "optimizer.warm_up=1",
            "unknown key 'warm_up' at optimizer.warm_up (did you mean 'warmup'?); allowed are name",
        ),
        (
            "objective.delta.scenes=0.1",
            "unknown key 'scenes' at objective.delta.scenes (did you mean 'scene'?); allowed are scene, degradation,",
        ),
        (
            "schedule.stages.1.bach=3",
            "unknown key 'bach' at schedule.stages.1.bach (did you mean 'batch'?); allowed are until, crop, batch, "
            "accumulate",
        ),
        ("qqq=3", "unknown key 'qqq' at qqq; allowed are run, seed"),
    ],
)
def test_unknown_keys_are_named_with_the_nearest_one(override, message, run_file):
    assert refused(run_file, override).startswith(message)


@pytest.mark.parametrize("value", [".inf", ".nan"])
def test_numbers_are_finite(value, run_file):
    assert refused(run_file, f"optimizer.rate={value}").startswith("optimizer.rate is ")


def test_a_warm_up_ends_before_the_run(run_file):
    assert load_config(run_file, ["optimizer.warmup=19"])
    assert refused(run_file, "optimizer.warmup=20") == (
        "optimizer.warmup is 20 and the run has 20 steps, so the rate would never reach optimizer.rate; shorten the "
        "warm-up, or lengthen the last stage"
    )


def test_every_fault_is_told_at_once(run_file):
    message = refused(run_file, "seeds=1", "data.held_out=2", "schedule.stages.0.crop=8")
    assert "unknown key 'seeds' at seeds (did you mean 'seed'?)" in message
    assert "data.held_out is 2: Input should be less than 1" in message
    assert "schedule.stages.0.crop is 8: Input should be greater than or equal to 16" in message


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("model.preset=5b", "model.preset is '5b': Input should be 'nano', '4b', '9b' or '12b'"),
        ("optimizer.rate=0", "optimizer.rate is 0: Input should be greater than 0"),
        ("optimizer.rate=fast", "optimizer.rate is 'fast': Input should be a valid number"),
        ("optimizer.rate=nan", "optimizer.rate is nan: Input should be"),
        ("objective.flow.floor=[0, 1]", "objective.flow.floor.0 is 0: Input should be greater than 0"),
        ("optimizer.betas=[0.9, 1.0]", "optimizer.betas.1 is 1.0: Input should be less than 1"),
        ("schedule.stages.0.until=1.5", "schedule.stages.0.until is 1.5: Input should be a valid integer"),
        ("schedule.vague={0: 1.5}", "schedule.vague.0 is 1.5: Input should be less than or equal to 1"),
        ("schedule.vague={-1: 0.5}", "schedule.vague.-1 is -1: Input should be greater than or equal to 0"),
        ("log.trackers=[tensorbord]", "log.trackers.0 is 'tensorbord': Input should be 'tensorboard', "),
        ("resume=never ever", "resume is 'never ever': Input should be 'latest' or 'never'"),
    ],
)
def test_values_that_are_not_allowed_are_told_with_those_that_are(override, message, run_file):
    assert refused(run_file, override).startswith(message)


# --- overrides --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("override", "read", "expected"),
    [
        ("optimizer.rate=1e-3", lambda c: c.optimizer.rate, 1e-3),
        ("optimizer.rate=.002", lambda c: c.optimizer.rate, 0.002),
        ("seed=17", lambda c: c.seed, 17),
        ("model.gradient_checkpointing=true", lambda c: c.model.gradient_checkpointing, True),
        ("validation.steps=null", lambda c: c.validation.steps, None),
        ("validation.steps=", lambda c: c.validation.steps, None),
        ("run=a=b", lambda c: c.run, Path("a=b")),
        ("data.path='2024'", lambda c: c.data.path, Path("2024")),
        ("schedule.stages.1.batch=7", lambda c: [stage.batch for stage in c.schedule.stages], [4, 7]),
        ("schedule.stages.0={until: 3, crop: 16, batch: 1}", lambda c: c.schedule.stages[0].until, 3),
        ("schedule.vague.10=0.75", lambda c: c.schedule.vague, {0: 0.5, 10: 0.75}),
        ("objective.multipliers.options.limit=1e1", lambda c: c.objective.multipliers.options, {"limit": 10.0}),
        ("optimizer.betas=[0.5, 0.75]", lambda c: c.optimizer.betas, (0.5, 0.75)),
    ],
)
def test_overrides_reach_every_place(override, read, expected, tmp_path):
    schedule = {"stages": [{"until": 12, "crop": 32, "batch": 4}, {"until": 20, "crop": 48, "batch": 2}]}
    path = write_run(tmp_path / "run.yaml", schedule={**schedule, "vague": {0: 0.5}})
    found = read(load_config(path, [override]))
    assert found == expected
    assert type(found) is type(expected) or isinstance(found, Path)


def test_the_last_override_of_a_key_holds(run_file):
    assert load_config(run_file, ["seed=1", "seed=2"]).seed == 2


def test_an_override_may_make_a_section(tmp_path):
    path = write_run(tmp_path / "run.yaml", optimizer=None)
    assert load_config(path, ["optimizer.warmup=3"]).optimizer.warmup == 3


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("seed", "'seed' is no override; write key=value, as in optimizer.rate=1e-4"),
        ("=3", "'=3' is no override; write key=value"),
        ("optimizer..rate=3", "'optimizer..rate=3' is no override; write key=value"),
        ("seed=[1", "'seed=[1': the value is no YAML (while parsing"),
        ("run.folder=x", "'run.folder=x': run is 'runs/test', which has no keys"),
        ("schedule.stages.2.batch=1", "'schedule.stages.2.batch=1': 2 is no place in a list of 2; use 0 to 1"),
        ("schedule.stages.last=1", "'schedule.stages.last=1': last is no place in a list of 2; use 0 to 1"),
        ("schedule.stages.-1.batch=1", "'schedule.stages.-1.batch=1': -1 is no place in a list of 2; use 0 to 1"),
    ],
)
def test_bad_overrides_are_quoted(override, message, run_file):
    assert refused(run_file, override).startswith(message)


# --- rules between keys -----------------------------------------------------------------------------------------------

BENCH = "data={source: bench, path: bench}"


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ["model.preset=4b", "model.base=fresh"],
            "model.base fresh and model.transformer are for nano, not 4b",
        ),
        (
            ["model.transformer={width: 8}"],
            "model.transformer describes fresh weights; set model.base to fresh, or leave it out",
        ),
        (
            ["model.base=fresh", "model.train=lora"],
            "model.train lora freezes a base of random weights; use base or all",
        ),
        (["model.quantise=nf4"], "model.quantise is for a frozen base, and model.train is all"),
        (
            ["model.dtype=bfloat16"],
            "model.quantise and model.dtype are for the large sizes; nano is float32, leave them out",
        ),
        (
            ["objective.reasoning=released"],
            "objective.multipliers.rule pi counts in cosine distances, and objective.reasoning is released; use the "
            "rule released, or the distance cosine",
        ),
        (["data.recipe=null"], "data.source photos needs data.recipe, such as configs/bench/default.yaml"),
        ([BENCH, "data.recipe=r.yaml"], "data.recipe is for photos, and data.source is bench; leave it out"),
        (
            ["schedule.stages.1.until=12"],
            "schedule.stages end at [12, 12]; give at least one, each ending later than the one before",
        ),
        (["schedule.stages=[]"], "schedule.stages end at []; give at least one, each ending later than the one before"),
        (
            ["schedule.vague={5: 0.5}"],
            "schedule.vague needs the share from step 0 on, as in {0: 0.2, 10000: 0.3}",
        ),
        (["model.train=lora"], "model.train lora moves no adapter; set objective.reasoning to none"),
        (["model.train=experts"], "model.train experts moves no adapter; set objective.reasoning to none"),
        (["model.preset=4b", "model.train=experts"], "model.train experts is for nano, not 4b"),
        (
            ["schedule.stages.1.crop=256"],
            "a stage's crop is larger than data.region, 224; enlarge the region",
        ),
        (
            ["optimizer.rate=1e-5"],
            "optimizer.floor is 0.0001, above optimizer.rate, 1e-05; the rate falls to the floor: lower it",
        ),
    ],
)
def test_keys_that_do_not_fit_together_are_told_in_one_sentence(overrides, message, run_file):
    assert refused(run_file, *overrides) == message


@pytest.mark.parametrize(
    "overrides",
    [
        ["model.train=lora", "objective.reasoning=none"],
        ["model.train=experts", "objective.reasoning=none"],
        ["model.train=adapter", "model.quantise=int8", "model.preset=12b"],
        [BENCH, "schedule.stages.1.crop=256"],
        ["optimizer.rate=1e-4"],
    ],
)
def test_neighbours_of_those_rules_are_allowed(overrides, run_file):
    assert isinstance(load_config(run_file, overrides), TrainConfig)


# --- what decides the result ------------------------------------------------------------------------------------------


def test_steering_is_flat_plain_and_survives_json(run_file):
    found = steering(load_config(run_file))
    assert found["optimizer.rate"] == 1e-3
    assert found["objective.delta.plan"] == 0.15
    assert found["seed"] == 0
    assert all(not isinstance(value, dict) or not value for value in found.values())
    assert json.loads(json.dumps(found)) == found


@pytest.mark.parametrize(
    "override",
    [
        "run=elsewhere",
        "data.path=elsewhere",
        "data.recipe=elsewhere.yaml",
        "data.workers=7",
        "data.max_problems=0.5",
        "data.photo_mb=10",
        "model.base=elsewhere",
        "model.compile=true",
        "threads=2",
        "log.every=3",
        "checkpoint.every=3",
        "validation.every=3",
        "cache.folder=elsewhere",
        "resume=never",
    ],
)
def test_where_things_lie_and_how_fast_they_come_does_not_steer(override, run_file):
    assert load_config(run_file, [override]) != load_config(run_file)
    assert steering(load_config(run_file, [override])) == steering(load_config(run_file))


@pytest.mark.parametrize(
    ("override", "key"),
    [
        ("seed=1", "seed"),
        ("data.region=256", "data.region"),
        ("data.held_out=0.2", "data.held_out"),
        ("model.ema=0.5", "model.ema"),
        ("schedule.vague={0: 0.25}", "schedule.vague.0"),
        ("schedule.stages.0.batch=5", "schedule.stages"),
        ("objective.multipliers.options.limit=1", "objective.multipliers.options.limit"),
        ("optimizer.clip=2", "optimizer.clip"),
    ],
)
def test_what_decides_the_result_steers(override, key, run_file):
    before, after = steering(load_config(run_file)), steering(load_config(run_file, [override]))
    assert key in after
    assert before.get(key) != after[key]


def test_data_can_be_configured_without_a_file():
    assert DataConfig(source="bench", path=Path("bench")).workers == 1
