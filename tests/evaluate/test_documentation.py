"""What the documentation shows is so."""

import re
from pathlib import Path

import numpy as np

from cotir.evaluate import methods, specialists
from cotir.evaluate.methods import Request
from cotir.evaluate.metrics import METRICS, SETS
from cotir.evaluate.restorers import OWN, Specification

TEXT = (Path(__file__).parents[2] / "docs" / "evaluation.md").read_text(encoding="utf-8")


def test_the_example_of_a_method_runs_from_a_file(tmp_path):
    code = re.search(r"```python\n(.*?)```", TEXT, re.DOTALL)[1]
    (tmp_path / "brighter.py").write_text(code)
    method = Specification.parse(f"python:{tmp_path}/brighter.py:Brighter").build()
    assert method.restore(Request("k", np.full((2, 2, 3), 100, np.uint8))).image.tolist() == [[[115] * 3] * 2] * 2
    example = code[code.index("class") :].replace("  # raise it when results change", "")
    assert re.sub(r"\s+", " ", example) in re.sub(r"\s+", " ", methods.__doc__) + " "


def test_every_method_metric_and_set_is_named():
    assert all(re.search(rf"`{name}[`:]", TEXT) for name in OWN)
    offline = [name for name in METRICS if METRICS[name].offline]
    assert all(f"`{name}`" in TEXT for name in offline)
    assert all(f"**{name}**" in TEXT for name in SETS)


def test_the_npm_line_is_the_one_that_the_error_gives():
    assert specialists.INSTALL.format(folder="maxim") in TEXT
