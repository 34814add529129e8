"""Folders of results scored as the released script does, and the summary file to the letter."""

import numpy as np
import pytest
from PIL import Image

from cotir.errors import ConfigError, ImageError
from cotir.evaluate.compat import SUMMARY, Results, Summary, find_results, summarise
from cotir.evaluate.metrics import choose


def save(path, value, mode="RGB"):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, (12, 10), value).save(path)


@pytest.fixture
def folders(tmp_path):
    for name, value in (("000.png", 100), ("001.png", 50), ("002.png", 0)):
        save(tmp_path / "hq" / name, (value,) * 3)
        save(tmp_path / "out" / "precise" / name, (value + 10,) * 3)
    return tmp_path / "out", tmp_path / "hq"


def test_the_summary_file_is_the_released_one_to_the_letter():
    means = {
        "clipiqa_plus": 0.71234, "qalign": 4.1, "liqe": 4.25551, "maclip": 0.5, "clip_iqa": 0.66666,
        "pyiqa_psnr": 21.456, "pyiqa_ssim": 0.81239, "lpips": 0.1,
    }  # fmt: skip
    summary = Summary(Results("CoTIR", None), means, 3, (), ())
    assert summary.text() == (
        "method & clipiqa_plus & qalign & liqe & maclip & clip_iqa & psnr & ssim & lpips\n"
        "CoTIR & 0.7123 & 4.1000 & 4.2555 & 0.5000 & 0.6667 & 21.46 & 0.8124 & 0.1000\n"
    )


def test_means_are_over_the_pictures_of_one_name(folders):
    out, hq = folders
    (result,) = find_results(out.parent / "out")
    summary = summarise(result, hq, choose(["psnr"]))
    assert summary.means["psnr"] == pytest.approx(20 * np.log10(25.5))
    assert (result.folder / SUMMARY).read_text() == "method & psnr\nprecise & 28.13\n"


def test_what_has_no_partner_is_listed(folders):
    out, hq = folders
    save(hq / "003.png", (0, 0, 0))
    save(out / "precise" / "004.png", (0, 0, 0))
    save(out / "precise" / "000.jpg", (0, 0, 0))
    summary = summarise(Results("m", out / "precise"), hq, choose(["psnr"]))
    assert (summary.count, summary.without_result) == (3, ("003.png",))
    assert summary.without_reference == ("000.jpg", "004.png")


def test_folders_are_found_at_every_level_of_the_released_layout(tmp_path):
    save(tmp_path / "root" / "a" / "precise" / "0.png", 0)
    save(tmp_path / "root" / "a" / "vague" / "0.png", 0)
    save(tmp_path / "root" / "b" / "0.png", 0)
    found = [(each.method, each.folder.name) for each in find_results(tmp_path / "root")]
    assert found == [("a", "precise"), ("a", "vague"), ("b", "b")]
    assert find_results(tmp_path / "root" / "b") == [Results("b", tmp_path / "root" / "b")]


def test_gray_pictures_become_colour_as_there(tmp_path):
    save(tmp_path / "hq" / "0.png", 100, "L")
    save(tmp_path / "out" / "0.png", (100, 100, 100))
    assert summarise(Results("m", tmp_path / "out"), tmp_path / "hq", choose(["psnr"])).means["psnr"] == 60


@pytest.mark.parametrize(
    ("spoil", "error", "message"),
    [
        (
            lambda out, hq: Image.new("RGB", (9, 9)).save(out / "000.png"),
            ImageError,
            r"000\.png: psnr: .*9x9 and 12x10",
        ),
        (lambda out, hq: (out / "000.png").write_bytes(b"no"), ImageError, r"000\.png: cannot be read"),
        (
            lambda out, hq: [p.rename(p.with_suffix(".jpg")) for p in hq.iterdir()],
            ConfigError,
            "no picture is named as",
        ),
    ],
)
def test_bad_pairs_are_clear_errors(folders, spoil, error, message):
    out, hq = folders
    spoil(out / "precise", hq)
    with pytest.raises(error, match=message):
        summarise(Results("m", out / "precise"), hq, choose(["psnr"]))


def test_a_root_without_results_is_refused(tmp_path):
    (tmp_path / "a").mkdir()
    with pytest.raises(
        ConfigError, match="holds no folder of results; they are ROOT, ROOT/METHOD or ROOT/METHOD/PROMPT"
    ):
        find_results(tmp_path)
    with pytest.raises(ConfigError, match="none: cannot be read"):
        find_results(tmp_path / "none")
