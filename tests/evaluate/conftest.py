"""A small bench to evaluate on, and someone who listens."""

import pytest

from cotir.evaluate.cases import of_bench
from small_bench import build_small_bench


@pytest.fixture(scope="session")
def bench(tmp_path_factory):
    """The folder of a bench with seven test pictures of 48 pixels: three singles, two seen, one unseen, one clean."""
    return build_small_bench(tmp_path_factory)


@pytest.fixture
def tests(bench):
    return of_bench(bench)


class Listener:
    """Remembers what it is told."""

    def __init__(self):
        self.started, self.rows, self.notes = [], [], []

    def start(self, todo, done):
        self.started.append((todo, done))

    def result(self, row):
        self.rows.append(row)

    def note(self, text):
        self.notes.append(text)


@pytest.fixture
def listener():
    return Listener()
