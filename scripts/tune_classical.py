"""Find the parameters of the classical chain on damaged training photos; held-out photos are not looked at.

    python scripts/tune_classical.py PHOTOS [--pictures 160] [--size 192] [--seed 0]
        [--recipe configs/bench/default.yaml]

Random search on a quarter of the pictures, then coordinate descent on all of them, over the grid in this file. What
counts is the mean PSNR gain over all pictures, with as many of each recipe as its share of the training samples and so
with clean ones among them; PSNR counts up to 50 dB, where nobody sees a difference any more and a clean picture that is
left alone stands. Half of the training photos are searched on; half as many pictures of the other half say whether the
parameters hold there. Writes src/cotir/evaluate/classical.yaml and prints a Markdown table.
"""

import argparse
import shlex
import sys
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import yaml

from cotir.colour import Floats, unit
from cotir.configuration import check
from cotir.evaluate.classical import PARAMETERS, STAGES, Found, ParameterFile, Parameters, run_chain
from cotir.train.config import DataConfig
from cotir.train.pairs import Pixels, Place, rng_of
from cotir.train.photo_source import PhotoSource

ROOT = Path(__file__).parents[1]
MOST_PSNR = 50.0
DRAWS, ROUNDS, NOISE_SETTINGS = 60, 2, 6
REGION = 256
NOISE_STAGES = ("despeckle", "denoise")
"""The first and slowest stages: what they make is kept."""
OTHER_STAGES = tuple(name for name in STAGES if name not in NOISE_STAGES)

GRID: dict[str, tuple[float, ...]] = {
    "despeckle": (0.0, 1.0),
    "despeckle_jump": (0.1, 0.15, 0.2, 0.3, 0.4),
    "despeckle_from": (0.001, 0.003, 0.006, 0.01, 0.02, 0.04),
    "denoise": (0.0, 0.3, 0.5, 0.7, 0.85, 1.0, 1.2),
    "denoise_colour": (0.0, 0.3, 0.5, 0.7, 1.0, 1.4, 2.0),
    "denoise_from": (0.004, 0.007, 0.01, 0.015, 0.02),
    "dehaze": (0.0, 0.15, 0.3, 0.45, 0.6, 0.75, 0.9),
    "dehaze_from": (0.05, 0.1, 0.15, 0.2, 0.3, 0.4),
    "balance": (0.0, 0.15, 0.3, 0.5, 0.7, 1.0),
    "balance_from": (0.15, 0.3, 0.45, 0.6, 0.8),
    "stretch": (0.0, 0.2, 0.4, 0.6, 0.8, 1.0),
    "stretch_clip": (0.1, 0.3, 1.0, 2.0, 4.0),
    "stretch_white": (0.5, 0.6, 0.7, 0.8, 0.9, 1.0),
    "stretch_black": (0.0, 0.05, 0.1, 0.2, 0.3),
    "expose": (0.0, 0.2, 0.4, 0.6, 0.8, 1.0),
    "expose_dark": (0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4),
    "expose_bright": (0.5, 0.55, 0.6, 0.65, 0.7, 0.8),
    "equalise": (0.0, 0.1, 0.2, 0.3, 0.5),
    "equalise_limit": (1.0, 1.5, 2.0, 3.0, 4.0),
    "equalise_below": (0.05, 0.1, 0.15, 0.2),
    "sharpen": (0.0, 0.2, 0.4, 0.7, 1.0, 1.5),
    "sharpen_radius": (0.7, 1.0, 1.5, 2.0, 3.0),
    "sharpen_below": (0.7, 1.0, 1.3, 1.6, 2.0, 3.0),
}
"""The values that are tried."""
AMOUNTS = (*STAGES, "denoise_colour")
"""Parameters that are 0 where their stage is off."""

Setting = dict[str, float]


@dataclass(frozen=True, eq=False)
class Picture:
    """A damaged picture and the clean one, uint8 (H, W, 3)."""

    lq: Pixels
    hq: Pixels
    group: str
    kinds: int


class Judge:
    """Mean gains of settings over pictures; remembers what the slow stages made of them."""

    def __init__(self, pictures: list[Picture]) -> None:
        self.pictures = pictures
        self.before = np.array([psnr(each.lq, each.hq) for each in pictures])
        self._quiet: dict[tuple[int, tuple[float, ...]], Floats] = {}

    def gains(self, setting: Setting, count: int | None = None) -> npt.NDArray[np.float64]:
        """PSNR gain of the first ``count`` pictures, in dB."""
        use, after = Parameters(**setting), []
        for number, picture in enumerate(self.pictures[:count]):
            quiet = self._quieten(number, use)
            restored = run_chain(quiet, use, OTHER_STAGES).image
            after.append(psnr(np.rint(restored * 255).astype(np.uint8), picture.hq))
        return np.array(after) - self.before[: len(after)]

    def _quieten(self, number: int, use: Parameters) -> Floats:
        values = tuple(value for name, value in use.model_dump().items() if name.startswith(NOISE_STAGES))
        if (number, values) not in self._quiet:
            if len(self._quiet) > 8 * len(self.pictures):
                self._quiet.clear()
            image = unit(self.pictures[number].lq)
            self._quiet[number, values] = run_chain(image, use, NOISE_STAGES).image
        return self._quiet[number, values]


class Progress:
    """Says how far a search is, every five seconds."""

    def __init__(self, what: str, steps: int) -> None:
        self.what, self.steps, self.done = what, steps, 0
        self.start = self.told = time.monotonic()

    def step(self, remark: str = "") -> None:
        """One step more is done."""
        self.done += 1
        now = time.monotonic()
        if now - self.told > 5 or self.done == self.steps:
            left = (now - self.start) / self.done * (self.steps - self.done)
            print(f"{self.what}: {self.done} of {self.steps}, {left:.0f} s left {remark}", flush=True)
            self.told = now


def psnr(image: Pixels, other: Pixels) -> float:
    """In dB, at most :data:`MOST_PSNR`."""
    error = np.mean(np.square(image.astype(np.float32) - other)) / 255**2
    return float(min(MOST_PSNR, -10 * np.log10(max(error, 1e-10))))


def make_pictures(source: PhotoSource, count: int, size: int, *, seed: int, others: bool) -> list[Picture]:
    """Damaged crops of every second training photo, or of those between, in an order that mixes recipes."""
    photos = source.photos["train"][int(others) :: 2]
    recipes = [recipe for recipe in source.recipes if recipe.share > 0]
    shares = np.cumsum([recipe.share for recipe in recipes])
    # systematic sampling: every recipe comes as often as its share says, give or take one
    places = np.searchsorted(shares, (np.arange(count) + 0.5) / count * shares[-1])
    what = "classical others" if others else "classical"
    places, pictures, progress = rng_of(seed, what, count).permutation(places), [], Progress("pictures", count)
    for number, place in enumerate(places):
        rng, recipe = rng_of(seed, what, number), recipes[int(place)]
        region = source.damage(rng, photos[number % len(photos)], recipe, max(REGION, size))
        pair = region.crop(rng, Place(number, size))
        group = "clean" if not recipe.kinds else "single" if len(recipe.kinds) == 1 else "composite"
        pictures.append(Picture(pair.lq, pair.hq, group, len(recipe.kinds)))
        progress.step()
    return pictures


def draw_settings(rng: np.random.Generator) -> list[Setting]:
    """Random settings; few of them differ in the slow stages."""

    def draw(names: list[str]) -> Setting:
        return {name: float(rng.choice(GRID[name])) for name in names}

    slow = [name for name in GRID if name.startswith(NOISE_STAGES)]
    noise = [draw(slow) for _ in range(NOISE_SETTINGS)]
    rest = [name for name in GRID if name not in slow]
    return [noise[number % NOISE_SETTINGS] | draw(rest) for number in range(DRAWS)]


def start_setting() -> Setting:
    """The middle of every grid but amounts, which are off: what is not found useful stays off."""
    return {name: 0.0 if name in AMOUNTS else grid[len(grid) // 2] for name, grid in GRID.items()}


def descend(judge: Judge, setting: Setting, rng: np.random.Generator) -> Setting:
    """Coordinate descent: go along one coordinate after the other while its neighbours on the grid gain."""
    best, quarter = float(judge.gains(setting).mean()), len(judge.pictures) // 4
    few, progress = float(judge.gains(setting, quarter).mean()), Progress("descent", ROUNDS * len(GRID))
    for _ in range(ROUNDS):
        for name in rng.permutation(list(GRID)):
            for direction in (-1, 1):
                while trial := neighbour(setting, str(name), direction):
                    first = float(judge.gains(trial, quarter).mean())
                    # most trials are told to be worse by a quarter of the pictures
                    if first < few or (score := float(judge.gains(trial).mean())) <= best + 1e-3:
                        break
                    setting, best, few = trial, score, first
            progress.step(f"({best:+.3f} dB)")
    return setting


def neighbour(setting: Setting, name: str, direction: int) -> Setting | None:
    """The setting one step further on the grid; None at its end, and for parameters of a stage that is off."""
    stage = name.split("_", maxsplit=1)[0]
    amounts = [setting[amount] for amount in AMOUNTS if _of(amount, stage)]
    place = GRID[name].index(setting[name]) + direction
    if not 0 <= place < len(GRID[name]) or (name not in AMOUNTS and not any(amounts)):
        return None
    return setting | {name: GRID[name][place]}


def search(judge: Judge, seed: int) -> Setting:
    """Random search, then coordinate descent from the best draw without the stages that harm it."""
    rng, quarter = rng_of(seed, "classical search", 0), len(judge.pictures) // 4
    settings, progress = draw_settings(rng), Progress("draws", DRAWS)
    scores = []
    for setting in settings:
        scores.append(float(judge.gains(setting, quarter).mean()))
        progress.step(f"({max(scores):+.3f} dB)")
    best = settings[int(np.argmax(scores))]
    print(f"best draw on {quarter} pictures: {max(scores):+.3f} dB", flush=True)
    for name in STAGES:  # a draw has every stage at once, some of which harm
        off = best | {key: 0.0 for key in AMOUNTS if _of(key, name)}
        if judge.gains(off, quarter).mean() >= judge.gains(best, quarter).mean():
            best = start_setting() | {key: value for key, value in off.items() if not _of(key, name)}
    return descend(judge, best, rng)


def _of(parameter: str, stage: str) -> bool:
    return parameter == stage or parameter.startswith(f"{stage}_")


def table(columns: dict[str, tuple[Judge, npt.NDArray[np.float64]]]) -> str:
    """Gains by group and by number of kinds, of the pictures searched on and of the others."""
    groups: dict[str, list[str]] = defaultdict(list)
    for judge, gains in columns.values():
        labels = np.array([each.group for each in judge.pictures])
        kinds = np.array([each.kinds for each in judge.pictures])
        rows = {"single": labels == "single", "composite": labels == "composite"}
        rows |= {"of 2 kinds": kinds == 2, "of 3 kinds or more": kinds > 2, "clean": labels == "clean"}
        rows |= {"**mean**": np.ones(len(labels), bool)}
        for name, chosen in rows.items():
            harmed = (gains[chosen] < -0.1).mean() if chosen.any() else np.nan
            value = gains[chosen].mean() if chosen.any() else np.nan
            groups[name].append(f"{chosen.sum()} | {value:+.2f} | {harmed:.0%}")
    head = "".join(f" {name} | gain, dB | harmed |" for name in columns)
    lines = [f"| group |{head}", "|---|" + "---|" * 3 * len(columns)]
    return "\n".join([*lines, *(f"| {name} | {' | '.join(cells)} |" for name, cells in groups.items())])


def write(found: Found, setting: Setting) -> None:
    """Write the parameters that ship."""
    data = ParameterFile(found=found, parameters=Parameters(**setting)).model_dump()
    text = yaml.safe_dump(data, sort_keys=False, width=1000)
    head = "# Written by scripts/tune_classical.py. What the keys mean: cotir/evaluate/classical.py.\n"
    PARAMETERS.write_text(head + text, encoding="utf-8")


def main() -> None:
    """Search, judge on other photos, write and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path)
    parser.add_argument("--pictures", type=int, default=160)
    parser.add_argument("--size", type=int, default=192)
    parser.add_argument("--recipe", type=Path, default=ROOT / "configs/bench/default.yaml")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    cv2.setNumThreads(1)
    values = {"source": "photos", "path": options.photos, "recipe": options.recipe, "region": max(REGION, options.size)}
    source = PhotoSource(check(DataConfig, values, name="data"), seed=options.seed)
    judge, others = (
        Judge(make_pictures(source, count, options.size, seed=options.seed, others=which))
        for count, which in ((options.pictures, False), (max(options.pictures // 2, 1), True))
    )
    setting = search(judge, options.seed)
    gains, on_others = judge.gains(setting), others.gains(setting)
    # the folder's place is of no interest, and other machines have another
    command = shlex.join(["python", "scripts/tune_classical.py", *_plain(sys.argv[1:], options.photos)])
    found = Found(
        command=command,
        pictures=len(gains),
        gain=round(float(gains.mean()), 3),
        others=len(on_others),
        gain_on_others=round(float(on_others.mean()), 3),
    )
    write(found, setting)
    print(table({"pictures": (judge, gains), "others": (others, on_others)}))


def _plain(arguments: list[str], photos: Path) -> list[str]:
    return ["PHOTOS" if Path(argument) == photos else argument for argument in arguments]


if __name__ == "__main__":
    main()
