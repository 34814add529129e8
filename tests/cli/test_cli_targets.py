"""``cotir restore`` on folders and patterns: which pictures are found, and where the results go."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cotir.interfaces.inputs import Inputs


@pytest.fixture
def tree(photo, tmp_path):
    """A folder with pictures, sub-folders, and things that are none."""
    root = tmp_path / "photos"
    for name in ("b.png", "a.JPG", "sub/c.png", "sub/deep/d.png", ".hidden/e.png", ".f.png"):
        photo(root / name)
    (root / "notes.txt").write_text("none")
    return root


@pytest.fixture
def here(tmp_path, monkeypatch):
    """Short names: the working directory is an empty folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def found(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def same(one: Path, other: Path) -> bool:
    return np.array_equal(np.asarray(Image.open(one)), np.asarray(Image.open(other)))


def test_folder_is_mirrored(restore, tree, tmp_path):
    outcome = restore(tree, "-o", tmp_path / "out")
    assert outcome.code == 0 and "2 done" in outcome.out
    assert found(tmp_path / "out") == {"a.JPG", "b.png"}


def test_folder_is_mirrored_with_its_sub_folders(restore, tree, tmp_path):
    assert restore(tree, "-o", tmp_path / "out", "--recursive").code == 0
    assert found(tmp_path / "out") == {"a.JPG", "b.png", "sub/c.png", "sub/deep/d.png"}


def test_output_inside_the_input_is_not_an_input(restore, tree):
    for options in ((), ("--skip-existing",)):
        assert restore(tree, "-o", tree / "sub" / "out", "-r", *options).code == 0
    assert found(tree / "sub" / "out") == {"a.JPG", "b.png", "sub/c.png", "sub/deep/d.png"}


def test_folders_and_files_together_each_get_their_place(restore, photo, here):
    for name in ("one/x.png", "two/x.png", "more/one/x.png", "x.png", "else/x.png"):
        photo(here / name)
    assert restore("one", "two", "more/one", "x.png", "else/x.png", "-o", "out", "--strength", 0).code == 0
    origins = {
        "one/x.png": "one/x.png", "two/x.png": "two/x.png", "one_2/x.png": "more/one/x.png", "x.png": "x.png",
        "x_2.png": "else/x.png",
    }  # fmt: skip
    assert found(here / "out") == set(origins)
    assert all(same(here / "out" / name, here / origin) for name, origin in origins.items())


def test_results_go_beside_their_inputs_and_are_no_inputs_later(restore, tree):
    for pictures, left_out in ((4, 0), (4, 8)):
        outcome = restore(tree, "-r", "--compare", "--skip-existing")
        assert outcome.code == 0
        assert sum(" -> " in line or "skipped: " in line for line in outcome.out.splitlines()) == pictures
        note = f"; outputs of earlier runs left out: {left_out}"
        assert outcome.out.splitlines()[-1].endswith(note) == bool(left_out)
    assert found(tree) >= {"a_restored.JPG", "a_compare.png", "sub/deep/d_restored.png", "sub/deep/d_compare.png"}
    assert not any("restored_" in name or "compare_" in name for name in found(tree))


def test_shell_pattern_leaves_out_results_whose_originals_are_named(restore, photo, here):
    for name in ("a.png", "a_restored.png", "a_png_compare.png", "b_restored.png"):
        photo(here / name)
    outcome = restore(*sorted(path.name for path in here.iterdir()), "-o", "out")
    assert outcome.code == 0
    # b_restored.png was asked for by name, and nothing says it is a result
    assert found(here / "out") == {"a.png", "b_restored.png"}
    assert "; outputs of earlier runs left out: 2" in outcome.out


def test_pattern(restore, tree, tmp_path):
    assert restore(tree / "**" / "[a-c].*", tree / "b.png", "-o", tmp_path / "out").code == 0
    assert found(tmp_path / "out") == {"a.JPG", "b.png", "c.png"}


def test_name_that_looks_like_a_pattern_is_a_name_first(restore, photo, here):
    photo(here / "[a].png")
    photo(here / "a.png")
    assert restore("[a].png").code == 0
    assert found(here) == {"[a].png", "a.png", "[a]_restored.png"}


@pytest.mark.parametrize("beside", [True, False])
def test_namesakes_stay_apart_when_the_format_makes_them_one(restore, photo, here, beside):
    for name in ("a.bmp", "a.png", "A.gif", "a.jpg"):
        photo(here / "in" / name)
    out, mark = ("in", "_restored") if beside else ("out", "")
    arguments = () if beside else ("-o", "out")
    assert restore("in", *arguments, "--format", "png", "--strength", 0, "--compare").code == 0
    origins = {f"a{mark}.png": "a.png", f"a_bmp{mark}.png": "a.bmp", f"a_jpg{mark}.png": "a.jpg"}
    assert all(same(here / out / name, here / "in" / origin) for name, origin in origins.items())
    assert {*origins, f"A_gif{mark}.png"} <= found(here / out)
    assert sum("compare" in name for name in found(here / out)) == 4
    assert "4 skipped" in restore("in", *arguments, "--format", "png", "--skip-existing").out


def test_namesakes_named_in_different_ways_stay_apart(restore, photo, here):
    for name in ("a.jpg", "a.bmp", "a.gif"):
        photo(here / "in" / name)
    assert restore("in/a.jpg", here / "in" / "a.bmp", "in", "--format", "png", "--overwrite").code == 0
    assert found(here / "in") > {"a_restored.png", "a_bmp_restored.png", "a_gif_restored.png"}


def test_keep_goes_by_what_the_file_holds(restore, photo, here):
    photo(here / "in" / "a.png")
    (here / "in" / "a.jpg").write_bytes(photo(here / "other.png").read_bytes())  # a PNG by any other name
    photo(here / "in" / "b.gif", (9, 9))
    photo(here / "c.png").rename(here / "in" / "c")
    for expected in ("4 done", "4 skipped"):
        outcome = restore("in", "in/c", "-o", "out", "--strength", 0, "--skip-existing")
        assert outcome.code == 0 and expected in outcome.out
    assert found(here / "out") == {"in/a.png", "in/a_jpg.png", "in/b.png", "c.png"}
    assert same(here / "out/in/a_jpg.png", here / "other.png") and same(here / "out/in/a.png", here / "in/a.png")


def test_existing_result_is_kept_unless_told(restore, photo, here):
    photo(here / "a.png")
    old = photo(here / "a_restored.png", (5, 5, 3)).read_bytes()

    outcome = restore("a.png")
    assert outcome.code == 1
    assert outcome.err == "a.png: a_restored.png exists; --overwrite replaces it, --skip-existing leaves it out\n"
    outcome = restore("a.png", "--skip-existing")
    assert outcome.code == 0 and outcome.out.startswith("a.png  skipped: a_restored.png exists\n0 done, 1 skipped")
    assert (here / "a_restored.png").read_bytes() == old

    assert restore("a.png", "--overwrite").code == 0
    assert (here / "a_restored.png").read_bytes() != old


def test_existing_comparison_is_kept_unless_told(restore, photo, here):
    photo(here / "a.png")
    (here / "a_compare.png").write_text("mine")
    outcome = restore("a.png", "--compare")
    assert outcome.code == 1 and "a_compare.png exists" in outcome.err
    assert restore("a.png", "--compare", "--skip-existing").code == 0
    assert (here / "a_compare.png").read_text() == "mine"
    assert restore("a.png", "--compare", "--overwrite").code == 0
    assert Image.open(here / "a_compare.png").format == "PNG"


def test_overwrite_and_skip_existing_contradict(restore, photo, here):
    outcome = restore(photo(here / "a.png"), "--overwrite", "--skip-existing")
    assert outcome.code == 2
    assert outcome.err == "error: --overwrite and --skip-existing contradict each other; give one of them\n"


def test_nothing_is_loaded_when_all_is_there(cotir, photo, here):
    photo(here / "a.png")
    photo(here / "a_restored.png")
    assert cotir("restore", "a.png", "--skip-existing", "--model", "no such model").code == 0


def test_input_is_replaced_only_where_it_is_the_named_output(restore, photo, here):
    before = photo(here / "in" / "a.png").read_bytes()
    other = photo(here / "in" / "sub" / "a.png").read_bytes()
    for arguments in (("in", "-o", "in"), ("in/a.png", "-o", "in"), ("in/sub/a.png", "in", "-o", "in")):
        outcome = restore(*arguments, "--overwrite")
        assert outcome.code == 1
        assert "the result would replace in/a.png, which is an input; write to another folder with -o" in outcome.err
        assert ((here / "in/a.png").read_bytes(), (here / "in/sub/a.png").read_bytes()) == (before, other)
    assert restore("in/a.png", "-o", "in/a.png").code == 1
    assert (here / "in/a.png").read_bytes() == before
    assert restore("in/a.png", "-o", "in/a.png", "--overwrite").code == 0
    assert (here / "in/a.png").read_bytes() != before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("missing.png",), "missing.png: there is no such file or folder; check the name"),
        (("*.jpg",), "*.jpg: there is no such file or folder; check the name"),
        (("empty",), "empty: there is no picture in it; --recursive looks into sub-folders too"),
        (("empty", "-r"), "empty: there is no picture in it"),
        (("old",), "old: there is no picture in it, only outputs of earlier runs; --recursive"),
        (("a.png", "b.png", "-o", "c.png"), "-o c.png names one file, but there is more than one picture to restore"),
        (("in", "-o", "c.png"), "-o c.png names one file, but there is more than one picture to restore"),
        (("a.png", "-o", "c.png", "--format", "jpg"), "-o c.png: --format is jpg; end the name in .jpg"),
        (("a.png", "-o", "c.gif"), "-o c.gif: .gif is not written here; end the name in .png"),
        (("a.png", "-o", "words.txt"), "-o words.txt is no folder and no picture's name; give a folder or a name like"),
    ],
)
def test_usage_errors(restore, photo, here, arguments, message):
    for name in ("a.png", "b.png", "in/a.png", "old/a_restored.png"):
        photo(here / name)
    (here / "empty").mkdir()
    (here / "words.txt").touch()
    before = found(here)
    outcome = restore(*arguments)
    assert outcome.code == 2
    assert outcome.err.startswith(f"error: {message}") and outcome.err.count("\n") == 1
    assert found(here) == before


@pytest.mark.parametrize(
    "name", ["ä ö 写真 🌄.png", "-dash.png", "[red]bold[reset].png", "line\nend\x1b[2J.png", "n" * 251 + ".png"]
)
def test_odd_names(restore, photo, here, name):
    photo(here / "in" / name)
    outcome = restore("in", "--compare")
    assert outcome.code == 0
    assert len(outcome.out.splitlines()) == 2 and "\x1b" not in outcome.out
    assert len(list((here / "in").iterdir())) == 3
    assert "1 skipped" in restore("in", "--skip-existing").out


def test_long_namesakes_stay_apart(restore, photo, here):
    for ending in "ab":
        photo(here / "in" / ("n" * 250 + ending + ".png"))
    assert restore("in").code == 0
    assert len(list((here / "in").glob("*_restored.png"))) == 2


@pytest.mark.skipif(os.name == "nt" or os.uname().sysname == "Darwin", reason="names are text there")
def test_name_that_is_no_text(restore, photo, here):
    photo(here / "a.png").rename(os.fsdecode(b"\xff.png"))
    outcome = restore(os.fsdecode(b"\xff.png"))
    assert outcome.code == 0 and outcome.out.startswith("\\udcff.png  24 x 20")
    assert os.path.exists(b"\xff_restored.png")  # noqa: PTH110 - the bytes are the point


def test_unreadable_folder_fails_and_the_rest_go_on(restore, photo, here, monkeypatch):
    photo(here / "in" / "a.png")
    photo(here / "in" / "locked" / "b.png")
    listed = os.scandir

    def refuse(folder):
        if Path(folder).name == "locked":
            raise PermissionError(13, "Permission denied")
        return listed(folder)

    monkeypatch.setattr(os, "scandir", refuse)
    outcome = restore("in", "-r")
    assert outcome.code == 1 and "1 done, 0 skipped, 1 failed" in outcome.out
    assert outcome.err == "in/locked: cannot be listed (Permission denied); check its permissions\n"


def test_folder_that_cannot_be_made(restore, photo, here):
    photo(here / "a.png")
    (here / "file").touch()
    outcome = restore("a.png", "-o", "file/out")
    assert outcome.code == 1
    assert outcome.err.startswith("a.png: the folder file/out cannot be made (")


def test_the_same_picture_is_restored_once(restore, photo, here):
    photo(here / "in" / "a.png")
    (here / "in" / "loop").symlink_to(here / "in")
    outcome = restore("in", "in/a.png", "./in/../in/a.png", here / "in", "-r")
    assert outcome.code == 0 and "1 done" in outcome.out


def test_pictures_are_not_opened_while_they_are_listed(here, monkeypatch):
    (here / "in").mkdir()
    for number in range(50):
        (here / "in" / f"{number}.png").touch()
    monkeypatch.setattr(Path, "open", None)
    monkeypatch.setattr(Image, "open", None)
    assert Inputs.of(["in"]).survey.pictures == 50
