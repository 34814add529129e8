"""A training run of seconds: four small photos, three kinds of damage, and a nano of a few thousand weights."""

import hashlib
import json
from dataclasses import dataclass, field

import cv2
import numpy as np
from PIL import Image

from cotir.configuration import check
from cotir.train.checkpoint import Checkpoints
from cotir.train.config import TrainConfig
from cotir.train.learner import Learner
from cotir.train.loop import Trainer
from cotir.train.objective import LossTerms
from nano_model import write_tiny_pipeline

RECIPE = """
severity: {1: [0.3, 1.0], 2: [0.2, 0.8]}
share: {single: 0.5, seen: 0.3, clean: 0.2}
single: [noise, jpeg, blur]
seen: [blur + noise]
clean: true
"""


def write_material(folder):
    """Photos, a recipe and a tiny nano in one folder; :func:`tiny_config` knows their names."""
    photos = folder / "photos"
    photos.mkdir(parents=True)
    for number in range(4):
        rng = np.random.default_rng(number)
        coarse = cv2.resize(rng.random((6, 8, 3)), (128, 96), interpolation=cv2.INTER_CUBIC)
        pixels = np.clip(coarse + 0.1 * rng.standard_normal((96, 128, 3)), 0, 1)
        Image.fromarray((pixels * 255).astype(np.uint8)).save(photos / f"{number}.png")
    (folder / "recipe.yaml").write_text(RECIPE, encoding="utf-8")
    write_tiny_pipeline(folder / "nano")
    return folder


def tiny_config(material, run, *, steps=6, **sections):
    """A run of ``material`` into the folder ``run``; keys of a section are merged into the ones here."""
    values = {
        "run": run,
        "threads": 1,
        "model": {"preset": "nano", "base": str(material / "nano"), "train": "all", "ema": 0.9},
        "data": {
            "source": "photos",
            "path": material / "photos",
            "recipe": material / "recipe.yaml",
            "held_out": 0.3,
            "region": 48,
            "crops_per_region": 2,
            "workers": 0,
        },
        "objective": {
            "flow": {"form": "balanced"},
            "time": {"at_one": 0.5, "floor": 0.02},
            "delta": {"scene": 0.3, "degradation": 0.3, "plan": 0.3},
        },
        "optimizer": {"rate": 2e-3, "floor": 1e-4, "warmup": 2},
        "schedule": {"stages": [{"until": steps, "crop": 32, "batch": 2}], "vague": {0: 0.5}},
        "checkpoint": {"every": 5},
        "log": {"every": 1, "trackers": []},
        "validation": {"every": 0, "samples": 2, "pictures": 1, "crop": 32, "steps": 1, "read_out": False},
    }
    for name, given in sections.items():
        old = values.get(name)
        values[name] = old | given if isinstance(old, dict) and isinstance(given, dict) else given
    return check(TrainConfig, values, name="tiny run")


@dataclass
class Record:
    """A watch that remembers."""

    rows: list = field(default_factory=list)
    notes: list = field(default_factory=list)

    def update(self, row):
        self.rows.append(dict(row))

    def note(self, text):
        self.notes.append(text)

    def noted(self, part):
        """The notes that hold a text."""
        return [note for note in self.notes if part in note]


def train(config, **options):
    """Run it; returns the trainer, what was told and the outcome."""
    record = Record()
    trainer = Trainer(config, record, **options)
    return trainer, record, trainer.run()


def hashes(tensors):
    """SHA-256 of every tensor's bytes, by name."""
    return {
        name: hashlib.sha256(tensor.detach().contiguous().cpu().numpy().tobytes()).hexdigest()
        for name, tensor in tensors.items()
    }


def end_state(run):
    """All of a run's newest checkpoint that must not depend on how often it was stopped, as hashes and numbers."""
    path = Checkpoints(run / "checkpoints", 1).steps()[0]
    state = json.loads((path / "state.json").read_text(encoding="utf-8"))
    kept = {key: state[key] for key in ("step", "position", "multipliers", "problems", "skipped", "facts")}
    return kept | {name: facts["sha256"] for name, facts in state["files"].items()}


def poison(monkeypatch, steps):
    """Make the flow loss NaN at the steps that a function says yes to."""
    sound = Learner.loss

    def loss(self, pairs, step):
        terms = sound(self, pairs, step)
        if not steps(step):
            return terms
        nan = float("nan")
        return LossTerms(terms.flow * nan, terms.distances, terms.constraints, terms.loss * nan)

    monkeypatch.setattr(Learner, "loss", loss)
