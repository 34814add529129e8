"""Give a nano model another shape, keeping the weights whose name and size stay: training can go on from it.

    python scripts/reshape_nano.py MODEL OUT tone=true
    python scripts/reshape_nano.py MODEL OUT block=residual

MODEL and OUT are pipeline folders, or ``nano`` for the bundled MODEL; OUT must not be there. After them come arguments
of the transformer (CoTNanoTransformer2DModel), the others stay as they are. What is new starts from random weights of
seed 0: a tone map as one that does nothing, and convolution blocks nearly so. The read-out is not copied: it belongs
to MODEL's weights. Prints what is new and what is left out.
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
from cotir.storage import new_folder
from cotir.train.trainee import fresh_nano


def main() -> None:
    """Read MODEL and write OUT."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("shape", nargs="+", metavar="KEY=VALUE")
    options = parser.parse_args()
    try:
        print(reshape(options.model, options.out, options.shape))
    except CoTIRError as error:
        parser.error(str(error))


def reshape(model: Path, out: Path, shape: Sequence[str]) -> str:
    """Write the reshaped model; what was kept, is new and was left out, in three lines.

    Raises:
        CoTIRError: MODEL cannot be read, OUT cannot be written, or the transformer takes no such arguments.
    """
    pipeline = CoTIRPipeline.from_pretrained(NANO_FOLDER if model == Path("nano") else model)
    known = {name: value for name, value in pipeline.transformer.config.items() if not name.startswith("_")}
    torch.manual_seed(0)
    transformer = fresh_nano(known | dict(map(argument, shape)))
    sizes = {name: weight.shape for name, weight in transformer.state_dict().items()}
    old = pipeline.transformer.state_dict()
    kept = {name: weight for name, weight in old.items() if sizes.get(name) == weight.shape}
    kinds, before = (tuple(each.config["experts"]) for each in (transformer, pipeline.transformer))
    if kinds != before:  # experts of as many other kinds would fit
        kept = {name: weight for name, weight in kept.items() if not name.startswith("expertise.")}
    transformer.load_state_dict(kept, strict=False)
    with new_folder(out) as part:
        components = {name: each for name, each in pipeline.components.items() if name != "transformer"}
        CoTIRPipeline(transformer=transformer, **components).save_pretrained(part)
    return f"{len(kept)} tensors kept\nnew: {parts(sizes.keys() - kept)}\nleft out: {parts(old.keys() - kept)}"


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
