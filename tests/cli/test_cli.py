"""The frame around the commands: start-up, version, help, and Ctrl-C in a real process."""

import signal
import subprocess
import sys
import time

import pytest
from PIL import Image

from cotir import __version__
from cotir.files import FORMATS, MAX_PIXELS
from cotir.interfaces.cli import MODELS, Format
from cotir.presets import PRESETS

HEAVY = ("torch", "diffusers", "transformers", "numpy", "PIL")


def python(*arguments):
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize(
    "start", ["import cotir", "from cotir.interfaces.cli import app; app(['--help'], standalone_mode=False)"]
)
def test_starting_imports_nothing_heavy(start):
    code = f"import sys; {start}; print([name for name in {HEAVY} if name in sys.modules], file=sys.stderr)"
    result = python("-c", code)
    assert result.stderr.strip() == "[]"


def test_help_comes_at_once():
    def seconds():
        started = time.perf_counter()
        assert python("-m", "cotir", "--help").returncode == 0
        return time.perf_counter() - started

    # the quickest of some, because other processes share the machine
    assert min(seconds() for _ in range(4)) < 0.5


def test_version_of_the_module_run_as_a_program():
    result = python("-m", "cotir", "--version")
    assert (result.returncode, result.stdout) == (0, f"cotir {__version__}\n")


def test_help_names_what_the_library_knows(cotir):
    text = cotir("restore", "--help").out
    assert "|".join(PRESETS) in text
    assert f"{MAX_PIXELS // 10**6} million" in text
    assert "fidelity end" in text and "distortion for sharpness" in " ".join(text.replace("│", " ").split())
    assert "cotir restore old.jpg -o new.png" in text
    assert tuple(PRESETS) == MODELS
    assert {format.value for format in Format} <= set(FORMATS)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--steps", "0"),
        ("--strength", "1.5"),
        ("--strength", "nan"),
        ("--quality", "101"),
        ("--format", "docx"),
        ("--device", "abacus"),
        ("--dtype", "int8"),
        ("--threads", "0"),
        ("--max-pixels", "0"),
        ("--seed", "-1"),
        ("--frobnicate", "1"),
    ],
)
def test_bad_option_is_a_usage_error(cotir, photo, tmp_path, option, value):
    outcome = cotir("restore", photo(tmp_path / "a.png"), option, value)
    assert outcome.code == 2
    assert option in outcome.err
    assert not (tmp_path / "a_restored.png").exists()


def test_ctrl_c_leaves_whole_files_and_says_how_to_continue(nano_folder, photo, restore, tmp_path):
    data = photo(tmp_path / "in" / "0.png", (64, 64, 3)).read_bytes()
    for number in range(1, 150):
        (tmp_path / "in" / f"{number}.png").write_bytes(data)
    out = tmp_path / "out"
    process = subprocess.Popen(
        [sys.executable, "-m", "cotir", "restore", tmp_path / "in", "-o", out, "--model", nano_folder],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        # a suite that runs in the background hands down an ignored Ctrl-C
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    while not list(out.glob("*.png")) and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)

    assert process.returncode == 130
    assert "interrupted: " in said and "--skip-existing" in said and "Traceback" not in said
    written = list(out.iterdir())
    assert 0 < len(written) < 150
    for path in written:
        assert path.suffix == ".png"  # no temporary name among them
        with Image.open(path) as image:
            image.load()

    again = restore(tmp_path / "in", "-o", out, "--skip-existing")
    assert again.code == 0
    assert f"{150 - len(written)} done, {len(written)} skipped, 0 failed" in again.out
    assert len(list(out.iterdir())) == 150
