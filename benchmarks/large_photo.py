"""Peak memory of restoring a 12-megapixel photo with the command, over a process that only loads the model.

    python benchmarks/large_photo.py

Runs `cotir restore` on a 64 x 64 picture and on a 4000 x 3000 one, each in a process of its own, and prints wall
seconds, peak resident memory and their difference.
"""

import os
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image


def run(width: int, height: int, folder: Path) -> tuple[float, float]:
    """Wall seconds and peak resident memory in MB of one command."""
    photo = folder / f"{width}x{height}.jpg"
    coarse = np.random.default_rng(0).integers(0, 256, (height // 8 + 1, width // 8 + 1, 3), dtype=np.uint8)
    Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC).save(photo, quality=80)
    start = time.perf_counter()
    command = [sys.executable, "-m", "cotir", "restore", str(photo), "-o", str(folder / "out.jpg"), "--overwrite"]
    process = os.posix_spawn(sys.executable, command, os.environ)
    _, status, usage = os.wait4(process, 0)
    if status:
        raise SystemExit(f"the command failed: {' '.join(command)}")
    return time.perf_counter() - start, usage.ru_maxrss / 1024


def main() -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as name:
        (small_s, small_mb), (large_s, large_mb) = (run(*size, Path(name)) for size in ((64, 64), (4000, 3000)))
    print("| picture | s | peak MB |\n|---|---|---|")
    print(f"| 64 x 64 | {small_s:.1f} | {small_mb:.0f} |\n| 4000 x 3000 | {large_s:.1f} | {large_mb:.0f} |")
    print(f"over the model: {large_mb - small_mb:.0f} MB")


if __name__ == "__main__":
    main()
