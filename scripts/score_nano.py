"""Score the bundled nano on photos it was not trained on, through the pipeline, by kind of damage.

    python scripts/score_nano.py PHOTOS [--model FOLDER] [--steps 1]

PHOTOS is the folder that scripts/train_nano.py trained on; only its held-out tenth is used. Prints a Markdown table:
mean PSNR of the damaged and of the restored 256 px crops, the gain with its 95 % bootstrap interval over crops, per
kind, over composites of two and three kinds, and of clean crops.
"""

import argparse
from pathlib import Path

import numpy as np
from train_nano import KINDS, MIXABLE, load_photos, textured_region, unit

from cotir import CoTIRPipeline
from cotir.degrade.compose import compose, sample_recipe

CROP = 256


def recipes(rng: np.random.Generator) -> dict[str, list[tuple[str, ...]]]:
    """The kinds of damage of every row of the table."""
    mixes = {n: [tuple(rng.choice(MIXABLE, size=n, replace=False).tolist()) for _ in range(12)] for n in (2, 3)}
    singles: dict[str, list[tuple[str, ...]]] = {kind: [(kind,)] for kind in KINDS}
    return {**singles, "two kinds": mixes[2], "three kinds": mixes[3], "clean": [()]}


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    """PSNR in dB of pictures in [0, 1], capped at 60."""
    return float(min(60.0, -10 * np.log10(max(np.square(a - b, dtype=np.float64).mean(), 1e-6))))


def interval(values: np.ndarray, rng: np.random.Generator) -> tuple[float, float]:
    """95 % bootstrap interval of the mean."""
    means = rng.choice(values, size=(2000, len(values))).mean(axis=1)
    low, high = np.quantile(means, (0.025, 0.975))
    return float(low), float(high)


def main() -> None:
    """Score and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path)
    parser.add_argument("--model", default="nano", help="preset or pipeline folder (default nano)")
    parser.add_argument("--steps", type=int, default=1)
    parser.add_argument("--crops", type=int, default=24, help="crops per row (default 24)")
    options = parser.parse_args()
    pipeline = CoTIRPipeline.from_pretrained(options.model)
    photos = load_photos(options.photos, held_out=True)

    print("| damage | input dB | restored dB | gain dB (95 %) |\n|---|---|---|---|")
    gains: list[np.ndarray] = []
    for name, choices in recipes(np.random.default_rng(0)).items():
        before, after = [], []
        for index in range(options.crops):
            rng = np.random.default_rng((index, 1))
            hq = unit(textured_region(photos, rng, CROP))
            kinds = choices[index % len(choices)]
            applied = sample_recipe(rng, kinds, [float(rng.uniform(0.2, 1.0)) for _ in kinds])
            lq = np.rint(compose(hq, applied) * 255).astype(np.float32) / 255
            restored = pipeline(lq, steps=options.steps, output_type="np").image
            before.append(psnr(lq, hq))
            after.append(psnr(restored, hq))
        gain = np.subtract(after, before)
        if name != "clean":
            gains.append(gain)
        low, high = interval(gain, np.random.default_rng(0))
        span = "" if name == "clean" else f"{gain.mean():+.2f} ({low:+.2f} to {high:+.2f})"
        print(f"| {name} | {np.mean(before):.2f} | {np.mean(after):.2f} | {span} |", flush=True)
    # The same clean crops recur in every row, so the mean over rows of a crop is what is resampled.
    low, high = interval(np.mean(gains, axis=0), np.random.default_rng(0))
    print(f"| **all damage** | | | **{np.mean(gains):+.2f}** ({low:+.2f} to {high:+.2f}) |")


if __name__ == "__main__":
    main()
