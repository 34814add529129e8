"""``cotir restore`` on one picture or a few: what is written, what is said, and how it ends."""

import shutil
import signal
from contextlib import suppress

import numpy as np
import pytest
import tifffile
from PIL import Image
from typer.testing import CliRunner

from cotir import files
from cotir.interfaces.cli import app
from cotir.output import CoTIROutput
from cotir.pipeline import CoTIRPipeline


@pytest.fixture
def calls(monkeypatch):
    """What every picture is restored with; the model is left out."""
    seen = []

    def remember(self, image, prompt, **options):
        seen.append({"prompt": prompt, **options})
        return CoTIROutput([image])

    monkeypatch.setattr(CoTIRPipeline, "__call__", remember)
    return seen


def pixels(path):
    return np.asarray(Image.open(path))


def test_one_picture_goes_beside_its_input(restore, photo, tmp_path):
    source = photo(tmp_path / "old.png", (20, 24, 3))
    outcome = restore(source)
    assert outcome.code == 0 and outcome.err == ""
    line, summary = outcome.out.splitlines()
    assert line.startswith(f"{source}  24 x 20  ") and line.endswith(f" s  -> {tmp_path / 'old_restored.png'}")
    assert summary.startswith("1 done, 0 skipped, 0 failed in ")
    restored = pixels(tmp_path / "old_restored.png")
    assert restored.shape == (20, 24, 3) and (restored != pixels(source)).any()


def test_output_file_decides_the_format(restore, photo, tmp_path):
    assert restore(photo(tmp_path / "a.png"), "-o", tmp_path / "new" / "b.webp").code == 0
    with Image.open(tmp_path / "new" / "b.webp") as image:
        assert image.format == "WEBP"


@pytest.mark.parametrize(
    ("format", "pillow"), [("png", "PNG"), ("jpg", "JPEG"), ("webp", "WEBP"), ("tiff", "TIFF"), ("AVIF", "AVIF")]
)
def test_format_changes_the_kind_and_the_suffix(restore, photo, tmp_path, format, pillow):
    source = photo(tmp_path / "a.bmp")
    assert restore(source, "--format", format, "-o", tmp_path / "out", "--strength", 0).code == 0
    (target,) = (tmp_path / "out").iterdir()
    assert target.stem == "a" and target.suffix in files.KINDS[format.lower()].suffixes
    with Image.open(target) as image:
        assert image.format == pillow


def test_quality_reaches_the_file(restore, photo, tmp_path):
    source = photo(tmp_path / "a.png", (64, 64, 3))
    sizes = []
    for quality in (20, 100):
        assert restore(source, "-o", tmp_path / f"{quality}.jpg", "--quality", quality).code == 0
        sizes.append((tmp_path / f"{quality}.jpg").stat().st_size)
    assert sizes[0] * 2 < sizes[1]


def test_strength_0_returns_the_exact_pixels(restore, photo, tmp_path):
    source = photo(tmp_path / "a.png")
    assert restore(source, "--strength", 0).code == 0
    assert (pixels(tmp_path / "a_restored.png") == pixels(source)).all()


def test_same_seed_same_result(restore, photo, tmp_path):
    source = photo(tmp_path / "a.png")
    for name, seed in (("one", 1), ("again", 1), ("two", 2)):
        # with one step nano does not look at the noise
        assert restore(source, "-o", tmp_path / f"{name}.png", "--seed", seed, "--steps", 2).code == 0
    one, again, two = (pixels(tmp_path / f"{name}.png") for name in ("one", "again", "two"))
    assert (one == again).all() and (one != two).any()


def test_16_bits_go_in_and_come_out(restore, tmp_path):
    deep = np.random.default_rng(0).integers(0, 2**16, (16, 24, 3), dtype=np.uint16)
    tifffile.imwrite(tmp_path / "deep.tif", deep, photometric="rgb")
    assert restore(tmp_path / "deep.tif", "--strength", 0, "-o", tmp_path / "same").code == 0
    assert (tifffile.imread(tmp_path / "same" / "deep.tif") == deep).all()
    assert restore(tmp_path / "deep.tif").code == 0
    restored = tifffile.imread(tmp_path / "deep_restored.tif")
    assert restored.dtype == np.uint16 and (restored % 257 != 0).any()


def test_alpha_passes_through_and_its_loss_is_told(restore, photo, tmp_path):
    source = photo(tmp_path / "a.png", (20, 24, 4))
    assert restore(source).code == 0
    assert (pixels(tmp_path / "a_restored.png")[..., 3] == pixels(source)[..., 3]).all()
    outcome = restore(source, "--format", "jpg")
    assert "(jpg holds no alpha: composited on white)" in outcome.out


def test_notes_of_reading_are_told(restore, tmp_path):
    frames = [Image.new("RGB", (16, 16), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / "moving.webp", save_all=True, append_images=frames[1:])
    assert "first of 2 frames" in restore(tmp_path / "moving.webp").out


@pytest.mark.parametrize(
    ("given", "used"),
    [
        ((), None),  # the pipeline's own, under which it keeps what it would harm
        (("--prompt", "remove  the haze"), "remove the haze"),
        (("--prompt", "FILE"), "be bold"),
    ],
)
def test_prompt(restore, photo, calls, tmp_path, given, used):
    (tmp_path / "words.TXT").write_bytes("\ufeffbe\r\nbold\n".encode())
    arguments = [tmp_path / "words.TXT" if word == "FILE" else word for word in given]
    assert restore(photo(tmp_path / "a.png"), *arguments).code == 0
    assert [call["prompt"] for call in calls] == [used]


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        (" ", "the prompt is empty; write what to do, or leave --prompt out for 'make this picture clearer'"),
        ("missing.txt", "the prompt file missing.txt cannot be read: No such file or directory"),
        ("empty.txt", "the prompt file empty.txt is empty; write what to do"),
        ("latin.txt", "the prompt file latin.txt cannot be read: it is not UTF-8 text"),
    ],
)
def test_bad_prompt(restore, photo, calls, tmp_path, monkeypatch, prompt, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty.txt").write_text("\n")
    (tmp_path / "latin.txt").write_bytes("klär".encode("latin-1"))
    outcome = restore(photo(tmp_path / "a.png"), "--prompt", prompt)
    assert (outcome.code, calls) == (2, [])
    assert outcome.err.startswith(f"error: {message}") and outcome.err.count("\n") == 1


def test_options_reach_the_pipeline(restore, photo, calls, tmp_path):
    arguments = ("--steps", 3, "--seed", 7, "--strength", 0.5, "--device", "cpu", "--dtype", "float32", "--threads", 1)
    assert restore(photo(tmp_path / "a.png"), *arguments).code == 0
    (call,) = calls
    assert (call["steps"], call["seed"], call["strength"]) == (3, 7, 0.5)
    assert restore(photo(tmp_path / "b.png")).code == 0
    assert (calls[1]["steps"], calls[1]["seed"], calls[1]["strength"]) == (None, 0, 1.0)


def test_bad_file_is_reported_and_the_rest_go_on(restore, photo, tmp_path):
    folder = tmp_path / "in"
    photo(folder / "a.png")
    (folder / "b.png").write_bytes((folder / "a.png").read_bytes()[:60])
    (folder / "c.png").touch()
    (folder / "d.png").symlink_to("nowhere.png")
    photo(folder / "e.png")
    outcome = restore(folder, folder / "missing.png", "-o", tmp_path / "out")
    assert outcome.code == 1
    assert outcome.out.splitlines()[-1].startswith("2 done, 0 skipped, 4 failed")
    assert {path.name for path in (tmp_path / "out" / "in").iterdir()} == {"a.png", "e.png"}
    lines = outcome.err.splitlines()
    assert lines[0] == f"{folder / 'missing.png'}: does not exist; check the name"
    assert lines[1].startswith(f"{folder / 'b.png'}: is damaged or truncated")
    assert lines[2] == f"{folder / 'c.png'}: is empty (0 bytes)"
    assert lines[3] == f"{folder / 'd.png'}: is a link to nowhere.png, which does not exist; check the name"
    assert len(lines) == 4


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (KeyError("surprise"), "KeyError: 'surprise'; run again with --debug for the traceback"),
        (MemoryError(), "MemoryError: not enough memory for this picture on this device; run again with --debug"),
    ],
)
def test_unforeseen_failure_does_not_end_the_run(restore, photo, calls, monkeypatch, tmp_path, error, message):
    photo(tmp_path / "in" / "a.png")
    photo(tmp_path / "in" / "b.png")
    honest = CoTIRPipeline.__call__

    def fail_once(self, image, prompt, **options):
        if not calls:
            calls.append("failed")
            raise error
        return honest(self, image, prompt, **options)

    monkeypatch.setattr(CoTIRPipeline, "__call__", fail_once)
    outcome = restore(tmp_path / "in")
    assert outcome.code == 1 and "1 done, 0 skipped, 1 failed" in outcome.out
    assert outcome.err.startswith(f"{tmp_path / 'in' / 'a.png'}: {message}")
    assert "Traceback" not in outcome.err

    calls.clear()
    outcome = restore(tmp_path / "in" / "a.png", "--debug")
    assert "Traceback" in outcome.err and "in fail_once" in outcome.err and "run again" not in outcome.err


def test_too_large_a_picture_names_the_flag_that_lifts_the_limit(restore, photo, tmp_path):
    source = photo(tmp_path / "a.png", (20, 24, 3))
    outcome = restore(source, "--max-pixels", 479)
    assert outcome.code == 1
    assert "24 x 20 = 480 pixels is above the limit of 479" in outcome.err and "--max-pixels 480" in outcome.err
    assert restore(source, "--max-pixels", 480).code == 0


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("5b", "the model '5b' is no folder, no hub id (owner/name) and none of nano, 4b, 9b, 12b"),
        ("FOLDER", "holds neither model_index.json"),
        ("4b", "no CoTIR adapter for '4b' at "),
    ],
)
def test_model_that_is_not_there(cotir, photo, nano_folder, tmp_path, monkeypatch, model, message):
    monkeypatch.setenv("COTIR_HOME", str(tmp_path / "none"))
    name = tmp_path if model == "FOLDER" else model
    # some base, so that none is looked for on the hub
    outcome = cotir("restore", photo(tmp_path / "a.png"), "--model", name, "--base", nano_folder)
    assert outcome.code == 2
    assert message in outcome.err
    assert outcome.err.startswith("error: ") and outcome.err.count("\n") == 1
    assert not (tmp_path / "a_restored.png").exists()


@pytest.mark.parametrize(
    "part", ["model_index.json", "transformer/diffusion_pytorch_model.safetensors", "vae/config.json"]
)
def test_damaged_model(cotir, photo, nano_folder, tmp_path, part):
    model = shutil.copytree(nano_folder, tmp_path / "model")
    data = (model / part).read_bytes()
    (model / part).write_bytes(data[: len(data) // 2])
    outcome = cotir("restore", photo(tmp_path / "a.png"), "--model", model)
    assert outcome.code == 2
    assert outcome.err.startswith(f"error: the model {model} cannot be loaded; check that its files are whole (")
    assert outcome.err.count("\n") == 1


def test_device_that_is_not_there(restore, photo, tmp_path, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    outcome = restore(photo(tmp_path / "a.png"), "--device", "cuda")
    assert outcome.code == 2
    assert outcome.err.startswith("error: --device cuda is not there: this torch (")


def test_large_pictures_report_every_window(photo, restore, tmp_path, monkeypatch):
    heard = []
    monkeypatch.setattr("cotir.interfaces.report.Report.progress", lambda self, *counts: heard.append(counts))
    assert restore(photo(tmp_path / "wide.png", (16, 400, 3))).code == 0
    assert heard == [(1, 3), (2, 3), (3, 3)]  # the picture made smaller, then two windows


def test_terminal_gets_a_bar_and_red_errors(photo, nano_folder, tmp_path):
    photo(tmp_path / "wide.png", (16, 400, 3))
    (tmp_path / "bad.png").write_text("none")
    arguments = ["restore", str(tmp_path), "--model", str(nano_folder), "--compare"]
    result = CliRunner(env={"FORCE_COLOR": "1", "TERM": "xterm", "COLUMNS": "200"}).invoke(app, arguments)
    assert result.exit_code == 1
    assert all(words in result.stderr for words in ("pictures", "wide.png", "ETA"))
    assert f"\x1b[31m{tmp_path / 'bad.png'}: is no picture that can be read" in result.stderr
    # a pipe behind standard output gets the results and nothing else
    assert len(result.stdout.splitlines()) == 2 and "ETA" not in result.stdout


def test_ctrl_c_that_python_drops_is_not_lost(restore, photo, monkeypatch, tmp_path):
    for name in "abc":
        photo(tmp_path / "in" / f"{name}.png")

    def drop(self, image, prompt, **options):
        # as it happens while a destructor runs
        with suppress(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        return CoTIROutput([image])

    monkeypatch.setattr(CoTIRPipeline, "__call__", drop)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        outcome = restore(tmp_path / "in", "--overwrite")
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)
    assert outcome.code == 130
    assert outcome.err.startswith("interrupted: 1 done, 0 skipped, 0 failed of 3. Every file written is complete")
    assert "--skip-existing in place of --overwrite" in outcome.err
