"""What ``cotir train`` prints while it runs."""

import io

import pytest
from rich.console import Console

from cotir.interfaces.train_progress import TrainProgress, summary

ROW = {
    "step": 100,
    "loss": 1.25,
    "flow": 0.5,
    "d_scene": 0.25,
    "lambda_scene": 0.5,
    "crop": 64,
    "batch": 16,
    "samples_per_second": 20.0,
}


@pytest.mark.parametrize(
    ("steps", "left"),
    [(200, "0:01:20"), (1100, "0:13:20"), (10_100, "2:13:20"), (1_000_100, "9 d 6 h"), (100, "0:00:00")],
)
def test_what_is_left_follows_from_the_speed_of_now(steps, left):
    assert summary(ROW, steps).endswith(f"20/s  64 px  ETA {left}")


def test_losses_and_multipliers_are_in_one_line():
    assert summary(ROW, 100).startswith("loss 1.25  flow 0.5  s 0.250*0.5  ")


def test_a_row_without_reasoning_or_speed_has_neither():
    assert summary({"step": 1, "loss": 1.0, "flow": 1.0, "crop": 64, "batch": 16}, 100) == "loss 1  flow 1"


def test_a_log_file_gets_a_line_now_and_then(capsys):
    now = [0.0]
    progress = TrainProgress(1000, Console(file=io.StringIO()), clock=lambda: now[0])
    with progress:
        for step, second in ((1, 0.0), (2, 10.0), (3, 31.0)):
            now[0] = second
            progress.update({**ROW, "step": step})
        progress.note("saved [here]")
    lines = capsys.readouterr().err.splitlines()
    assert [line.split("  ")[0] for line in lines] == ["step 1/1000", "step 3/1000", "saved [here]"]


class Terminal(io.StringIO):
    """Text that says it is a terminal."""

    def isatty(self):
        return True


@pytest.mark.parametrize(
    "console", [{"file": io.StringIO(), "force_terminal": True}, {"file": Terminal(), "dumb": True}]
)
def test_what_cannot_be_drawn_over_gets_plain_lines(console, capsys, monkeypatch):
    if console.pop("dumb", False):
        monkeypatch.setenv("TERM", "dumb")
    with TrainProgress(1000, Console(**console), clock=lambda: 0.0) as progress:
        progress.update(ROW)
    assert capsys.readouterr().err.startswith("step 100/1000  loss 1.25")
    assert console["file"].getvalue().strip() == ""


def test_a_terminal_keeps_the_notes_above_the_line():
    out = Terminal()
    with TrainProgress(1000, Console(file=out, force_terminal=True, width=120)) as progress:
        progress.update(ROW)
        progress.note("saved [here]")
    text = out.getvalue()
    assert "saved [here]" in text and "100/1000" in text
