"""The debug configuration's losses and multipliers are the stored ones.

To store new ones after a change that is meant to change them:
``PYTHONPATH=tests python tests/train/test_golden_curve.py``.
"""

import json
import tempfile
from pathlib import Path

import numpy as np
from tiny_run import Record

import cotir
from cotir.train.loop import Trainer
from cotir.train.run_file import load_config

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests" / "golden" / "debug_curve.json"
KEYS = ("loss", "flow", "d_scene", "d_degradation", "d_plan", "lambda_scene", "lambda_degradation", "lambda_plan")
TOLERANCE = 1e-5


def curve(run):
    """Of the 20 steps of configs/train/debug.yaml on the two photographs of the package, by key."""
    photos = Path(cotir.__file__).parent / "assets" / "examples"
    changes = [f"run={run}", f"data.path={photos}", "data.held_out=0.5", "validation.every=0"]
    changes.append(f"data.recipe={ROOT / 'configs' / 'bench' / 'small.yaml'}")
    record = Record()
    Trainer(load_config(ROOT / "configs" / "train" / "debug.yaml", changes), record).run()
    return {key: [row[key] for row in record.rows] for key in KEYS}


def test_the_curve_is_the_stored_one(tmp_path):
    stored, now = json.loads(GOLDEN.read_text(encoding="utf-8")), curve(tmp_path / "run")
    assert list(now) == list(stored)
    for key, values in stored.items():
        assert len(values) == 20
        wanted = np.array(values)
        error = np.abs(np.array(now[key]) - wanted) / np.maximum(1, np.abs(wanted))
        assert error.max() <= TOLERANCE, f"{key} at step {error.argmax() + 1}"


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        GOLDEN.write_text(json.dumps(curve(Path(folder) / "run"), indent=1) + "\n", encoding="utf-8")
