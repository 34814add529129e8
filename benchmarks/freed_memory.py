"""What keeping freed memory for the next pass is worth (cotir.allocator): seconds with it over seconds without.

    python benchmarks/freed_memory.py PHOTOS

Restores a picture of 1000 x 1000 with nano, and trains it for a few steps, with the memory kept and given back, in
processes of their own and in turns, so that a machine that becomes slower does so for both.
"""

import argparse
import atexit
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parents[1]
WARM_UP = 3


def restoring(_photos: str) -> Callable[[], object]:
    """Restores one picture."""
    import numpy as np

    from cotir import CoTIRPipeline

    pipeline = CoTIRPipeline.from_pretrained("nano")
    picture = np.random.default_rng(0).random((1000, 1000, 3), dtype=np.float32)
    return lambda: pipeline(picture, explain=False, output_type="np")


def training(photos: str) -> Callable[[], object]:
    """Advances a training by one step of a batch that was made beforehand."""
    from cotir.train.data import Batches
    from cotir.train.journal import Silent
    from cotir.train.loop import Trainer
    from cotir.train.run_file import load_config

    run = tempfile.TemporaryDirectory()
    atexit.register(run.cleanup)
    fixed = [f"data.path={photos}", f"run={run.name}", "validation.every=0", "log.trackers=[]"]
    recipe = f"data.recipe={ROOT / 'configs/bench/default.yaml'}"
    config = load_config(ROOT / "configs/train/nano.yaml", [*fixed, recipe, "log.every=1000000"])
    trainer = Trainer(config, Silent())
    batch = [trainer.source[place] for place in next(iter(Batches(config.schedule.stages, trainer.share, 0, 0)))]
    return lambda: trainer.advance([batch])


WORK = {"restoring": restoring, "training": training}


def measure(work: str, photos: str, repeats: int, *, keep: bool) -> None:
    """Print the median seconds of a piece of work in this process, as JSON."""
    import torch

    from cotir.allocator import keep_freed_memory

    torch.set_num_threads(2)
    if keep and not keep_freed_memory():
        raise SystemExit("freed memory cannot be kept here: not glibc, or MALLOC_* or GLIBC_TUNABLES are set")
    run, times = WORK[work](photos), []
    for _ in range(WARM_UP + repeats):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    print(json.dumps(statistics.median(times[WARM_UP:])))


def main() -> None:
    """Measure in turns, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", help="folder of photos to train on")
    parser.add_argument("--repeats", type=int, default=5, help="of the work in a process, default 5")
    parser.add_argument("--turns", type=int, default=2, help="processes of each kind, default 2")
    parser.add_argument("--work", choices=WORK, help=argparse.SUPPRESS)
    parser.add_argument("--keep", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work:
        measure(options.work, options.photos, options.repeats, keep=options.keep)
        return
    print("| work | s, given back | s, kept | ratio |\n|---|---|---|---|")
    for work in WORK:
        command = [sys.executable, __file__, options.photos, "--repeats", str(options.repeats), "--work", work]
        seconds: dict[bool, list[float]] = {False: [], True: []}
        for _ in range(options.turns):
            for keep, found in seconds.items():
                done = subprocess.run(
                    command + ["--keep"] * keep, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True
                )
                found.append(json.loads(done.stdout.splitlines()[-1]))
        plain, kept = (statistics.median(found) for found in seconds.values())
        print(f"| {work} | {plain:.2f} | {kept:.2f} | {kept / plain:.2f} |", flush=True)


if __name__ == "__main__":
    main()
