"""How fast nano restores, per megapixel, and what share of the machine's matrix-product peak it reaches.

    python benchmarks/nano_speed.py

Prints seconds per megapixel of one step at several sizes, the arithmetic torch counts, the rate as a share of a large
float32 matrix product in the same process, and the ratio to OpenCV's non-local means, the denoiser a person would
otherwise run. Freed memory is kept, as the command line keeps it.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import cv2
import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from cotir import CoTIRPipeline
from cotir.allocator import keep_freed_memory

SIZES = ((256, 256), (1000, 1000), (2000, 1500))


def seconds(run: Callable[[], object], repeats: int) -> float:
    """Median wall time after one warm-up."""
    run()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def peak(repeats: int) -> float:
    """GFLOP/s of a 2048 x 2048 float32 matrix product."""
    a = torch.randn(2048, 2048)
    return 2 * 2048**3 / seconds(lambda: a @ a, repeats) / 1e9


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="torch and OpenCV threads")
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    keep_freed_memory()
    torch.set_num_threads(options.threads)
    cv2.setNumThreads(options.threads)

    pipeline = CoTIRPipeline.from_pretrained("nano")
    best = peak(options.repeats)
    print(f"{options.threads} threads, matrix product {best:.0f} GFLOP/s")
    print("| size | s | s / MP | GFLOP / MP | share of the matrix product | time / non-local means |")
    print("|---|---|---|---|---|---|")
    for width, height in SIZES:
        picture = np.random.default_rng(0).random((height, width, 3), dtype=np.float32)
        megapixels = width * height / 1e6

        def restore(picture: np.ndarray = picture) -> object:
            return pipeline(picture, output_type="np")

        with FlopCounterMode(display=False) as counter:
            restore()
        flops = counter.get_total_flops() / 1e9
        took = seconds(restore, options.repeats)
        noisy = np.rint(picture * 255).astype(np.uint8)
        classical = seconds(lambda noisy=noisy: cv2.fastNlMeansDenoisingColored(noisy, None, 10, 10, 7, 21), 3)
        print(
            f"| {width}x{height} | {took:.2f} | {took / megapixels:.2f} | {flops / megapixels:.0f} "
            f"| {flops / took / best:.0%} | {took / classical:.1f} |"
        )


if __name__ == "__main__":
    main()
