"""Train the bundled nano model on a folder of clean photos: all weights, from scratch, under reasoning constraints.

    python scripts/train_nano.py PHOTOS RUN --minutes 90

Each sample is a textured crop damaged by up to three kinds, with an instruction and a reasoning trace. The learning
rate follows the share of the time budget that is spent, so a run ends when it should on any machine. A checkpoint is
written every few minutes; the same command continues from it. RUN/nano holds the averaged weights as a diffusers
folder, RUN/log.jsonl the curve.
"""

import argparse
import hashlib
import json
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset
from transformers import AutoTokenizer, BertModel

from cotir.autoencoder import PatchAutoencoder
from cotir.backbones import NANO
from cotir.bench.phrases import write_instruction
from cotir.bench.traces import write_trace
from cotir.degrade.compose import Applied, compose, sample_recipe
from cotir.encode import bert_tokens, to_tokens
from cotir.nano import CoTNanoTransformer2DModel
from cotir.train.multipliers import ProportionalIntegral
from cotir.train.objective import balanced_flow_loss, cosine_distance, interpolate

ASSETS = Path(__file__).parents[1] / "src/cotir/assets/nano"
KINDS = ("blur", "haze", "jpeg", "low_light", "low_resolution", "noise", "over_exposure", "rain", "snow")
"""What the model learns to undo."""
MIXABLE = tuple(kind for kind in KINDS if kind != "over_exposure")
"""Kinds that composites for scoring are made of; over-exposure hides most others."""
PARTS = ("scene", "degradation", "plan")
STAGES = ((0.7, 64, 16), (0.9, 96, 8), (1.0, 128, 5))
"""(share of the budget at which the stage ends, crop in pixels, batch)."""
FLOORS = (5e-3, 2e-4)
"""Mean square error in [-1, 1] below which a sample counts as solved, at the start (29 dB) and at the end (43 dB): at
first the damaged pictures teach, later the nearly clean ones refine."""
TEXTURED = 60.0
"""Variance of the Laplacian (8-bit gray) above which a region is textured enough to teach something."""
REGION = 224
"""Side of the region that is damaged before training crops are cut from it, so that haze and rain keep their scale."""


@dataclass(frozen=True)
class Sample:
    """One pair, uint8 (H, W, 3), with its words."""

    hq: np.ndarray
    lq: np.ndarray
    vague: str
    precise: str
    scene: str
    degradation: str
    plan: str


def unit(pixels: np.ndarray) -> np.ndarray:
    """uint8 as float32 in [0, 1]."""
    return np.divide(pixels, 255, dtype=np.float32)


def is_held_out(photo: Path) -> bool:
    """One photo in ten, by the hash of its name, is never trained on."""
    return int(hashlib.sha256(photo.name.encode()).hexdigest(), 16) % 10 == 0


def load_photos(folder: Path, *, held_out: bool) -> list[np.ndarray]:
    """Read the training or the held-out photos of a folder as uint8 RGB."""
    paths = [
        p for p in sorted(folder.iterdir()) if p.suffix in {".webp", ".png", ".jpg"} and is_held_out(p) == held_out
    ]
    if not paths:
        raise SystemExit(f"{folder} holds no photos (.webp, .png, .jpg); name a folder of clean photos")
    return [np.asarray(cv2.imread(str(path), cv2.IMREAD_COLOR_RGB)) for path in paths]


def textured_region(photos: list[np.ndarray], rng: np.random.Generator, side: int) -> np.ndarray:
    """A square of a random photo at a random scale whose Laplacian variance passes a floor (best of six)."""
    best, best_score = photos[0][:side, :side], -1.0
    for _ in range(6):
        photo = photos[rng.integers(len(photos))]
        scale = rng.choice((1.0, 0.7, 0.5, 0.35))
        take = min(round(side / scale), *photo.shape[:2])
        y, x = (rng.integers(0, extent - take + 1) for extent in photo.shape[:2])
        region = photo[y : y + take, x : x + take]
        if take != side:
            region = cv2.resize(region, (side, side), interpolation=cv2.INTER_AREA if take > side else cv2.INTER_CUBIC)
        score = float(cv2.Laplacian(cv2.cvtColor(region, cv2.COLOR_RGB2GRAY), cv2.CV_32F).var())
        if score > best_score:
            best, best_score = region, score
        if score > TEXTURED:
            break
    turned = np.rot90(best, int(rng.integers(4)) if rng.random() < 0.25 else 0)
    return np.ascontiguousarray(turned[:, ::-1] if rng.random() < 0.5 else turned)


def draw_damage(rng: np.random.Generator) -> tuple[Applied, ...]:
    """Nothing (12 %), one kind (43 %), two (28 %) or three (17 %), any severity; never both dark and over-exposed."""
    count = rng.choice(4, p=(0.12, 0.43, 0.28, 0.17))
    kinds = rng.choice(KINDS, size=count, replace=False).tolist()
    if {"low_light", "over_exposure"} <= set(kinds):
        kinds.remove("over_exposure")
    return sample_recipe(rng, kinds, [float(rng.uniform(0.1, 1.0)) for _ in kinds])


class Pairs(IterableDataset):
    """An endless stream of samples of one crop size; four crops of every damaged region, shuffled in a buffer."""

    def __init__(self, photos: list[np.ndarray], crop: int, seed: int) -> None:
        self.photos, self.crop, self.seed = photos, crop, seed

    def __iter__(self) -> Iterator[Sample]:
        cv2.setNumThreads(0)
        rng = np.random.default_rng(self.seed)
        buffer: list[Sample] = []
        while True:
            buffer.extend(self._crops(rng))
            while len(buffer) > 192:
                yield buffer.pop(rng.integers(len(buffer)))

    def _crops(self, rng: np.random.Generator) -> list[Sample]:
        hq = textured_region(self.photos, rng, REGION)
        applied = draw_damage(rng)
        lq = np.rint(compose(unit(hq), applied) * 255).astype(np.uint8)
        samples = []
        for _ in range(4):
            y, x = rng.integers(0, REGION - self.crop + 1, size=2)
            box = np.s_[y : y + self.crop, x : x + self.crop]
            trace = write_trace(unit(np.ascontiguousarray(hq[box])), applied)
            words = write_instruction([each.kind for each in applied], rng)
            samples.append(
                Sample(hq[box], lq[box], words.vague, words.precise, trace.scene, trace.degradation, trace.plan)
            )
        return samples


class Words:
    """Text embeddings by string, computed once."""

    def __init__(self) -> None:
        self.tokenizer = AutoTokenizer.from_pretrained(ASSETS / "tokenizer")
        self.encoder = BertModel.from_pretrained(ASSETS / "text_encoder", dtype=torch.float32).eval()
        self.known: dict[str, tuple[Tensor, Tensor]] = {}

    def __call__(self, texts: list[str]) -> tuple[Tensor, Tensor]:
        """Embeddings (B, 48, 384) and mask (B, 48)."""
        new = sorted({text for text in texts if text not in self.known})
        if new:
            tokens = bert_tokens(self.tokenizer, self.encoder, new, NANO.text_length)
            for text, embedding, mask in zip(new, tokens.embeddings, tokens.mask, strict=True):
                self.known[text] = (embedding.half(), mask)
        embeddings, masks = zip(*(self.known[text] for text in texts), strict=True)
        return torch.stack(embeddings).float(), torch.stack(masks)


def to_latents(pictures: list[np.ndarray], autoencoder: PatchAutoencoder) -> Tensor:
    """uint8 pictures -> tokens (B, N, C)."""
    pixels = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float() / 127.5 - 1
    return to_tokens(autoencoder.encode(pixels))


@torch.no_grad()
def evaluate(model: CoTNanoTransformer2DModel, words: Words, photos: list[np.ndarray]) -> dict[str, float]:
    """PSNR of input and one-step output on fixed held-out crops of 192 px: per kind, on composites, on clean photos."""
    model.eval()
    autoencoder = PatchAutoencoder()
    recipes = {**{kind: [(kind,)] for kind in KINDS}, "clean": [()]}
    rng = np.random.default_rng(7)
    recipes["composite"] = [tuple(rng.choice(MIXABLE, size=n, replace=False)) for n in (2, 2, 2, 3, 3, 3)]
    scores: dict[str, float] = {}
    for name, choices in recipes.items():
        before, after = [], []
        for index in range(12):
            rng = np.random.default_rng(100 + index)
            hq = textured_region(photos, rng, 192)
            kinds = choices[index % len(choices)]
            applied = sample_recipe(rng, kinds, [float(rng.uniform(0.2, 1.0)) for _ in kinds])
            lq = np.rint(compose(unit(hq), applied) * 255).astype(np.uint8)
            reference = to_latents([lq], autoencoder)
            noise = torch.zeros_like(reference)
            text, _ = words([write_instruction([each.kind for each in applied], rng).vague])
            ids = NANO.image_positions(24, 24), NANO.text_positions(NANO.text_length)
            velocity = model(torch.cat([noise, reference], 1), text, torch.ones(1), *ids).sample
            clean = to_latents([hq], autoencoder)
            before.append(psnr(reference, clean))
            after.append(psnr((noise - velocity).clamp(-1, 1), clean))
        scores[f"{name}.in"], scores[f"{name}.out"] = float(np.mean(before)), float(np.mean(after))
    damaged = [name for name in recipes if name != "clean"]
    scores["mean.gain"] = float(np.mean([scores[f"{name}.out"] - scores[f"{name}.in"] for name in damaged]))
    model.train()
    return scores


def psnr(a: Tensor, b: Tensor) -> float:
    """PSNR in dB of tensors in [-1, 1], capped at 60."""
    return min(60.0, -10 * math.log10(max(float((a - b).square().mean()) / 4, 1e-12)))


class Trainer:
    """Model, average, optimiser, multipliers and clock; everything a checkpoint holds."""

    def __init__(self, run: Path, minutes: float, rate: float) -> None:
        torch.manual_seed(0)
        self.run, self.budget, self.rate = run, minutes * 60, rate
        self.model, self.average = CoTNanoTransformer2DModel(), CoTNanoTransformer2DModel()
        for network in (self.model, self.average):
            network.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue] - Module.to takes it
        self.average.load_state_dict(self.model.state_dict())
        matrices = [p for p in self.model.parameters() if p.ndim > 1]
        others = [p for p in self.model.parameters() if p.ndim <= 1]
        groups = [{"params": matrices, "weight_decay": 0.01}, {"params": others, "weight_decay": 0.0}]
        self.optimizer = torch.optim.AdamW(groups, lr=rate, betas=(0.9, 0.98))
        self.multipliers = ProportionalIntegral(PARTS)
        self.autoencoder, self.words = PatchAutoencoder(), Words()
        self.step, self.samples, self.spent = 0, 0, 0.0

    @property
    def share(self) -> float:
        """Share of the time budget that is spent, 0 to 1."""
        return min(1.0, self.spent / self.budget)

    def learning_rate(self) -> float:
        """Warm-up over 200 steps, then cosine in the share of the budget spent, to 1 % of the peak."""
        return self.rate * min(1.0, (self.step + 1) / 200) * (0.01 + 0.99 * (1 + math.cos(math.pi * self.share)) / 2)

    def floor(self) -> float:
        """Geometric from the first to the last of FLOORS."""
        first, last = FLOORS
        return first * (last / first) ** self.share

    def train_step(self, batch: list[Sample]) -> dict[str, float]:
        """One primal step on the weights and one dual step on the multipliers."""
        clean = to_latents([s.hq for s in batch], self.autoencoder)
        reference = to_latents([s.lq for s in batch], self.autoencoder)
        noise = torch.randn_like(clean)
        size = len(batch)
        times = torch.where(torch.rand(size) < 0.95, torch.ones(size), torch.randn(size).sigmoid().clamp_min(0.02))
        prompts = [s.vague if u < 0.5 else s.precise for s, u in zip(batch, torch.rand(size), strict=True)]
        text, _ = self.words(prompts)
        side = batch[0].hq.shape[0] // NANO.pixels_per_token
        output = self.model(
            torch.cat([interpolate(clean, noise, times), reference], dim=1),
            text,
            times,
            NANO.image_positions(side, side),
            NANO.text_positions(NANO.text_length),
            predict_reasoning=True,
        )
        flow = balanced_flow_loss(output.sample, clean, noise, times, power=1 - self.share, floor=self.floor())
        distances = {
            part: cosine_distance(getattr(output.reasoning, part), *self.words([getattr(s, part) for s in batch]))
            for part in PARTS
        }
        constraints = {part: distance - 0.15 for part, distance in distances.items()}
        loss = flow + sum(self.multipliers[part] * constraint for part, constraint in constraints.items())

        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        # A loss that is not a number stops the run here, before it reaches weights or checkpoint.
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0, error_if_nonfinite=True)
        for group in self.optimizer.param_groups:
            group["lr"] = self.learning_rate()
        self.optimizer.step()
        self.multipliers.ascend({part: float(constraint.detach()) for part, constraint in constraints.items()})
        decay = min(0.999, (self.step + 1) / (self.step + 10))
        with torch.no_grad():
            for average, new in zip(self.average.parameters(), self.model.parameters(), strict=True):
                average.lerp_(new, 1 - decay)
        self.step += 1
        self.samples += size
        return {"flow": flow.item(), **{f"d_{part}": distance.item() for part, distance in distances.items()}}

    def save(self) -> None:
        """Write everything beside the old checkpoint, then rename; and the averaged weights as a folder."""
        state = {
            "model": self.model.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "multipliers": self.multipliers.state_dict(),
            "clock": {"step": self.step, "samples": self.samples, "spent": self.spent},
        }
        partial = self.run / "checkpoint.partial"
        torch.save(state, partial)
        partial.replace(self.run / "checkpoint.bin")
        self.average.save_pretrained(self.run / "nano")

    def resume(self) -> None:
        """Continue from the run's checkpoint if there is one."""
        path = self.run / "checkpoint.bin"
        if not path.exists():
            return
        state = torch.load(path, weights_only=True)
        self.model.load_state_dict(state["model"])
        self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.multipliers.load_state_dict(state["multipliers"])
        self.step, self.samples, self.spent = (state["clock"][key] for key in ("step", "samples", "spent"))


def main() -> None:
    """Parse the command line and train."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path, help="folder of clean photos")
    parser.add_argument("run", type=Path, help="folder for checkpoints and the log")
    parser.add_argument("--minutes", type=float, default=90, help="time budget over all sessions (default 90)")
    parser.add_argument("--rate", type=float, default=1e-3, help="peak learning rate (default 1e-3)")
    parser.add_argument("--threads", type=int, default=2, help="torch threads (default 2)")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    options.run.mkdir(parents=True, exist_ok=True)

    photos, held_out = (load_photos(options.photos, held_out=flag) for flag in (False, True))
    trainer = Trainer(options.run, options.minutes, options.rate)
    trainer.resume()
    print(f"{len(photos)} photos, {len(held_out)} held out; from step {trainer.step}", flush=True)
    for until, crop, batch_size in STAGES:
        if trainer.spent >= until * trainer.budget:
            continue
        data = Pairs(photos, crop, seed=trainer.step + 1)
        loader = DataLoader(data, batch_size, collate_fn=list, num_workers=1, prefetch_factor=8)
        train_stage(trainer, loader, until * trainer.budget, held_out)
    trainer.save()
    report(trainer, held_out, {})


def train_stage(trainer: Trainer, loader: DataLoader, until: float, held_out: list[np.ndarray]) -> None:
    """Train until ``until`` seconds of the budget are spent, saving every five minutes and scoring every fifteen."""
    started, next_save, next_report = time.monotonic() - trainer.spent, trainer.spent + 300, trainer.spent + 900
    for batch in loader:
        losses = trainer.train_step(batch)
        trainer.spent = time.monotonic() - started
        if trainer.spent >= until:
            break
        if trainer.spent >= next_save:
            trainer.save()
            next_save = trainer.spent + 300
            print(trainer.step, round(trainer.spent), {k: round(v, 3) for k, v in losses.items()}, flush=True)
        if trainer.spent >= next_report:
            report(trainer, held_out, losses)
            started = time.monotonic() - trainer.spent  # scoring is not training
            next_report = trainer.spent + 900


def report(trainer: Trainer, held_out: list[np.ndarray], losses: dict[str, float]) -> None:
    """Score the averaged weights and append one row to the log."""
    row = {
        "step": trainer.step,
        "samples": trainer.samples,
        "minutes": round(trainer.spent / 60, 1),
        **losses,
        **{f"lambda_{part}": trainer.multipliers[part] for part in PARTS},
        **evaluate(trainer.average, trainer.words, held_out),
    }
    print(json.dumps({key: round(value, 4) for key, value in row.items()}), flush=True)
    path = trainer.run / "log.jsonl"
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(row) + "\n")


if __name__ == "__main__":
    main()
