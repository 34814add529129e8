from dataclasses import replace

import pytest

from cotir.bench.plan import Cluster, Pilot, forecast, measure
from cotir.errors import ConfigError

PILOT = Pilot(
    samples=100,
    seconds=10,
    bytes=10**8,
    photos=5,
    survey_seconds=1,
    workers=2,
    size=512,
    stages={"png": 4, "damage": 16},
)


def test_rates_are_per_worker():
    assert PILOT.rate == 5
    assert PILOT.rate_without_png == 6.25
    assert PILOT.bytes_per_sample == 10**6


def test_a_forecast_scales_with_the_workers():
    one = forecast(PILOT, Cluster(1, 1), 18_000)
    assert (one.hours, one.terabytes, one.megabytes_per_second) == (1, 0.018, 5)
    many = forecast(PILOT, Cluster(4, 25), 18_000)
    assert (many.hours, many.terabytes, many.megabytes_per_second) == (0.01, 0.018, 500)


def test_a_cluster_of_nothing():
    with pytest.raises(ConfigError, match="0 nodes of 8 cores build nothing"):
        forecast(PILOT, Cluster(0, 8), 1)


def test_a_pilot_is_measured_and_leaves_nothing(order, tmp_path):
    pilot = measure(replace(order, out=tmp_path / "untouched", samples=12))
    assert (pilot.samples, pilot.photos, pilot.size, pilot.workers) == (12, 6, 64, 1)
    assert pilot.seconds > 0 and pilot.survey_seconds > 0 and sum(pilot.stages.values()) < pilot.seconds
    assert pilot.bytes_per_sample > 2000
    assert not list(tmp_path.iterdir())


def test_a_pilot_of_nothing(order):
    with pytest.raises(ConfigError, match="a pilot of 0 samples measures nothing"):
        measure(replace(order, samples=0))
