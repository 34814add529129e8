"""A benchmark as a whole: the same bytes however it was built, and laid out as the released loader reads it."""

import json
import re
import signal
import subprocess
import sys
import tarfile
import time
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from cotir.bench.build import Watcher, build
from cotir.bench.order import share_out
from cotir.bench.photos import Skipped
from cotir.bench.schema import MEMBERS, Metadata
from cotir.errors import ConfigError, ImageError
from cotir.prompts import ReasoningTrace
from small_bench import RECIPES, digests, write_photo

MARKERS = "scene description: .+ degradation description: .+ enhancement plan: .+ answer: .+"


class Notes(Watcher):
    def __init__(self):
        self.stages, self.left_out, self.done, self.made = [], [], 0, 0

    def begin(self, stage, total):
        self.stages.append((stage, total))
        self.done = 0

    def advance(self, count, size=0):
        self.done += count
        self.made += count if size else 0

    def skipped(self, photo):
        self.left_out.append(photo)


def loader_name(label):
    """How the released loader turns a degradation type into the name of a prompt file."""
    return re.sub(r"[^a-z0-9._-]+", "_", label.strip().lower())


def lines(path):
    return path.read_text(encoding="utf-8").splitlines()


def test_two_workers_give_the_same_bytes(bench, order, tmp_path):
    build(replace(order, out=tmp_path / "two", workers=2))
    assert digests(tmp_path / "two") == digests(bench)


def test_a_build_killed_at_random_moments_ends_with_the_same_bytes(bench, order, tmp_path):
    recipe = tmp_path / "r.yaml"
    recipe.write_text(RECIPES)
    out = tmp_path / "killed"
    command = [sys.executable, "-m", "cotir", "bench", "build", str(order.photos), str(out), "--recipe", str(recipe)]
    command += ["--samples", "30", "--size", "64", "--seed", "5"]
    rng = np.random.default_rng()
    unfinished = 0
    for shards in sorted(rng.choice(9, size=3, replace=False)):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 60
        while len(list(out.rglob("*.tar"))) < shards and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.001)
        time.sleep(rng.uniform(0, 0.05))
        process.send_signal(signal.SIGKILL)
        process.wait()
        unfinished += not (out / "manifest.json").exists()
    assert unfinished
    assert subprocess.run([*command, "--workers", "2"], capture_output=True, timeout=60).returncode == 0
    assert digests(out) == digests(bench)


def test_a_second_run_makes_nothing_and_a_lost_shard_alone_is_made_again(bench, order, tmp_path):
    copy = replace(order, out=tmp_path / "copy")
    build(copy)
    before = digests(copy.out)
    notes = Notes()
    build(copy, notes)
    assert (notes.done, notes.made) == (37, 0)
    (copy.out / "image/noise/noise-000000.tar").unlink()
    (copy.out / "image/jpeg/.cotir-0123456789abcdef.part").write_bytes(b"half")
    notes = Notes()
    build(copy, notes)
    # test samples have no shard to be taken up from: they are made again too
    assert notes.stages == [("photos", 6), ("samples", 37)] and notes.made == 4 + 7
    assert digests(copy.out) == before


def test_a_damaged_shard_is_made_again(bench, order, tmp_path):
    copy = replace(order, out=tmp_path / "copy")
    build(copy)
    before = digests(copy.out)
    shard = copy.out / "image/noise/noise-000000.tar"
    shard.write_bytes(shard.read_bytes()[:1000])
    build(copy)
    assert digests(copy.out) == before


def test_more_samples_keep_the_first_ones(bench, order, tmp_path):
    build(replace(order, out=tmp_path / "more", samples=60))
    first = "image/haze-blur/haze-blur-000000.tar"
    assert digests(tmp_path / "more")[first] == digests(bench)[first]


def test_another_seed_is_another_benchmark(bench, order, tmp_path):
    build(replace(order, out=tmp_path / "six", seed=6))
    there, here = digests(tmp_path / "six"), digests(bench)
    assert not [name for name in here if name.endswith(".tar") and there[name] == here[name]]


def test_shards_are_laid_out_as_the_released_loader_reads_them(bench):
    types = sorted(path.name for path in (bench / "image").iterdir())
    assert types == ["clean", "haze-blur", "jpeg", "low_light-noise-jpeg", "noise", "rain"]
    for deg in types:
        assert deg == loader_name(deg)
        shards = sorted(path.name for path in (bench / "image" / deg).iterdir())
        assert shards == [f"{deg}-{number:06d}.tar" for number in range(len(shards))]
        with tarfile.open(bench / "image" / deg / shards[0]) as tar:
            members = tar.getmembers()
            names = [member.name for member in members]
            keys = list(dict.fromkeys(name.partition(".")[0] for name in names))
            assert names == [f"{key}.{suffix}" for key in keys for suffix in MEMBERS]
            assert {(m.mtime, m.uid, m.gid, m.uname, m.gname, m.mode) for m in members} == {(0, 0, 0, "", "", 0o644)}
            meta = json.load(tar.extractfile(names[2]))
            assert meta["deg"] == deg and len(meta["cot"]["questions"]) == 2
            assert re.match(MARKERS, meta["cot"]["answers"])
            assert ("jpeg_type" in meta) == ("jpeg" in deg)
            for name in names[:2]:
                with Image.open(tar.extractfile(name)) as image:
                    assert (image.format, image.mode, image.size) == ("PNG", "RGB", (64, 64))


def test_prompt_files_stand_where_the_loader_looks(bench):
    assert len(lines(bench / "prompts/gen_prompt.txt")) >= 200
    for deg in (path.name for path in (bench / "image").iterdir()):
        prompts = lines(bench / "prompts/spe_prompt" / f"{loader_name(deg)}.txt")
        assert len(prompts) >= 20 and len(set(prompts)) == len(prompts)
    assert (bench / "prompts/spe_prompt/snow-low_resolution.txt").exists()


def test_the_test_list_has_the_released_keys(bench):
    entries = [json.loads(line) for line in lines(bench / "test/test.jsonl")]
    assert len(entries) == 7
    for entry in entries:
        assert list(entry) == ["id", "subset", "deg_type", "lq_path", "gen_prompt", "spe_prompt"]
        for folder in ("lq", "hq"):
            with Image.open(bench / "test" / folder / entry["lq_path"].removeprefix("lq/")) as image:
                assert image.size == (64, 64)
    assert {entry["subset"] for entry in entries} == {"single", "seen", "unseen", "clean"}
    assert [entry["deg_type"] for entry in entries if entry["subset"] == "unseen"] == ["snow-low_resolution"]


def all_metadata(bench):
    for path in bench.rglob("*.tar"):
        with tarfile.open(path) as tar:
            yield from (Metadata.from_json(tar.extractfile(m).read()) for m in tar if m.name.endswith("meta.json"))
    yield from (Metadata.from_json(path.read_bytes()) for path in (bench / "test/meta").iterdir())


def test_no_photo_is_in_both_splits_and_credits_are_carried(bench):
    metas = list(all_metadata(bench))
    sources = {split: {m.source.sha256 for m in metas if m.split == split} for split in ("train", "test")}
    assert sources["train"] and sources["test"] and not sources["train"] & sources["test"]
    credits = {m.source.file: (m.source.licence, m.source.author) for m in metas}
    assert credits["a/0.png"] == ("CC0-1.0", "Ann") and credits["b/1.png"] == ("GPL, 2", "")
    assert credits["a/2.png"] == ("", "")
    table = lines(bench / "SOURCES.csv")
    assert table[0] == "file,licence,author,sha256,split" and len(table) == 7
    assert any(row.startswith('b/1.png,"GPL, 2",,') for row in table)


def test_severities_stay_in_their_ranges_and_damage_is_recorded(bench):
    for meta in all_metadata(bench):
        low, high = {0: (0, 0), 1: (0.15, 1.0), 2: (0.15, 0.8), 3: (0.1, 0.6)}[len(meta.applied)]
        assert all(low <= each.severity <= high for each in meta.applied)
        assert (meta.psnr is None) == (not meta.applied)
        assert isinstance(meta.trace, ReasoningTrace) and meta.writer == "template"


def test_the_manifest_counts(bench):
    manifest = json.loads((bench / "manifest.json").read_text())
    assert manifest["samples"] == {"train": 30, "test": 7}
    assert sum(recipe["train"] for recipe in manifest["recipes"]) == 30
    assert sum(shard["samples"] for shard in manifest["shards"]) == 30
    assert manifest["photos"]["train"] + manifest["photos"]["test"] == 6
    assert not list(bench.rglob(".*"))


def test_bad_photos_are_named_and_nothing_else_is_lost(order, tmp_path):
    folder = tmp_path / "photos"
    for number in range(3):
        write_photo(folder / f"{number}.png", number)
    write_photo(folder / "print.jpg", 7)
    Image.open(folder / "print.jpg").convert("CMYK").save(folder / "print.jpg")
    write_photo(folder / "icon.png", 8, side=20)
    (folder / "broken.png").write_bytes((folder / "0.png").read_bytes()[:500])
    (folder / "notes.txt").write_text("not a picture")
    Image.open(folder / "1.png").save(folder / "copy.bmp")
    (folder / ".hidden").write_text("x")
    notes = Notes()
    built = build(replace(order, photos=folder, out=tmp_path / "out"), notes)
    reasons = {photo.file: photo.reason for photo in notes.left_out}
    assert list(reasons) == ["broken.png", "copy.bmp", "icon.png", "notes.txt"]
    assert "damaged or truncated" in reasons["broken.png"]
    assert reasons["icon.png"] == "is 52 x 20; each side needs 64"
    assert "no picture that can be read" in reasons["notes.txt"]
    assert Skipped("copy.bmp", "is the same picture as 1.png") in built.skipped
    assert built.samples == {"train": 30, "test": 7}
    assert "print.jpg" in (tmp_path / "out/SOURCES.csv").read_text()
    assert len(json.loads((tmp_path / "out/manifest.json").read_text())["skipped"]) == 4


def test_a_folder_of_another_build_is_left_alone(bench, order):
    before = digests(bench)
    with pytest.raises(ConfigError, match=r"holds another build \(samples was 30 and is 31, seed was 5 and is 6\)"):
        build(replace(order, samples=31, seed=6))
    assert digests(bench) == before


def test_a_folder_of_something_else_is_left_alone(order, tmp_path):
    (tmp_path / "image").mkdir()
    with pytest.raises(ConfigError, match="holds another benchmark; name a new folder"):
        build(replace(order, out=tmp_path))


def test_a_benchmark_among_its_photos_is_refused(order):
    with pytest.raises(ConfigError, match="lies in the photo folder, and would be taken for photos; build elsewhere"):
        build(replace(order, out=order.photos / "out"))
    assert not (order.photos / "out").exists()


def test_a_photo_that_changes_meanwhile_stops_the_build(order, tmp_path):
    folder = tmp_path / "photos"
    for number in range(3):
        write_photo(folder / f"{number}.png", number)

    class Meddler(Watcher):
        def begin(self, stage, total):
            if stage == "samples":
                for number in range(3):
                    write_photo(folder / f"{number}.png", number + 50)

    with pytest.raises(ImageError, match=r"png: has changed since the build began; put the old file back"):
        build(replace(order, photos=folder, out=tmp_path / "out"), Meddler())
    assert not list((tmp_path / "out").rglob("*.tar"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"samples": -1}, "samples is -1; it must lie between 0"), ({"size": 8}, "size is 8; it must lie between 16"),
     ({"workers": 0}, "workers is 0"), ({"seed": -3}, "seed is -3")],
)  # fmt: skip
def test_arguments_outside_their_limits(order, changes, message):
    with pytest.raises(ConfigError, match=message):
        replace(order, **changes)


def test_samples_are_shared_out_by_the_largest_remainder():
    assert share_out(10, {"a": 0.5, "b": 0.25, "c": 0.25}) == {"a": 5, "b": 3, "c": 2}
    assert share_out(1, {"a": 0.4, "b": 0.6, "c": 0}) == {"a": 0, "b": 1, "c": 0}
    assert share_out(0, {"a": 1}) == {"a": 0}
    assert share_out(3, {"a": 0.0}) == {"a": 0}


@pytest.mark.slow
def test_ray_gives_the_same_bytes(bench, order, tmp_path):
    pytest.importorskip("ray")
    build(replace(order, out=tmp_path / "ray", executor="ray", workers=2))
    assert digests(tmp_path / "ray") == digests(bench)
