"""Which shape of nano learns most in the same time on a CPU: held-out PSNR against minutes of training.

    python scripts/compare_shapes.py PHOTOS RUNS [--minutes 20] [--shapes skin,separable,summaries,bare,lapped]

Every shape starts from random weights, sees the same samples in the same order at the batch and crop of nano's first
stage, and gets as many steps as it does in the given minutes of an idle machine, measured beforehand; its learning rate
ends its cosine then. A shape that is done is not done again, one that was stopped goes on. Writes RUNS/table.md and
RUNS/curves.svg.
"""

import argparse
import json
import math
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from diffusers.configuration_utils import register_to_config
from einops import rearrange
from torch import Tensor

from cotir.backbones import NANO
from cotir.nano import CoTNanoTransformer2DModel
from cotir.train.config import TrainConfig
from cotir.train.data import Batches
from cotir.train.journal import Silent
from cotir.train.loop import Trainer
from cotir.train.records import read_log, rising
from cotir.train.run_file import load_config
from cotir.train.trainee import Trainee, free, load_trainee
from cotir.transformer import CoTFlux2Transformer2DModel, CoTTransformerOutput

ROOT = Path(__file__).parents[1]
VALIDATIONS = 8
WARM_UP, TIMED = 3, 12


class BarePatches(CoTNanoTransformer2DModel):
    """No skin: the trunk, deeper, reads the 8 x 8 patches of target and reference side by side."""

    blocks = (2, 6)
    """Double and single ones: about the parameters of nano's skin and trunk."""

    @register_to_config
    def __init__(self, patch_size: int = 8, joint_attention_dim: int = 384, fused_lora: bool = False) -> None:
        torch.nn.Module.__init__(self)
        self.patch_size = patch_size
        self.trunk = CoTFlux2Transformer2DModel(
            in_channels=2 * 3 * patch_size**2,
            num_layers=self.blocks[0],
            num_single_layers=self.blocks[1],
            attention_head_dim=32,
            num_attention_heads=6,
            joint_attention_dim=joint_attention_dim,
            axes_dims_rope=(8, 8, 8, 8),
            rope_theta=2000,
            cot_depth=2,
            cot_mlp_ratio=2.0,
            fused_lora=fused_lora,
        )
        # the second half of the trunk's channels is what it answers, and starts at nothing
        torch.nn.init.zeros_(self.trunk.proj_out.weight)

    def analyse(self, pixels: Tensor) -> Tensor:
        """Pixels (B, 3, H, W) to a grid of coefficients (B, 3 p^2, h, w)."""
        return rearrange(pixels, "B c (h p) (w q) -> B (c p q) h w", p=self.patch_size, q=self.patch_size)

    def synthesise(self, grid: Tensor) -> Tensor:
        """Undo :meth:`analyse`."""
        return rearrange(grid, "B (c p q) h w -> B c (h p) (w q)", p=self.patch_size, q=self.patch_size)

    def forward(
        self,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor,
        timestep: Tensor,
        img_ids: Tensor,
        txt_ids: Tensor,
        guidance: Tensor | None = None,
        *,
        predict_reasoning: bool = False,
    ) -> CoTTransformerOutput:
        """As nano's."""
        rows, columns = (int(n) + 1 for n in img_ids[: img_ids.shape[0] // 2, 1:3].amax(dim=0))
        target, reference = (self._to_pixels(x, rows, columns) for x in hidden_states.chunk(2, dim=1))
        moment = timestep.to(target.dtype)[:, None, None, None]
        grid = torch.cat([self.analyse(reference), self.analyse((1 - moment) * target)], dim=1)
        height, width = grid.shape[-2:]
        places = NANO.image_positions(height, width)[: height * width]
        thought = self.trunk(
            rearrange(grid, "B c h w -> B (h w) c"),
            encoder_hidden_states,
            timestep,
            places.to(img_ids.device),
            txt_ids,
            predict_reasoning=predict_reasoning,
        )
        answer = rearrange(thought.sample, "B (h w) c -> B c h w", h=height)[:, grid.shape[1] // 2 :]
        clean = reference + self.synthesise(answer)
        return CoTTransformerOutput(sample=self._to_tokens((target - clean) / moment), reasoning=thought.reasoning)


class LappedPatches(BarePatches):
    """The patches overlap: a modified discrete cosine transform, window 16, hop 8, orthonormal, without block edges.

    (Princen and Bradley 1986; the sine window.) The picture is mirrored by half a window around, so that it comes back
    exactly.
    """

    def _matrix(self, like: Tensor) -> Tensor:
        hop = self.patch_size
        place = torch.arange(2 * hop, dtype=torch.float64)
        frequency = torch.arange(hop, dtype=torch.float64)[:, None]
        window = torch.sin(math.pi / (2 * hop) * (place + 0.5))
        basis = torch.cos(math.pi / hop * (place + 0.5 + hop / 2) * (frequency + 0.5))
        return (math.sqrt(2 / hop) * window * basis).to(like)

    def analyse(self, pixels: Tensor) -> Tensor:
        """See :class:`BarePatches`; the grid has one row and one column more."""
        hop, matrix = self.patch_size, self._matrix(pixels)
        padded = torch.nn.functional.pad(pixels, (hop,) * 4, mode="reflect")
        rows = padded.unfold(2, 2 * hop, hop).unfold(3, 2 * hop, hop)
        return rearrange(torch.einsum("bchwyx,uy,vx->bchwuv", rows, matrix, matrix), "b c h w u v -> b (c u v) h w")

    def synthesise(self, grid: Tensor) -> Tensor:
        """See :class:`BarePatches`."""
        hop, matrix = self.patch_size, self._matrix(grid)
        coefficients = rearrange(grid, "b (c u v) h w -> b c h w u v", u=hop, v=hop)
        blocks = torch.einsum("bchwuv,uy,vx->bchwyx", coefficients, matrix, matrix)
        b, _, h, w = blocks.shape[:4]
        flat = rearrange(blocks, "b c h w y x -> (b c) (y x) (h w)")
        size = ((h + 1) * hop, (w + 1) * hop)
        added = torch.nn.functional.fold(flat, size, kernel_size=2 * hop, stride=hop)
        return rearrange(added, "(b c) 1 y x -> b c y x", b=b)[..., hop:-hop, hop:-hop]


class SummarisingTrunk(CoTFlux2Transformer2DModel):
    """nano's trunk, which also reads tokens made of the mean and the spread of every channel of the skin."""

    tokens = 4

    @classmethod
    def within(cls, nano: CoTNanoTransformer2DModel) -> CoTNanoTransformer2DModel:
        """Put one into a nano in place of its trunk."""
        trunk = cls(**{key: value for key, value in nano.trunk.config.items() if not key.startswith("_")})
        channels = trunk.config["in_channels"]
        widths = [level[-1].out.out_channels for level in nano.encoder]  # pyright: ignore[reportIndexIssue]
        trunk.summarise = torch.nn.Linear(2 * sum(widths), cls.tokens * channels)
        trunk.moments = []
        nano.entry.register_forward_pre_hook(lambda *call: trunk.moments.clear())
        for level in nano.encoder:
            level[-1].register_forward_hook(trunk.take_in)  # pyright: ignore[reportIndexIssue]
        nano.trunk = trunk
        return nano

    def take_in(self, module: torch.nn.Module, inputs: tuple[Tensor, ...], features: Tensor) -> None:
        """Remember the moments of a level's last features."""
        self.moments += [features.mean(dim=(2, 3)), features.var(dim=(2, 3), correction=0).add(1e-6).sqrt()]

    def forward(  # pyright: ignore[reportIncompatibleMethodOverride] - nano calls it so
        self, tokens: Tensor, text: Tensor, timestep: Tensor, img_ids: Tensor, txt_ids: Tensor, **options: bool
    ) -> CoTTransformerOutput:
        """As the trunk's, with the summaries' tokens behind the image's, each a picture of one token."""
        made = rearrange(self.summarise(torch.cat(self.moments, dim=1)), "B (n c) -> B n c", n=self.tokens)
        places = img_ids.new_zeros(self.tokens, img_ids.shape[1])
        places[:, 0] = img_ids[0, 0] + 10 * torch.arange(1, self.tokens + 1, device=img_ids.device)
        thought = super().forward(
            torch.cat([tokens, made], dim=1), text, timestep, torch.cat([img_ids, places]), txt_ids, **options
        )
        return CoTTransformerOutput(sample=thought.sample[:, : tokens.shape[1]], reasoning=thought.reasoning)


SHAPES = {
    "bare": BarePatches,
    "lapped": LappedPatches,
    "skin": CoTNanoTransformer2DModel,
    "separable": lambda: CoTNanoTransformer2DModel(blocks=(1, 4, 8), separable=(False, True, True)),
    "summaries": lambda: SummarisingTrunk.within(CoTNanoTransformer2DModel()),
}


def configure(photos: Path, run: Path, steps: int) -> TrainConfig:
    """The run file of nano file from random weights, cut to one stage."""
    overrides = [
        f"run={run}",
        f"data.path={photos}",
        f"data.recipe={ROOT / 'configs/bench/default.yaml'}",
        "model.base=fresh",
        f"schedule.stages=[{{until: {steps}, crop: 64, batch: 16}}]",
        "schedule.vague={0: 0.5}",
        "objective.delta.reading=null",
        "log.every=10",
        f"checkpoint.every={max(steps // VALIDATIONS, 1)}",
        f"validation={{every: {max(steps // VALIDATIONS, 1)}, samples: 64, pictures: 4, crop: 128, read_out: false}}",
        "optimizer.warmup=100",
        "threads=2",
    ]
    return load_config(ROOT / "configs/train/nano.yaml", overrides)


def make_trainee(shape: str, config: TrainConfig) -> Trainee:
    """A fresh model of a shape among nano's other parts."""
    parts = load_trainee(config)
    torch.manual_seed(config.seed)
    transformer = SHAPES[shape]().to(memory_format=torch.channels_last)
    free(transformer, "all", reads=True)
    return Trainee(config.model, transformer, parts.components)


def steps_in(minutes: float, shape: str, photos: Path, run: Path) -> int:
    """How many steps a shape takes in so many minutes, its samples included; measured once and kept."""
    kept = run / "speed.json"
    if not kept.is_file():
        config = configure(photos, run / "speed", 1000)
        trainer = Trainer(config, Silent(), trainee=make_trainee(shape, config))
        places = iter(Batches(config.schedule.stages, trainer.share, 0, 0))
        for _ in range(WARM_UP):
            trainer.advance([[trainer.source[place] for place in next(places)]])
        started = time.perf_counter()
        for _ in range(TIMED):
            trainer.advance([[trainer.source[place] for place in next(places)]])
        kept.parent.mkdir(parents=True, exist_ok=True)
        kept.write_text(json.dumps({"seconds a step": (time.perf_counter() - started) / TIMED}))
    return int(60 * minutes / json.loads(kept.read_text())["seconds a step"])


def curve(run: Path, seconds_a_step: float) -> Iterator[tuple[float, float, float]]:
    """Minutes, gain of the vague and of the precise instruction in dB at every validation."""
    for row in rising(read_log(run / "validation.jsonl")):
        gains = (row[f"psnr_{form}"] - row["psnr_input"] for form in ("vague", "precise"))
        yield (row["step"] * seconds_a_step / 60, *gains)


def table(found: dict[str, list[tuple[float, float, float]]], rows: dict[str, dict[str, float]]) -> str:
    """Markdown."""
    lines = [
        "| shape | parameters, M | steps | s a step | gain vague, dB | gain precise, dB | composites, precise | "
        "d degradation |",
        "|---" * 8 + "|",
    ]
    for shape, points in found.items():
        row = rows[shape]
        kinds = [key.removeprefix("psnr_input/") for key in row if key.startswith("psnr_input/")]
        mixed = [kind for kind in kinds if "-" in kind]
        composite = sum(row[f"psnr_precise/{kind}"] - row[f"psnr_input/{kind}"] for kind in mixed) / len(mixed)
        lines.append(
            f"| {shape} | {row['parameters'] / 1e6:.1f} | {row['step']:.0f} | {row['seconds a step']:.2f} | "
            f"{points[-1][1]:+.2f} | {points[-1][2]:+.2f} | {composite:+.2f} | {row['d_degradation']:.3f} |"
        )
    return "\n".join(lines) + "\n"


def plot(found: dict[str, list[tuple[float, float, float]]]) -> str:
    """SVG: gain of the precise instruction (solid) and of the vague one (dashed) over minutes."""
    colours = dict(zip(SHAPES, ("#d1603d", "#8a6fb0", "#4c9f70", "#c2410c", "#2f6db3"), strict=True))
    every = [point for points in found.values() for point in points]
    longest = max(point[0] for point in every)
    low, high = min(0.0, *(min(p[1:]) for p in every)), max(max(p[1:]) for p in every)

    def path(points: list[tuple[float, float, float]], column: int) -> str:
        return " ".join(
            f"{60 + 500 * p[0] / longest:.1f},{320 - 280 * (p[column] - low) / (high - low):.1f}" for p in points
        )

    parts = [
        '<svg xmlns="http://www.w3.org/2000/svg" width="700" height="370" font-family="sans-serif" font-size="12">'
    ]
    parts.append('<rect width="100%" height="100%" fill="white"/><path d="M60 40V320H560" fill="none" stroke="#888"/>')
    for number, (shape, points) in enumerate(found.items()):
        for column, dash in ((2, ""), (1, ' stroke-dasharray="4 4"')):
            line = f'points="{path(points, column)}" fill="none" stroke="{colours[shape]}" stroke-width="2"'
            parts.append(f"<polyline {line}{dash}/>")
        parts.append(f'<text x="575" y="{60 + 20 * number}" fill="{colours[shape]}">{shape}</text>')
    for tick in range(math.ceil(low), math.floor(high) + 1):
        y = 320 - 280 * (tick - low) / (high - low)
        parts.append(f'<text x="52" y="{y + 4:.1f}" text-anchor="end">{tick}</text>')
    parts.append(f'<text x="560" y="340" text-anchor="end">{longest:.0f} minutes</text>')
    parts.append('<text x="60" y="28">held-out gain over the input in dB; solid: precise, dashed: vague</text></svg>')
    return "\n".join(parts)


def main() -> None:
    """Run what is not done yet, and write table and curves of all that is."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path)
    parser.add_argument("runs", type=Path)
    parser.add_argument("--minutes", type=float, default=20)
    parser.add_argument("--shapes", default=",".join(SHAPES))
    options = parser.parse_args()
    found, rows = {}, {}
    for shape in options.shapes.split(","):
        run = options.runs / shape
        steps = steps_in(options.minutes, shape, options.photos, run)
        config = configure(options.photos, run, steps)
        trainee = make_trainee(shape, config)
        if not (run / "weights").is_dir():
            Trainer(config, Silent(), trainee=trainee).run()
        speed = json.loads((run / "speed.json").read_text())
        found[shape] = list(curve(run, speed["seconds a step"]))
        parameters = sum(parameter.numel() for parameter in trainee.transformer.parameters())
        rows[shape] = {**rising(read_log(run / "validation.jsonl"))[-1], **speed, "parameters": parameters}
        (options.runs / "table.md").write_text(table(found, rows), encoding="utf-8")
        (options.runs / "curves.svg").write_text(plot(found), encoding="utf-8")
        print(table({shape: found[shape]}, rows), flush=True)


if __name__ == "__main__":
    main()
