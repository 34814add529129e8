import numpy as np
import pytest

from cotir.bench.shards import Bench
from cotir.bench.stats import survey
from cotir.errors import ConfigError


def test_everything_is_counted(bench):
    stats = survey(bench)
    assert (stats.samples, stats.photos, stats.shards) == (37, 6, len(list(bench.rglob("*.tar"))))
    assert stats.writers == {"template": 37}
    assert sum(each.train for each in stats.types) == 30 and sum(each.test for each in stats.types) == 7
    by_type = {each.deg: each for each in stats.types}
    assert by_type["snow-low_resolution"].group == "unseen" and by_type["snow-low_resolution"].train == 0
    assert by_type["clean"].psnr is None


def test_kinds_and_histograms_agree_with_the_samples(bench):
    stats = survey(bench)
    metas = [reader[number].meta for reader in (Bench(bench), Bench(bench, "test")) for number in range(len(reader))]
    noise = next(each for each in stats.kinds if each.kind == "noise")
    severities = [each.severity for meta in metas for each in meta.applied if each.kind == "noise"]
    assert noise.samples == len(severities) == sum(noise.severities)
    assert noise.severity == pytest.approx(np.mean(severities))
    assert sum(stats.psnr) == sum(meta.psnr is not None for meta in metas)
    assert stats.bytes > sum(path.stat().st_size for path in (bench / "test/lq").iterdir())


def test_a_folder_without_index(tmp_path):
    with pytest.raises(ConfigError, match="build the benchmark first"):
        survey(tmp_path)
