"""The tables, on rows small enough to be counted by hand."""

import numpy as np
import pytest

from cotir.evaluate.page import Cell, Table
from cotir.evaluate.records import Row
from cotir.evaluate.tables import (
    Entry,
    comparisons,
    costs,
    diagnoses,
    entries,
    gains,
    groups_in,
    means,
    means_by_type,
    metrics_in,
)  # fmt: skip
from cotir.evaluate.text_tables import to_latex, to_markdown

KINDS = {"noise": ("noise",), "haze-blur": ("haze", "blur"), "clean": (), "snow-jpeg": ("snow", "jpeg")}
GROUPS = {"noise": "single", "haze-blur": "seen", "clean": "clean", "snow-jpeg": "unseen"}


def row(method, deg, psnr, prompt="none", photo="a", missing=None, findings=None, **others):
    values = {
        "method": method, "version": "1", "prompt": prompt, "key": f"{deg}-{photo}", "deg": deg, "group": GROUPS[deg],
        "kinds": KINDS[deg], "severities": (0.5,) * len(KINDS[deg]), "photo": photo, "height": 100, "width": 200,
        "metrics": {"psnr": psnr, "mdsi": 0.5}, "seconds": 1.0, "cpu_seconds": 2.0, "peak_mb": 10.0,
        "missing": missing, "findings": findings,
    }  # fmt: skip
    return Row(**values | others)


def rows(method, shift, prompt="none"):
    levels = {"noise": 20.0, "haze-blur": 15.0, "clean": 60.0, "snow-jpeg": 18.0}
    return [
        row(method, deg, level + shift + number, prompt, photo)
        for deg, level in levels.items()
        for number, photo in enumerate("abc")
    ]


EVERY = [
    *rows("identity", 0),
    *rows("classical", 1),
    *rows("cotir:nano", 2, "vague"),
    *rows("cotir:nano", 3, "precise"),
]


def test_entries_keep_their_order_and_name_their_prompt():
    assert list(map(str, entries(EVERY))) == ["identity", "classical", "cotir:nano, vague", "cotir:nano, precise"]


def test_groups_and_metrics_are_those_that_there_are():
    assert groups_in(EVERY) == ["all damage", "one kind", "2 kinds", "2 to 4 kinds", "seen", "unseen", "clean"]
    assert [metric.name for metric in metrics_in(EVERY)] == ["psnr", "mdsi"]


def test_means_by_group():
    line = means(EVERY, "psnr")[1]
    assert line.entry == Entry("classical", "none")
    found = {name: (cell.mean, cell.count) for name, cell in line.cells.items()}
    assert found["one kind"] == (22, 3)
    assert found["2 kinds"] == ((17 + 20) / 2, 6)
    assert found["all damage"] == (pytest.approx((22 + 17 + 20) / 3), 9)
    assert found["clean"] == (62, 3)


def test_a_missing_result_is_counted_and_in_no_mean():
    some = [*rows("classical", 0), row("classical", "noise", np.nan, photo="d", missing="too dark")]
    line = means(some, "psnr", ["one kind"])[0]
    assert (line.missing, line.cells["one kind"].count, line.cells["one kind"].mean) == (1, 3, 21)


def test_means_by_type():
    assert means_by_type(EVERY, "psnr")["noise"][Entry("cotir:nano", "vague")].mean == 23


def test_gains_are_counted_from_the_input_on_the_same_pictures():
    lines = {str(line.entry): line.cells["all damage"].mean for line in gains(EVERY)}
    assert lines == {"classical": 1, "cotir:nano, vague": 2, "cotir:nano, precise": 3}
    assert gains(rows("classical", 1)) == []
    fewer = [each for each in EVERY if each.method != "identity" or each.photo != "c"]
    assert gains(fewer)[0].cells["one kind"].count == 2


def test_methods_are_compared_pair_by_pair_the_better_first():
    found = {(str(each.entry), str(each.rival)): each for each in comparisons(EVERY, "psnr", "all damage")}
    assert list(found) == [
        ("classical", "identity"),
        ("cotir:nano, vague", "identity"),
        ("cotir:nano, precise", "identity"),
        ("cotir:nano, vague", "classical"),
        ("cotir:nano, precise", "classical"),
    ]  # two prompts of one method are no rivals
    ours = found["cotir:nano, precise", "classical"]
    assert (ours.difference.mean, ours.difference.low, ours.difference.high) == (2, 2, 2)
    assert ours.p == pytest.approx(0.25, abs=0.02)  # three photos, all of one sign


def test_where_lower_is_better_the_lower_is_first():
    low = [row("classical", "noise", 20, photo=p, metrics={"mdsi": 0.2}) for p in "abc"]
    ours = [row("cotir:nano", "noise", 20, photo=p, metrics={"mdsi": 0.4}) for p in "abc"]
    (found,) = comparisons([*ours, *low], "mdsi", "one kind")
    assert (str(found.entry), str(found.rival)) == ("classical", "cotir:nano")
    assert found.difference.mean == pytest.approx(-0.2)


def test_a_precise_instruction_tells_what_is_wrong_and_is_no_diagnosis():
    told = [row("cotir:nano", "noise", 20, "precise", findings={"noise": (0.9, 0.5)})]
    assert list(diagnoses(told)) == []


def test_what_takes_no_time_has_no_cost():
    assert costs(rows("folder:out", 0), {"methods": {"folder:out": {"timed": False}}}) == []
    assert costs(rows("classical", 0), {})[0].model_mb is None


def test_who_fails_on_hard_pictures_does_not_win_by_it():
    ours = [row("cotir:nano", "noise", level, photo=p) for p, level in (("a", 31), ("b", 11))]
    lucky = [row("lucky", "noise", 30.5, photo="a"), row("lucky", "noise", np.nan, photo="b", missing="too hard")]
    (found,) = comparisons([*lucky, *ours], "psnr", "one kind")
    assert (str(found.entry), found.difference.mean, found.difference.count) == ("cotir:nano", 0.5, 1)
    assert comparisons([lucky[1], *ours], "psnr", "one kind") == []


def test_what_only_describes_has_no_best():
    described = [row(m, "noise", 20, metrics={"contrast": 0.2}) for m in ("identity", "classical")]
    assert comparisons(described, "contrast", "one kind") == []


def test_costs_are_medians_per_megapixel():
    about = {"methods": {"classical": {"gflop_per_megapixel": 7.0, "model_bytes": 2_000_000}}}
    found = costs([*rows("classical", 0), row("classical", "noise", np.nan, missing="x", seconds=0.0)], about)[0]
    assert (found.seconds_per_megapixel, found.cpu_seconds_per_megapixel) == (50, 100)
    assert (found.peak_mb, found.gflop_per_megapixel, found.model_mb) == (10, 7, 2)


def test_a_diagnosis_is_judged_over_all_seen_and_unseen():
    right = {"noise": (0.9, 0.5), "haze": (0.1, 0.5)}
    some = [
        row("cotir:nano", "noise", 20, findings=right),
        row("cotir:nano", "haze-blur", 20, findings={"haze": (0.8, 0.5), "blur": (0.7, 0.5)}),
        row("cotir:nano", "snow-jpeg", 20, findings={"noise": (0.6, 0.5)}),
        row("identity", "noise", 20),
    ]
    found = {name: each for _, name, each in diagnoses(some)}
    assert list(found) == ["all", "seen", "unseen"]
    assert found["seen"].mean_average_precision == 1
    assert found["all"].f1["noise"] == pytest.approx(2 / 3)
    assert found["unseen"].f1 == {"snow": 0, "jpeg": 0}


TABLE = Table(
    "PSNR [dB] ↑, a_b",
    "Over 3 & more.",
    ["method", "all"],
    [[Cell("a|b"), Cell("20.50", 20.5, 19.0, 22.25, best=True)], [Cell("x_y"), Cell("+1.5", 1.5, np.nan, np.nan)]],
)


def test_markdown():
    assert to_markdown([TABLE]).splitlines() == [
        "### PSNR [dB] ↑, a_b",
        "",
        "Over 3 & more.",
        "",
        "| method | all |",
        "|---|---|",
        r"| a\|b | **20.50** (19.00 to 22.25) |",
        "| x_y | +1.5 |",
    ]


def test_latex_escapes_and_marks_the_best():
    text = to_latex([TABLE, TABLE])
    assert text.count(r"\begin{tabular}{lr}") == 2
    assert r"\caption{PSNR [dB] $\uparrow$, a\_b. Over 3 \& more.}" in text
    assert r"a|b & \textbf{20.50} \\" in text
    assert r"x\_y & +1.5 \\" in text


def test_a_number_that_is_none_is_a_dash():
    table = Table("t", "", ["m", "v"], [[Cell("a"), Cell("nan", np.nan)]])
    assert "| a | - |" in to_markdown([table])
    assert r"a & - \\" in to_latex([table])
