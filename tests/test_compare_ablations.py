"""Ablations: the table's statistics, and two tiny runs through the script."""

import importlib
import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml

from cotir.errors import ConfigError
from cotir.loading import NANO_FOLDER
from cotir.train.run_file import load_config, to_yaml
from nano_model import write_tiny_pipeline

SCRIPTS = Path(__file__).parents[1] / "scripts"


@pytest.fixture(scope="module")
def script():
    """The script as a module; its folder is on the path, as when it is run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(SCRIPTS)
        yield importlib.import_module("compare_ablations")
    for name in ("compare_ablations", "ablation_table"):
        sys.modules.pop(name, None)


@pytest.fixture(scope="module")
def tables(script):
    return importlib.import_module("ablation_table")


@pytest.fixture(scope="module")
def plan(script, tmp_path_factory):
    """Two steps of a tiny nano on tiny photos, on the same recipes as in earnest but four."""
    folder = tmp_path_factory.mktemp("ablations")
    recipe = "single: [noise, jpeg]\nseen: [noise + jpeg]\nunseen: [low_light + noise]\nclean: true\n"
    (folder / "recipe.yaml").write_text(recipe, encoding="utf-8")
    photos = folder / "photos"
    photos.mkdir()
    for number in range(5):
        pixels = np.random.default_rng(number).integers(0, 256, (64, 64, 3), dtype=np.uint8)
        script.Image.fromarray(pixels).save(photos / f"{number}.png")
    sections = yaml.safe_load((SCRIPTS.parent / "configs/train/nano.yaml").read_text(encoding="utf-8"))
    sections["data"] |= {"region": 48, "held_out": 0.4}
    (folder / "tiny.yaml").write_text(yaml.safe_dump(sections), encoding="utf-8")
    return script.Plan(
        photos,
        folder / "runs",
        write_tiny_pipeline(folder / "base"),
        steps=2,
        crop=32,
        batch=2,
        threads=1,
        workers=0,
        file=folder / "tiny.yaml",
        recipe=folder / "recipe.yaml",
    )


def rows(gain, photos=("a", "b", "c", "d")):
    """Scores of one run: every photo with every group, all gained the same."""
    groups = ("single", "seen", "unseen", "clean")
    before = {"clean": 60.0}
    return [
        {
            "photo": photo,
            "group": group,
            "psnr_input": before.get(group, 20.0),
            "psnr_vague": before.get(group, 20.0) + gain,
            "psnr_precise": before.get(group, 20.0) + 2 * gain,
        }
        for photo in photos
        for group in groups
    ]


def scores(gain, **ends):
    return {"pictures": "", "training": {"flow": -1.0, **ends}, "rows": rows(gain)}


def test_interval_of_equal_values_is_a_point(tables):
    result = tables.bootstrap(np.full((3, 8), 1.5), list("aabbccdd"))
    assert (result.mean, result.low, result.high) == pytest.approx((1.5, 1.5, 1.5))


def test_photos_come_with_all_their_pictures(tables):
    values = np.repeat(np.random.default_rng(0).standard_normal((1, 12)), 10, axis=1)
    together = tables.bootstrap(values, [str(n) for n in np.repeat(np.arange(12), 10)])
    apart = tables.bootstrap(values, [str(n) for n in range(120)])
    assert together.high - together.low > 2.5 * (apart.high - apart.low)
    assert together.mean == pytest.approx(apart.mean)


def test_interval_is_that_of_the_photos_mean(tables):
    values = np.random.default_rng(1).standard_normal((1, 400))
    result = tables.bootstrap(values, [str(n) for n in range(400)])
    assert result.high - result.low == pytest.approx(2 * 1.96 * values.std() / 20, rel=0.1)


def test_seeds_are_drawn_too(tables):
    values = np.array([[0.0] * 4, [1.0] * 4, [2.0] * 4])
    result = tables.bootstrap(values, list("abcd"))
    assert (result.low, result.high) == pytest.approx((0, 2))  # one seed alone is 1 draw in 27 each


def test_photos_weigh_by_their_pictures(tables):
    result = tables.bootstrap(np.array([[0.0, 0.0, 0.0, 4.0]]), list("aaab"))
    assert result.mean == 1
    assert (result.low, result.high) == (0, 4)


def test_table_holds_gains_and_paired_differences(tables):
    found = {"none": {0: scores(1.0), 1: scores(2.0)}, "pi": {0: scores(1.5, d_scene=0.2), 1: scores(2.5, d_scene=0.4)}}
    gains, differences, ends = tables.table(found).split("\n\n")[1::2]
    assert "| none | 2 | vague | +1.50 (+1.00 to +2.00) |" in gains
    assert "| pi | 2 | precise | +4.00 (+3.00 to +5.00) |" in gains
    # what differs by seed alone is no spread of a difference
    assert "| none | 2 | vague | -0.50 (-0.50 to -0.50) |" in differences
    assert "| pi |" not in differences
    assert "| none | -1 | - |" in ends
    assert "| pi | -1 | 0.3 |" in ends


def test_clean_pictures_count_by_their_psnr_and_for_no_damage(tables):
    assert tables.gains(rows(-1.0), ("clean",), "vague") == [59.0] * 4
    assert "| none | 1 | vague | -1.00 (-1.00 to -1.00) |" in tables.table({"none": {0: scores(-1.0)}})


def test_differences_are_of_common_seeds(tables):
    found = {"none": {0: scores(1.0), 2: scores(9.0)}, "pi": {0: scores(2.0), 1: scores(7.0)}}
    lines = tables.block(found, found["pi"])
    assert [line for line in lines if line.startswith("| none | 1 | vague | -1.00 (-1.00 to -1.00) |")]


def test_no_table_of_differences_without_the_reference(tables):
    assert "Difference" not in tables.table({"none": {0: scores(1.0)}})


def test_rows_differ_in_nothing_but_what_they_are_about(script):
    plan = script.Plan(Path("photos"), Path("runs"), NANO_FOLDER)
    same = {"model.train", "objective.reasoning", "objective.multipliers.rule", "objective.multipliers.options"}
    for name in script.ROWS:
        config = plan.configure(name, 3)
        now, then = script.steering(config), script.steering(plan.configure("pi", 3))
        # the shape is that of the base, which the others have with its weights
        told = {key for key in now.keys() | then.keys() if key.startswith("model.transformer")}
        changed = {key for key in now.keys() | then.keys() if now.get(key) != then.get(key)} - told
        own = {"objective.delta.reading"} if name == "reading" else set()
        assert changed <= own | same | {f"objective.multipliers.options.{option}" for option in ("value", "lr")}, name
        assert (config.model.base == "fresh") == (name == "scratch")
        assert bool(config.model.transformer) == (name == "scratch")
        assert (config.objective.reasoning == "none") == (name in ("none", "unconstrained", "frozen_none"))
    assert plan.configure("fixed", 0).objective.multipliers.options == {"value": 0.75}
    assert replace(plan, delta=0.4).configure("pi", 0).objective.delta.plan == 0.4


def test_the_groups_share_photos(script, plan):
    source = script.PhotoSource(plan.configure("pi", 0).data, 0)
    pictures = script.draw_pictures(source, 8, 32)
    assert [each.group for each in pictures] == ["single", "seen", "unseen", "clean"] * 2
    assert len({each.photo for each in pictures[:4]}) == 1
    assert {each.photo for each in pictures}.isdisjoint(photo.file for photo in source.photos["train"])
    assert script.identify(pictures) == script.identify(script.draw_pictures(source, 8, 32))
    assert script.identify(pictures) != script.identify(pictures[:7])


def test_runs_are_scored_once_and_meet_in_one_table(script, plan, capsys):
    assert "Difference" not in script.compare(plan, ["none"], [0], 4, 32)
    weights = plan.runs / "none-0" / "weights"
    adapter = script.CoTIRPipeline.from_pretrained(weights).transformer.trunk.cot_adapter
    assert adapter.scene_gate.item() == 0  # it has none that acts
    before = (plan.runs / "none-0" / "scores.json").stat().st_mtime_ns
    both = script.compare(plan, ["none", "pi"], [0], 4, 32)
    assert (plan.runs / "none-0" / "scores.json").stat().st_mtime_ns == before
    assert "| none | 1 | vague |" in both
    assert both == (plan.runs / "table.md").read_text(encoding="utf-8")
    told = capsys.readouterr().out
    assert "1 of 2 runs are done" in told
    assert "[1 of 1] pi-0: step 2 of 2" in told
    kept = json.loads((plan.runs / "pi-0" / "scores.json").read_text(encoding="utf-8"))
    assert len(kept["rows"]) == 4
    assert kept["training"]["lambda_plan"] > 0


def test_runs_of_another_length_are_refused(script, plan):
    script.settle(plan)
    with pytest.raises(
        ConfigError, match=r"runs was begun otherwise: .*schedule.stages.* was .*another folder for RUNS"
    ):
        script.settle(replace(plan, steps=3))


def test_a_run_of_another_row_is_refused(script, plan, tmp_path):
    config = plan.configure("fixed", 0).model_copy(update={"run": tmp_path})
    (tmp_path / "config.yaml").write_text(to_yaml(config), encoding="utf-8")
    assert not script.is_done(load_config(tmp_path / "config.yaml"))
    other = plan.configure("pi", 0).model_copy(update={"run": tmp_path})
    with pytest.raises(ConfigError, match=r"objective\.multipliers\.rule is 'pi' and was 'fixed'"):
        script.is_done(other)


def test_a_base_whose_adapter_acts_is_refused(script, plan):
    with pytest.raises(ConfigError, match=r"its adapter has been trained .*nano-pretrain.yaml as --base, or none"):
        script.identify_base(replace(plan, base=NANO_FOLDER))
    assert script.identify_base(replace(plan, base=None)) == "fresh"
