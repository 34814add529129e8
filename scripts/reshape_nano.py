"""Give a nano model another shape, keeping the weights whose name and size stay: training can go on from it.

    python scripts/reshape_nano.py MODEL OUT tone=true
    python scripts/reshape_nano.py MODEL OUT block=residual
    python scripts/reshape_nano.py nano OUT 'experts=[haze+]' --open

MODEL and OUT are pipeline folders, or ``nano`` for the bundled MODEL; OUT must not be there. After them come arguments
of the transformer (CoTNanoTransformer2DModel), the others stay as they are; experts are kept by their names. What is
new starts from random weights of seed 0: a tone map and experts as ones that do nothing, and convolution blocks nearly
so. With --open the experts' gate is made one that lets every picture through, for training a single expert. The
read-out is not copied: it belongs to MODEL's weights. Prints what is new and what is left out.
"""

import argparse
from collections.abc import Iterable, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import torch
import yaml

from cotir import CoTIRPipeline
from cotir.errors import ConfigError, CoTIRError
from cotir.loading import NANO_FOLDER
from cotir.reshape import reshaped
from cotir.storage import new_folder


def main() -> None:
    """Read MODEL and write OUT."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("shape", nargs="+", metavar="KEY=VALUE")
    parser.add_argument("--open", action="store_true", help="let every picture through to the experts")
    options = parser.parse_args()
    try:
        print(reshape(options.model, options.out, options.shape, stand_open=options.open))
    except CoTIRError as error:
        parser.error(str(error))


def reshape(model: Path, out: Path, shape: Sequence[str], *, stand_open: bool) -> str:
    """Write the reshaped model; what was kept, is new and was left out, in three lines.

    Raises:
        CoTIRError: MODEL cannot be read, OUT cannot be written, the transformer takes no such arguments, or experts
            shall be open and there are none.
    """
    pipeline = CoTIRPipeline.from_pretrained(NANO_FOLDER if model == Path("nano") else model)
    torch.manual_seed(0)
    made = reshaped(pipeline.transformer, **dict(map(argument, shape)))
    transformer = made.transformer
    if stand_open:
        if transformer.expertise is None:
            raise ConfigError(f"--open: {model} has no experts; name some, as in 'experts=[haze+]'")
        transformer.expertise.stand_open()
    with new_folder(out) as part:
        components = {name: each for name, each in pipeline.components.items() if name != "transformer"}
        CoTIRPipeline(transformer=transformer, **components).save_pretrained(part)
    return f"{len(made.kept)} tensors kept\nnew: {parts(made.new)}\nleft out: {parts(made.left_out)}"


def argument(text: str) -> tuple[str, Any]:
    """Read ``KEY=VALUE``, the value as YAML."""
    key, equals, value = text.partition("=")
    if not (key and equals and value):
        raise ConfigError(f"{text!r} is no KEY=VALUE; write it like tone=true")
    return key, yaml.safe_load(value)


def parts(names: Iterable[str]) -> str:
    """Tell tensors by the module that holds them, with their number: ``encoder.0 (8), exit (2)``."""
    modules = groupby(sorted(names), key=lambda name: ".".join(name.split(".")[:2]))
    return ", ".join(f"{module} ({len(list(held))})" for module, held in modules) or "nothing"


if __name__ == "__main__":
    main()
