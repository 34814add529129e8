"""Put the weights of a training run into the package as the bundled nano model, in half precision.

    python scripts/bundle_nano.py RUN [--share 0.5] [--experts jpeg,blur]

RUN is the folder of a run of ``cotir train`` with the preset nano. A share below 1 takes the weighted mean of its
weights and of those in the package, from which it must have been trained: often a better place than either end of such
a training (Wortsman et al. 2022, "Model soups"). The text encoder and the tokenizer in the package stay as they are.
The reasoning's read-out belongs to other weights then, and is removed; where it has a diagnosis by what is measured it
stays without its calibration. Calibrate it anew (scripts/calibrate_reasoning.py nano PHOTOS).
"""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor
from transformers import AutoTokenizer, BertModel

from cotir.autoencoder import PatchAutoencoder
from cotir.experts import Experts
from cotir.loading import NANO_FOLDER
from cotir.nano import CoTNanoTransformer2DModel
from cotir.pipeline import CoTIRPipeline
from cotir.read_out import FILE, ReadOut


def main() -> None:
    """Read RUN/weights and write the package's assets."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--share", type=float, default=1.0, help="of RUN's weights in the mean, default 1")
    parser.add_argument("--experts", type=lambda kinds: kinds.split(","), help="kinds of damage, with commas between")
    options = parser.parse_args()
    if not 0 < options.share <= 1:
        parser.error(f"--share is {options.share}; it must be above 0 and at most 1")
    trained = CoTNanoTransformer2DModel.from_pretrained(options.run / "weights" / "transformer")
    # A fresh config does not remember the folder on this machine.
    transformer = CoTNanoTransformer2DModel(**{k: v for k, v in trained.config.items() if not k.startswith("_")})
    weights = trained.state_dict()
    if options.share < 1 or options.experts:
        bundled = CoTNanoTransformer2DModel.from_pretrained(NANO_FOLDER / "transformer").state_dict()
        if trained.expertise is not None and not any(name.startswith("expertise.") for name in bundled):
            bundled |= as_nothing(trained.expertise)
        if bundled.keys() != weights.keys():
            parser.error("--share and --experts need weights of one shape, and RUN's has another than the package's")
        if options.experts:
            known = () if trained.expertise is None else trained.expertise.kinds
            lacking = [kind for kind in options.experts if kind not in known]
            if lacking or trained.expertise is None:
                parser.error(f"--experts {','.join(options.experts)}: RUN has no expert for {', '.join(lacking)}")
            weights = with_experts(bundled, trained.expertise, options.experts)
        weights = {name: torch.lerp(bundled[name].float(), new, options.share) for name, new in weights.items()}
    transformer.load_state_dict(weights)
    pipeline = CoTIRPipeline(
        transformer=transformer,
        vae=PatchAutoencoder(),
        text_encoder=BertModel.from_pretrained(NANO_FOLDER / "text_encoder"),
        tokenizer=AutoTokenizer.from_pretrained(NANO_FOLDER / "tokenizer"),
    )
    pipeline.to(torch.float16).save_pretrained(NANO_FOLDER)
    path = NANO_FOLDER / FILE
    read_out = ReadOut.load(path) if path.is_file() else None
    path.unlink(missing_ok=True)
    if read_out is not None and read_out.diagnosis is not None:
        replace(read_out, calibration=None, benefit=None).save(path)


def with_experts(weights: Mapping[str, Tensor], experts: Experts, kinds: Sequence[str]) -> dict[str, Tensor]:
    """Weights with what the experts of some kinds change."""
    changes = weights["expertise.changes"].float().clone()
    rows = [experts.kinds.index(kind) for kind in kinds]
    changes[rows] = experts.changes[rows].detach().float()
    return dict(weights) | {"expertise.changes": changes}


def as_nothing(experts: Experts) -> dict[str, Tensor]:
    """Experts that change nothing, under the gate of others: what a package without any has."""
    weights = {f"expertise.{name}": weight for name, weight in experts.state_dict().items()}
    return weights | {"expertise.changes": torch.zeros_like(experts.changes)}


if __name__ == "__main__":
    main()
