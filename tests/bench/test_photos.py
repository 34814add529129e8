import pytest

from cotir.bench.photos import Inspection, Skipped, find_files, read_credits, settle, split_photos
from cotir.bench.schema import Source
from cotir.errors import ConfigError
from small_bench import write_photo

MANY = [Source(f"{number:064x}", f"{number}.png") for number in range(400)]


def test_files_are_found_in_folders_below_but_not_hidden_ones(tmp_path):
    for name in ("b.png", "a/c.png", ".d/e.png", ".f.png"):
        write_photo(tmp_path / name, 1)
    (tmp_path / "SOURCES.csv").write_text("file\n")
    assert find_files(tmp_path) == ["a/c.png", "b.png"]


def test_a_folder_without_files(tmp_path):
    with pytest.raises(ConfigError, match="holds no file; name a folder of clean photos"):
        find_files(tmp_path)
    with pytest.raises(ConfigError, match="is no folder; name a folder"):
        find_files(tmp_path / "missing")


def test_of_equal_pictures_the_first_by_name_stays_whatever_the_order():
    found = [
        Inspection("b.png", "2", "same"),
        Inspection("a.png", "1", "same"),
        Inspection("c.png", problem="is empty"),
    ]
    for order in (found, found[::-1]):
        survey = settle(order, {"a.png": Source("", "a.png", "CC0-1.0", "Ann")})
        assert survey.sources == (Source("1", "a.png", "CC0-1.0", "Ann"),)
        assert survey.skipped == (Skipped("b.png", "is the same picture as a.png"), Skipped("c.png", "is empty"))


@pytest.mark.parametrize("part", [0.1, 0.5])
def test_the_split_is_about_as_large_as_asked_and_stable(part):
    split = split_photos(MANY, part)
    assert len(split["test"]) == pytest.approx(400 * part, rel=0.35)
    assert not set(split["train"]) & set(split["test"])
    fewer = split_photos(MANY[:200], part)
    assert set(fewer["test"]) <= set(split["test"]) and set(fewer["train"]) <= set(split["train"])


@pytest.mark.parametrize("count", [2, 3])
@pytest.mark.parametrize("part", [0.001, 0.999])
def test_each_side_keeps_a_photo(count, part):
    split = split_photos(MANY[:count], part)
    assert split["train"] and split["test"]


def test_nothing_is_held_out_where_nothing_is_tested():
    assert split_photos(MANY[:1], 0) == {"train": tuple(MANY[:1]), "test": ()}


@pytest.mark.parametrize(("photos", "message"), [([], "there is no usable photo"), (MANY[:1], "give two, or hold")])
def test_too_few_photos(photos, message):
    with pytest.raises(ConfigError, match=message):
        split_photos(photos, 0.1)


def test_credits_take_the_usual_names_of_columns(tmp_path):
    (tmp_path / "SOURCES.csv").write_text(
        '\ufeffLICENSE, File ,x,Photographer\nCC0,"./a,b.png",1,Ann\n,,,\nMIT,c.png\n'
    )
    credits = read_credits(tmp_path)
    assert credits == {"a,b.png": Source("", "a,b.png", "CC0", "Ann"), "c.png": Source("", "c.png", "MIT", "")}


def test_credits_without_files_are_refused(tmp_path):
    assert read_credits(tmp_path) == {}
    (tmp_path / "SOURCES.csv").write_text("licence,author\nCC0,Ann\n")
    with pytest.raises(ConfigError, match="has the columns licence, author; it needs one called file"):
        read_credits(tmp_path)
    (tmp_path / "SOURCES.csv").write_bytes(b"file\n\xff\xfe")
    with pytest.raises(ConfigError, match="save it as CSV in UTF-8"):
        read_credits(tmp_path)
