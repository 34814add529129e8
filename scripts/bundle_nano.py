"""Put the weights of a training run into the package as the bundled nano model, in half precision.

    python scripts/bundle_nano.py RUN [--share 0.5] [--experts jpeg,haze+]

RUN is the folder of a run of ``cotir train`` with the preset nano, or a nano pipeline folder. A share below 1 takes the
weighted mean of its weights and of those in the package, from which it must have been trained: often a better place
than either end of such a training (Wortsman et al. 2022, "Model soups"). With --experts only what these have learned is
taken; one that the package has not is added to it, with a gate that is shut until it is fitted
(scripts/fit_experts.py). Experts are packed. The text encoder and the tokenizer in the package stay as they are.
The reasoning's read-out belongs to other weights then, and is removed; where it has a diagnosis by what is measured it
stays without its calibration. Calibrate it anew (scripts/calibrate_reasoning.py nano PHOTOS).
"""

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from transformers import AutoTokenizer, BertModel

from cotir.autoencoder import PatchAutoencoder
from cotir.errors import ConfigError, CoTIRError
from cotir.loading import NANO_FOLDER
from cotir.nano import CoTNanoTransformer2DModel
from cotir.pipeline import CoTIRPipeline
from cotir.read_out import FILE, ReadOut
from cotir.reshape import reshaped


def main() -> None:
    """Read RUN/weights and write the package's assets."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--share", type=float, default=1.0, help="of RUN's weights in the mean, default 1")
    parser.add_argument("--experts", type=lambda kinds: kinds.split(","), help="names of experts, with commas between")
    options = parser.parse_args()
    if not 0 < options.share <= 1:
        parser.error(f"--share is {options.share}; it must be above 0 and at most 1")
    folder = options.run / "weights" if (options.run / "weights").is_dir() else options.run
    if not (folder / "transformer").is_dir():
        parser.error(f"{options.run} holds no weights of a nano; give the folder of a training run or of a pipeline")
    try:
        trained, bundled = map(unpacked, (folder, NANO_FOLDER))
        if options.experts:
            transformer = with_experts(bundled, trained, options.experts, options.share)
        elif options.share < 1:
            transformer = mean(bundled, trained, options.share)
        else:
            transformer = trained
        packed = reshaped(transformer, packed=transformer.expertise is not None).transformer
    except CoTIRError as error:
        parser.error(str(error))
    pipeline = CoTIRPipeline(
        transformer=packed,
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


def unpacked(folder: Path) -> CoTNanoTransformer2DModel:
    """The transformer of a pipeline folder, its experts in floating point."""
    return reshaped(CoTNanoTransformer2DModel.from_pretrained(folder / "transformer"), packed=False).transformer


def with_experts(
    package: CoTNanoTransformer2DModel, trained: CoTNanoTransformer2DModel, names: Sequence[str], share: float
) -> CoTNanoTransformer2DModel:
    """The package's model with a share of what experts of a trained one have learned; those it has not, added.

    Raises:
        ConfigError: the trained one has no such expert, or one for other weights.
    """
    theirs = trained.expertise
    lacking = [name for name in names if theirs is None or name not in theirs.names]
    if theirs is None or lacking:
        raise ConfigError(f"--experts {','.join(names)}: RUN has no expert for {', '.join(lacking)}")
    had = () if package.expertise is None else package.expertise.names
    made = reshaped(package, experts=(*had, *(name for name in names if name not in had))).transformer
    mine = made.expertise
    assert mine is not None  # at least one is named
    if mine.weights != theirs.weights:
        raise ConfigError("--experts needs weights of one shape, and RUN's way up has another than the package's")
    changes = mine.learned().clone()
    for name in names:
        place = mine.names.index(name)
        changes[place] = torch.lerp(changes[place], theirs.learned()[theirs.names.index(name)], share)
    mine.learn(changes)
    return made


def mean(
    package: CoTNanoTransformer2DModel, trained: CoTNanoTransformer2DModel, share: float
) -> CoTNanoTransformer2DModel:
    """The package's model moved by a share towards a trained one.

    Raises:
        ConfigError: they are of different shapes.
    """
    old, new = package.state_dict(), trained.state_dict()
    names = [None if each.expertise is None else each.expertise.names for each in (package, trained)]
    if names[0] != names[1] or {k: w.shape for k, w in old.items()} != {k: w.shape for k, w in new.items()}:
        raise ConfigError("--share needs weights of one shape, and RUN's has another than the package's")
    made = reshaped(package).transformer
    made.load_state_dict({name: torch.lerp(old[name], weight, share) for name, weight in new.items()})
    return made


if __name__ == "__main__":
    main()
