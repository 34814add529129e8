import sys

import cv2
import pytest

from cotir.bench.executor import run
from cotir.errors import ConfigError, ImageError
from small_bench import Worker


@pytest.mark.parametrize("workers", [1, 2])
def test_every_item_is_done_on_one_thread_each(workers):
    threads = cv2.getNumThreads()
    done = list(run("local", Worker, range(12), workers=workers))
    assert sorted(done) == [(number * number, 1) for number in range(12)]
    assert cv2.getNumThreads() == threads


@pytest.mark.parametrize("workers", [1, 2])
def test_what_goes_wrong_in_a_worker_is_raised_here(workers):
    with pytest.raises(ImageError, match=r"^13.png: is unlucky$"):
        list(run("local", Worker, [1, 13, 2], workers=workers))


def test_a_worker_that_dies_is_told_with_a_remedy():
    with pytest.raises(ConfigError, match="a worker process died, perhaps for lack of memory; run the same command"):
        list(run("local", Worker, [1, 666], workers=2))


@pytest.mark.parametrize("kind", ["local", "ray"])
def test_nothing_to_do_starts_nothing(kind):
    assert list(run(kind, Worker, [], workers=2)) == []


def test_without_ray_it_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ConfigError, match=r"--executor ray needs Ray .*pip install 'cotir\[ray\]'"):
        list(run("ray", Worker, [1], workers=2))
