"""Where a run is, and how it ended."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Outcome:
    """How a run ended."""

    step: int
    finished: bool
    weights: Path | None
    """The trained model, of a finished run."""


@dataclass
class Clock:
    """Where a run is."""

    step: int = 0
    position: int = 0
    """Samples seen by all processes together."""
    seconds: float = 0.0
    problems: int = 0
    """Samples that could not be read."""
    skipped: int = 0
    """Steps left out because their loss was not finite."""
    in_a_row: int = 0
    """Of the skipped ones, the newest."""
