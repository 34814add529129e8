"""Fit the gate of a nano's experts: which of them the damage belongs to, by what nano has seen and read.

    python scripts/reshape_nano.py nano BASE 'experts=[noise, jpeg]'
    python scripts/fit_experts.py BASE PHOTOS
    cotir train configs/train/nano-experts.yaml data.path=PHOTOS model.base=BASE

A multinomial logistic regression on crops as training damages them, half of them under vague instructions: the first
expert whose scope the damage is in, or "anything else". Writes the gate into BASE and prints a Markdown table: average
precision of every expert on crops of held-out photos, and what the gate says of it (g in :mod:`cotir.experts`) in the
mean where the damage is its own, where its kinds are there and the damage is not its own, and where they are not. 4,000
crops take ten minutes on one core.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from cotir import CoTIRPipeline
from cotir.backbones import NANO
from cotir.configuration import check
from cotir.errors import ConfigError, CoTIRError
from cotir.evaluate.diagnosis import average_precision
from cotir.experts import Experts
from cotir.phrase_bank import KINDS
from cotir.train.batch import Encoder
from cotir.train.config import CacheConfig, DataConfig, TimeConfig
from cotir.train.pairs import Pair, Place
from cotir.train.photo_source import PhotoSource

ROOT = Path(__file__).parents[1]
BATCH = 8
SEEN_DECAY, READ_DECAY = 3e-2, 3e-4
"""Of the regression, on standardised features of the picture and of the text. The first are three times as many and
tell less: where the text names the damage it must not be drowned by what a few crops look like."""


@dataclass(frozen=True)
class Seen:
    """Crops by what the gate is shown of them."""

    features: Tensor
    """(B, F)."""
    there: Tensor
    """Whether a kind of each expert is there, 0 or 1 (B, K)."""
    own: Tensor
    """Whether the damage is its own, likewise."""
    vague: bool
    """Of the instructions."""


class Looking:
    """Shows nano crops and keeps what its gate is given."""

    def __init__(self, pipeline: CoTIRPipeline) -> None:
        self.transformer = pipeline.transformer.eval()
        self.experts: Experts = self.transformer.expertise
        self._encode = Encoder(NANO, pipeline.components, CacheConfig(), TimeConfig(at_one=1.0), seed=0)
        self._given: list[Tensor] = []
        self.experts.gate.register_forward_pre_hook(lambda _, inputs: self._given.append(inputs[0]))

    @torch.no_grad()
    def __call__(self, pairs: Sequence[Pair], *, vague: bool) -> Seen:
        """Look at crops of one size under vague or precise instructions."""
        self._given.clear()
        kinds = []
        for first in range(0, len(pairs), BATCH):
            some = pairs[first : first + BATCH]
            batch = self._encode(some, vague=float(vague), reasoning=False, device=torch.device("cpu"))
            inputs = torch.cat([batch.noise, batch.condition.reference], dim=1)
            self.transformer(inputs, timestep=batch.time, **batch.condition.arguments())
            kinds.append(batch.kinds)
            if first // BATCH % 50 == 0:
                print(f"{first} of {len(pairs)} crops, {'vague' if vague else 'precise'}", flush=True)
        damage = [[KINDS[place] for place in picture.nonzero()[:, 0]] for picture in torch.cat(kinds)]
        there = [[not scope.kinds.isdisjoint(kinds) for scope in self.experts.scopes] for kinds in damage]
        mine = [self.experts.scope(kinds) for kinds in damage]
        own = [[place == which for place in range(len(self.experts.scopes))] for which in mine]
        return Seen(torch.cat(self._given), torch.tensor(there).float(), torch.tensor(own).float(), vague)


def fit(gate: nn.Linear, seen: Sequence[Seen], read: int) -> None:
    """Fit the gate to crops, by L-BFGS; the last ``read`` of the features are those of the text."""
    features, own = (torch.cat([getattr(each, name) for each in seen]) for name in ("features", "own"))
    which = nn.functional.pad(own, (1, 0), value=0.5).argmax(dim=1)  # 0 is anything else
    mean, deviation = features.mean(dim=0), features.std(dim=0).clamp_min(1e-6)
    standard = (features - mean) / deviation
    decay = torch.full((features.shape[1],), SEEN_DECAY)
    decay[features.shape[1] - read :] = READ_DECAY
    weight = torch.zeros(own.shape[1], features.shape[1], requires_grad=True)
    bias = torch.zeros(own.shape[1], requires_grad=True)
    search = torch.optim.LBFGS([weight, bias], max_iter=300, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        search.zero_grad()
        told = nn.functional.pad(standard @ weight.T + bias, (1, 0))
        value = nn.functional.cross_entropy(told, which) + (decay * weight.square()).sum()
        value.backward()
        return value

    search.step(loss)  # pyright: ignore[reportArgumentType] - a closure may return a tensor
    with torch.no_grad():
        gate.weight.copy_(weight / deviation)
        gate.bias.copy_(bias - gate.weight @ mean)


def report(experts: Experts, seen: Sequence[Seen]) -> str:
    """The table, of held-out crops."""
    forms = [("vague" if each.vague else "precise", each) for each in seen]
    whats = ("average precision", "its own", "there all the same", "not there")
    heads = [f"{form}: {what}" for form, _ in forms for what in whats]
    lines = [f"| expert | {' | '.join(heads)} |", "|---" * (1 + len(heads)) + "|"]
    with torch.no_grad():
        gates = [experts.gates(each.features) for _, each in forms]
    for place, name in enumerate(experts.names):
        cells = []
        for (_, each), gate in zip(forms, gates, strict=True):
            told, own, there = gate[:, place], each.own[:, place] > 0, each.there[:, place] > 0
            cells.append(f"{average_precision(told.double().numpy(), each.own[:, place].numpy()):.2f}")
            cells += [f"{told[where].mean():.2f}" for where in (own, there & ~own, ~there)]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Fit, write and judge."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help="a nano pipeline folder with experts")
    parser.add_argument("photos", type=Path)
    parser.add_argument("--crops", type=int, default=4000, help="to learn from, default 4000")
    parser.add_argument("--judge", type=int, default=312, help="held-out crops to judge on, default 312")
    parser.add_argument("--crop", type=int, default=128, help="their side in pixels, default 128")
    parser.add_argument("--recipe", type=Path, default=ROOT / "configs/bench/experts.yaml")
    options = parser.parse_args()
    if options.crops < 2 or options.judge < 1:
        parser.error(f"--crops {options.crops} --judge {options.judge}: give two crops or more, and one to judge on")
    try:
        print(fit_and_judge(options.model, options.photos, options.recipe, options.crop, options.crops, options.judge))
    except CoTIRError as error:
        parser.error(str(error))


def fit_and_judge(model: Path, photos: Path, recipe: Path, crop: int, crops: int, judge: int) -> str:
    """Fit the gate of a pipeline folder, write it there, and judge it on held-out photos: the table.

    Raises:
        CoTIRError: the folder, the photos or the recipe cannot be used, or the model has no experts.
    """
    pipeline = CoTIRPipeline.from_pretrained(model)
    if pipeline.transformer.expertise is None:
        raise ConfigError(f"{model} has no experts; make some with scripts/reshape_nano.py")
    values = {"source": "photos", "path": photos, "recipe": recipe, "region": 256, "downscale": 0.5}
    source = PhotoSource(check(DataConfig, values, name="data"), seed=1)
    look, half = Looking(pipeline), crops // 2

    def pairs(first: int, end: int) -> list[Pair]:
        return [source[Place(position, crop)] for position in range(first, end)]

    seen = [look(pairs(0, half), vague=True), look(pairs(half, crops), vague=False)]
    # what is read comes last of what the gate is given
    fit(look.experts.gate, seen, look.transformer.config["joint_attention_dim"])
    pipeline.transformer.save_pretrained(model / "transformer")
    held_out = source.held_out(judge, crop)
    return report(look.experts, [look(held_out, vague=vague) for vague in (True, False)])


if __name__ == "__main__":
    main()
