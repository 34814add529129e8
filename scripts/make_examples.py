"""Make the bundled example photographs: a held-out CC0 photo, damaged in two ways with fixed seeds.

    python scripts/make_examples.py PHOTOS

PHOTOS is the folder that scripts/train_nano.py trained on; the photo used here is one it holds out.
"""

import argparse
from pathlib import Path

import cv2
import numpy as np
from train_nano import is_held_out, unit

from cotir.degrade.compose import compose, sample_recipe

SOURCE = "budgie-backgrounds__oakland-zoo-otters.webp"
FOLDER = Path(__file__).parents[1] / "src/cotir/assets/examples"
DAMAGE = {
    "otters_hazy_noisy": {"haze": 0.4, "noise": 0.3, "jpeg": 0.2},
    "otters_hazy_rain": {"haze": 0.35, "rain": 0.35},
}


def main() -> None:
    """Write one JPEG per entry of DAMAGE."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path)
    options = parser.parse_args()
    source = options.photos / SOURCE
    if not is_held_out(source):
        raise SystemExit(f"{SOURCE} was trained on; choose a held-out photo")
    photo = np.asarray(cv2.imread(str(source), cv2.IMREAD_COLOR_RGB))
    photo = cv2.resize(photo, (864, 486), interpolation=cv2.INTER_AREA)
    FOLDER.mkdir(parents=True, exist_ok=True)
    for seed, (name, severities) in enumerate(DAMAGE.items()):
        applied = sample_recipe(np.random.default_rng(seed), list(severities), list(severities.values()))
        damaged = np.rint(compose(unit(photo), applied) * 255).astype(np.uint8)
        target = str(FOLDER / f"{name}.jpg")
        cv2.imwrite(target, cv2.cvtColor(damaged, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 95])


if __name__ == "__main__":
    main()
