"""What an evaluation prints while it runs."""

import io

import pytest
from rich.console import Console

from cotir.evaluate.records import Row
from cotir.interfaces.evaluate_progress import EvaluateProgress


def row(key="a", prompt="none", missing=None):
    return Row(
        method="cotir:nano", version="1", prompt=prompt, key=key, deg="noise", group="single", kinds=("noise",),
        severities=(0.5,), photo="p", height=8, width=8, metrics={}, seconds=1, cpu_seconds=1, peak_mb=1,
        missing=missing,
    )  # fmt: skip


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def progress(clock):
    with EvaluateProgress(Console(file=io.StringIO(), width=200), clock) as made:
        yield made


def test_a_log_file_gets_a_line_now_and_then_and_the_time_that_is_left(progress, clock, capsys):
    progress.start(10, 2)
    for _ in range(4):
        clock.now += 10.0
        progress.result(row(prompt="vague"))
    lines = capsys.readouterr().err.splitlines()
    assert lines == ["cotir:nano vague  1/10, 90 s left", "cotir:nano vague  4/10, 60 s left"]


def test_the_last_result_is_always_told(progress, clock, capsys):
    progress.start(2, 0)
    progress.result(row())
    clock.now += 1
    progress.result(row())
    assert capsys.readouterr().err.splitlines()[-1] == "cotir:nano  2/2, 0 s left"


def test_a_missing_result_is_told_with_its_reason(progress):
    progress.start(1, 0)
    progress.result(row(key="[b]", missing="too [red]dark[/red]"))
    text = progress._console.file.getvalue()
    assert "cotir:nano: [b] is missing: too [red]dark[/red]" in text
