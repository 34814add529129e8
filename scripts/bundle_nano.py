"""Put the weights of a training run into the package as the bundled nano model, in half precision.

    python scripts/bundle_nano.py RUN

RUN is the folder of a run of ``cotir train`` with the preset nano. The text encoder and the tokenizer in the package
stay as they are. The reasoning's read-out belongs to other weights then, and is removed: calibrate it anew
(scripts/calibrate_reasoning.py nano PHOTOS).
"""

import argparse
from pathlib import Path

import torch
from transformers import AutoTokenizer, BertModel

from cotir.autoencoder import PatchAutoencoder
from cotir.loading import NANO_FOLDER
from cotir.nano import CoTNanoTransformer2DModel
from cotir.pipeline import CoTIRPipeline
from cotir.read_out import FILE


def main() -> None:
    """Read RUN/weights and write the package's assets."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    options = parser.parse_args()
    trained = CoTNanoTransformer2DModel.from_pretrained(options.run / "weights" / "transformer")
    # A fresh config does not remember the folder on this machine.
    transformer = CoTNanoTransformer2DModel(**{k: v for k, v in trained.config.items() if not k.startswith("_")})
    transformer.load_state_dict(trained.state_dict())
    pipeline = CoTIRPipeline(
        transformer=transformer,
        vae=PatchAutoencoder(),
        text_encoder=BertModel.from_pretrained(NANO_FOLDER / "text_encoder"),
        tokenizer=AutoTokenizer.from_pretrained(NANO_FOLDER / "tokenizer"),
    )
    pipeline.to(torch.float16).save_pretrained(NANO_FOLDER)
    (NANO_FOLDER / FILE).unlink(missing_ok=True)


if __name__ == "__main__":
    main()
