"""What knowing every kind of damage costs nano: the same minutes on two kinds alone, against a plain network.

    python scripts/compare_specialists.py PHOTOS [--minutes 5] [--kinds noise,jpeg] [--learners nano,plain]

Learners: ``nano``, the bundled weights, all of them trained on, under precise instructions; ``plain``, a small U-net of
residual blocks from random weights, without text. Both see the same crops in the same order (96 px, 8 a step) and
descend the mean of log errors with a rate that ends its cosine with the minutes, which count training alone. The kinds
and their severities are those of configs/bench/nine.yaml. Prints a Markdown table: PSNR gained on held-out pictures of
256 px, from before the first step to the end.
"""

import argparse
import math
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import yaml
from torch import Tensor, nn

from cotir import CoTIRPipeline
from cotir.backbones import NANO
from cotir.loading import NANO_FOLDER
from cotir.train.batch import Encoder
from cotir.train.config import CacheConfig, DataConfig, TimeConfig
from cotir.train.pairs import Pair, Place
from cotir.train.photo_source import PhotoSource

NINE = Path(__file__).parents[1] / "configs/bench/nine.yaml"
CROP, BATCH, WARM_UP = 96, 8, 50
FLOOR = 2e-4
"""Square error on pixels in [-1, 1] below which a picture counts as solved, as at the end of nano's trainings."""
LOOKS = 5
HELD_OUT, SIDE = 32, 256


@dataclass(frozen=True)
class Learner:
    """What is taught: its weights, their highest learning rate, and its error (B,) on pairs, pixels in [-1, 1]."""

    weights: list[nn.Parameter]
    rate: float
    error: Callable[[Sequence[Pair]], Tensor]


class ResidualBlock(nn.Module):
    """``x + conv3x3(relu(conv3x3(x)))``."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, padding=1)
        self.out = nn.Conv2d(width, width, 3, padding=1)
        # Small, so that a deep stack without normalisation starts near the identity.
        nn.init.normal_(self.out.weight, std=0.1 / (9 * width) ** 0.5)

    def forward(self, x: Tensor) -> Tensor:
        """Map features (B, w, H, W) to the same shape."""
        return x + self.out(self.conv(x).relu())


class PlainNet(nn.Module):
    """The widths and numbers of blocks of nano's skin at full, half and quarter resolution, and nothing else."""

    def __init__(self, widths: tuple[int, ...] = (24, 48, 96), blocks: tuple[int, ...] = (2, 2, 3)) -> None:
        super().__init__()
        self.entry = nn.Conv2d(3, widths[0], 3, padding=1)
        self.way_down, self.way_up = (
            nn.ModuleList(
                nn.Sequential(*(ResidualBlock(w) for _ in range(n))) for w, n in zip(widths, blocks, strict=True)
            )
            for _ in range(2)
        )
        self.down = nn.ModuleList(nn.Conv2d(w, 2 * w, 2, stride=2) for w in widths[:-1])
        self.up = nn.ModuleList(nn.ConvTranspose2d(2 * w, w, 2, stride=2) for w in widths[:-1])
        self.exit = nn.Conv2d(widths[0], 3, 3, padding=1)
        assert self.exit.bias is not None  # it has one by default
        nn.init.zeros_(self.exit.weight)
        nn.init.zeros_(self.exit.bias)

    def forward(self, pixels: Tensor) -> Tensor:
        """Map pixels (B, 3, H, W) in [-1, 1], sides divisible by 4, to such."""
        features = self.entry(pixels.contiguous(memory_format=torch.channels_last))
        skips: list[Tensor] = []
        for level, blocks in enumerate(self.way_down):
            features = blocks(features if level == 0 else self.down[level - 1](features))
            skips.append(features)
        for level in reversed(range(len(skips))):
            if level < len(skips) - 1:
                features = skips[level] + self.up[level](features)
            features = self.way_up[level](features)
        return pixels + self.exit(features)


def nano() -> Learner:
    """The bundled weights, asked in one step from pure noise."""
    pipeline = CoTIRPipeline.from_pretrained(NANO_FOLDER, torch_dtype=torch.float32)
    transformer = pipeline.transformer.requires_grad_(True).train()
    encode = Encoder(NANO, dict(pipeline.components), CacheConfig(), TimeConfig(at_one=1.0), seed=0)

    def error(pairs: Sequence[Pair]) -> Tensor:
        batch = encode(pairs, vague=0.0, reasoning=False, device=torch.device("cpu"))
        tokens = torch.cat([batch.noise, batch.condition.reference], dim=1)
        output = transformer(tokens, timestep=batch.time, **batch.condition.arguments())
        velocity = output.sample[:, : batch.noise.shape[1]]
        return (batch.noise - velocity - batch.clean).square().mean(dim=(1, 2))

    return Learner(list(transformer.parameters()), 3e-4, error)


def plain() -> Learner:
    """Random weights."""
    net = PlainNet()

    def error(pairs: Sequence[Pair]) -> Tensor:
        hq, lq = (
            torch.from_numpy(np.stack([getattr(pair, which) for pair in pairs])).permute(0, 3, 1, 2) / 127.5 - 1
            for which in ("hq", "lq")
        )
        return (net(lq) - hq).square().mean(dim=(1, 2, 3))

    return Learner(list(net.parameters()), 2e-3, error)


LEARNERS = {"nano": nano, "plain": plain}


def gains(learner: Learner, held_out: Sequence[Pair]) -> dict[str, float]:
    """Mean PSNR gained over the input, by kind."""
    found: dict[str, list[float]] = {}
    with torch.no_grad():
        for pair in held_out:
            before = np.square((pair.hq.astype(float) - pair.lq) / 127.5).mean()
            found.setdefault(pair.deg, []).append(10 * math.log10(before / learner.error([pair]).item()))
    return {kind: float(np.mean(values)) for kind, values in found.items()}


def teach(name: str, source: PhotoSource, minutes: float) -> None:
    """Train one learner and print its rows."""
    torch.manual_seed(0)
    learner, held_out = LEARNERS[name](), source.held_out(HELD_OUT, SIDE)
    optimizer = torch.optim.AdamW(learner.weights, betas=(0.9, 0.98), weight_decay=0.0)
    step = looks = 0
    spent = 0.0
    while True:
        done = min(spent / (60 * minutes), 1.0)
        if done >= looks / LOOKS:
            looks += 1
            cells = " | ".join(f"{gain:+.2f}" for _, gain in sorted(gains(learner, held_out).items()))
            print(f"| {name} | {spent / 60:.1f} | {step} | {cells} |", flush=True)
        if done == 1.0:
            return
        started = time.perf_counter()
        for group in optimizer.param_groups:
            group["lr"] = learner.rate * min(1, (step + 1) / WARM_UP) * (0.01 + (1 + math.cos(math.pi * done)) / 2)
        pairs = [source[Place(step * BATCH + number, CROP)] for number in range(BATCH)]
        optimizer.zero_grad(set_to_none=True)
        (learner.error(pairs) + FLOOR).log().mean().backward()
        torch.nn.utils.clip_grad_norm_(learner.weights, 1.0)
        optimizer.step()
        step += 1
        spent += time.perf_counter() - started


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--kinds", type=lambda text: text.split(","), default=["noise", "jpeg"])
    parser.add_argument("--learners", type=lambda text: text.split(","), default=list(LEARNERS))
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    strangers = set(options.learners) - set(LEARNERS)
    if strangers:
        parser.error(f"--learners has {', '.join(sorted(strangers))}; known are {', '.join(LEARNERS)}")
    torch.set_num_threads(options.threads)
    recipe = yaml.safe_load(NINE.read_text(encoding="utf-8"))
    singles = {each if isinstance(each, str) else each["kinds"]: each for each in recipe["single"]}
    if set(options.kinds) - set(singles):
        parser.error(f"--kinds is {','.join(options.kinds)}; {NINE.name} has {', '.join(singles)}")
    recipe["single"] = [singles[kind] for kind in options.kinds]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "kinds.yaml"
        path.write_text(yaml.safe_dump(recipe), encoding="utf-8")
        data = DataConfig(source="photos", path=options.photos, recipe=path, region=256, crops_per_region=5)
        source = PhotoSource(data, seed=1)
    print(f"| learner | minutes | steps | {' | '.join(sorted(options.kinds))} |\n|{'---|' * (3 + len(options.kinds))}")
    for name in options.learners:
        teach(name, source, options.minutes)


if __name__ == "__main__":
    main()
