"""A small folder of photos, a small set of recipes, and the benchmark built of them."""

import pytest

from cotir.bench.build import build
from cotir.bench.order import Order
from cotir.bench.recipes import parse_recipes
from small_bench import RECIPES, write_photo


@pytest.fixture(scope="session")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    for number in range(6):
        write_photo(folder / f"{'ab'[number % 2]}" / f"{number}.png", number)
    (folder / "SOURCES.csv").write_text('file,width,License,Artist\na/0.png,128,CC0-1.0,Ann\nb/1.png,128,"GPL, 2",\n')
    return folder


@pytest.fixture(scope="session")
def recipes():
    return parse_recipes(RECIPES)


@pytest.fixture(scope="session")
def order(photos, recipes, tmp_path_factory):
    """The arguments of the benchmark that the tests look at."""
    return Order(photos, tmp_path_factory.mktemp("bench") / "one", recipes, samples=30, size=64, seed=5)


@pytest.fixture(scope="session")
def bench(order):
    """The folder of a benchmark built with one worker."""
    build(order)
    return order.out
