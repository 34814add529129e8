"""Give a nano model without a tone map one that does nothing yet, so that training can go on from it.

    python scripts/add_tone_map.py MODEL OUT

MODEL and OUT are pipeline folders; OUT must not be there. The read-out is not copied: it belongs to MODEL's weights.
"""

import argparse
from pathlib import Path

import torch

from cotir import CoTIRPipeline
from cotir.nano import CoTNanoTransformer2DModel
from cotir.storage import new_folder


def main() -> None:
    """Read MODEL and write OUT."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("out", type=Path)
    options = parser.parse_args()
    pipeline = CoTIRPipeline.from_pretrained(options.model)
    known = {name: value for name, value in pipeline.transformer.config.items() if not name.startswith("_")}
    torch.manual_seed(0)
    transformer = CoTNanoTransformer2DModel(**{**known, "tone": True})
    found = transformer.load_state_dict(pipeline.transformer.state_dict(), strict=False)
    strangers = [name for name in found.missing_keys if not name.startswith("tone_map.")] + found.unexpected_keys
    if strangers or not found.missing_keys:
        parser.error(f"{options.model} has a tone map, or does not fit: {', '.join(strangers) or 'nothing is lacking'}")
    with new_folder(options.out) as part:
        components = {name: each for name, each in pipeline.components.items() if name != "transformer"}
        CoTIRPipeline(transformer=transformer, **components).save_pretrained(part)


if __name__ == "__main__":
    main()
