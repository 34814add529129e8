"""Draw the pictures of docs/bench.md: for every kind a strip of HQ and LQ at severities 0.3, 0.6 and 0.9.

    python scripts/draw_kinds.py PHOTOS [--seed 0] [--out docs/images/kinds]

PHOTOS holds the photographs named in SUBJECTS; any other folder will do with ``--any``, which takes its photos in turn.
"""

import argparse
from pathlib import Path

import cv2
import numpy as np

from cotir.bench.photos import find_files
from cotir.degrade import KINDS, Image

SIDE = 256
SEVERITIES = (0.3, 0.6, 0.9)
FOLDER = Path(__file__).parents[1] / "docs/images/kinds"

# CC0 photographs, in turn over the kinds.
SUBJECTS = (
    "budgie-backgrounds__lake-sherburne.webp",
    "budgie-backgrounds__oakland-zoo-otters.webp",
    "budgie-backgrounds__casa-mila.webp",
    "budgie-backgrounds__roman-colosseum.webp",
    "budgie-backgrounds__perched-osprey.webp",
    "budgie-backgrounds__tea-gardens.webp",
)


def main() -> None:
    """Write one JPEG per kind."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=FOLDER)
    parser.add_argument("--any", action="store_true", help="take every photo of the folder in turn")
    options = parser.parse_args()
    names = find_files(options.photos) if options.any else SUBJECTS
    options.out.mkdir(parents=True, exist_ok=True)
    for number, kind in enumerate(KINDS):
        photo = square(options.photos / names[(number + options.seed) % len(names)])
        strip = np.concatenate([photo, *(damaged(photo, kind, options.seed, s) for s in SEVERITIES)], axis=1)
        pixels = cv2.cvtColor(np.rint(strip * 255).astype(np.uint8), cv2.COLOR_RGB2BGR)
        cv2.imwrite(str(options.out / f"{kind}.jpg"), pixels, [cv2.IMWRITE_JPEG_QUALITY, 80])


def square(path: Path) -> Image:
    """The middle square of a photo, averaged down to SIDE."""
    photo = np.asarray(cv2.imread(str(path), cv2.IMREAD_COLOR_RGB))
    top, left = ((side - min(photo.shape[:2])) // 2 for side in photo.shape[:2])
    photo = photo[top : top + min(photo.shape[:2]), left : left + min(photo.shape[:2])]
    return np.divide(cv2.resize(photo, (SIDE, SIDE), interpolation=cv2.INTER_AREA), 255, dtype=np.float32)


def damaged(photo: Image, kind: str, seed: int, severity: float) -> Image:
    """The photo with one kind of damage: the same seed at every severity, so that the scene stays the same."""
    return KINDS[kind].apply(photo, KINDS[kind].sample(np.random.default_rng(seed), severity))


if __name__ == "__main__":
    main()
