"""Steps per second and peak memory of training nano: as it comes, without the text cache, with checkpointing, compiled.

    python benchmarks/train_step.py PHOTOS [--steps 20] [--threads 2]

Every variant runs in a process of its own, on the same samples, after a few steps to warm up; ratios are against the
first one. Samples are made beforehand, so that only the step is timed. Freed memory is kept, as the command line keeps
it.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

CONFIG = Path(__file__).parents[1] / "configs/train/nano.yaml"
VARIANTS = {
    "as it comes": [],
    "no text cache": ["cache.text_mb=0.001"],
    "gradient checkpointing": ["model.gradient_checkpointing=true"],
    "compiled": ["model.compile=true"],
}
WARM_UP = 3


def measure(photos: str, overrides: list[str], steps: int, threads: int) -> None:
    """Time one variant in this process, and print it as JSON."""
    from cotir.allocator import keep_freed_memory
    from cotir.train.data import Batches
    from cotir.train.journal import Silent
    from cotir.train.loop import Trainer
    from cotir.train.run_file import load_config

    keep_freed_memory()
    with tempfile.TemporaryDirectory() as run:
        fixed = [f"data.path={photos}", f"run={run}", "validation.every=0", "log.trackers=[]", f"threads={threads}"]
        recipe = CONFIG.parents[1] / "bench/default.yaml"
        config = load_config(CONFIG, [*fixed, f"data.recipe={recipe}", "log.every=1000000", *overrides])
        trainer = Trainer(config, Silent())
        places = iter(Batches(config.schedule.stages, trainer.share, 0, 0))
        batches = [[trainer.source[place] for place in next(places)] for _ in range(WARM_UP + steps)]
        for batch in batches[:WARM_UP]:
            trainer.advance([batch])
        started = time.perf_counter()
        for batch in batches[WARM_UP:]:
            trainer.advance([batch])
        seconds = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
    print(json.dumps({"steps_per_second": steps / seconds, "peak_gb": peak}))


def main() -> None:
    """Run every variant, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", help="folder of photos")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--variant", choices=VARIANTS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.variant:
        measure(options.photos, VARIANTS[options.variant], options.steps, options.threads)
        return
    print("| variant | steps/s | ratio | peak memory, GB |\n|---|---|---|---|")
    first = 0.0
    for name in VARIANTS:
        command = [sys.executable, __file__, options.photos, "--variant", name]
        command += ["--steps", str(options.steps), "--threads", str(options.threads)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            print(f"| {name} | failed: {done.stderr.strip().splitlines()[-1]} | | |")
            continue
        found = json.loads(done.stdout.strip().splitlines()[-1])
        first = first or found["steps_per_second"]
        ratio = found["steps_per_second"] / first
        print(f"| {name} | {found['steps_per_second']:.2f} | {ratio:.2f} | {found['peak_gb']:.2f} |", flush=True)


if __name__ == "__main__":
    main()
