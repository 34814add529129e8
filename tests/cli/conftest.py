"""The command line as a user has it: what was printed, where, and the exit code."""

from dataclasses import dataclass

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from cotir.interfaces.cli import app


@dataclass(frozen=True)
class Outcome:
    code: int
    out: str
    err: str


@pytest.fixture
def cotir():
    """Run a command in this process."""

    def run(*arguments) -> Outcome:
        result = CliRunner(env={"COLUMNS": "200", "NO_COLOR": "1"}).invoke(app, [str(a) for a in arguments])
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return Outcome(result.exit_code, result.stdout, result.stderr)

    return run


@pytest.fixture
def restore(cotir, nano_folder):
    """Run ``cotir restore`` with the tiny model."""
    return lambda *arguments: cotir("restore", *arguments, "--model", nano_folder)


@pytest.fixture
def photo():
    """Write a small random picture; the suffix of the path says as what."""
    rng = np.random.default_rng(0)

    def write(path, shape=(20, 24, 3), dtype=np.uint8):
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(0, np.iinfo(dtype).max, shape, dtype=dtype, endpoint=True)
        Image.fromarray(pixels).save(path)
        return path

    return write
