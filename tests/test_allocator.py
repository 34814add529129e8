"""Freed memory is kept: measured in processes of their own, since it holds for a whole process."""

import os
import platform
import subprocess
import sys

import pytest

PROGRAM = """
import resource, sys
from cotir.allocator import keep_freed_memory

kept = keep_freed_memory() if sys.argv[1] == "keep" else False
def faults(rounds):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(rounds):
        arrays = [b"x" * (40 * 2**20) for _ in range(2)]  # more than glibc keeps by itself
        del arrays
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
faults(15)  # until the pieces have found their places
print(kept, faults(5))
"""

glibc_only = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc's allocator alone has this knob")


def run(argument, **environment):
    plain = {k: v for k, v in os.environ.items() if k != "GLIBC_TUNABLES" and not k.startswith("MALLOC_")}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, argument], env=plain | environment, capture_output=True, text=True, check=True
    )
    kept, faults = done.stdout.split()
    return kept == "True", int(faults)


@glibc_only
def test_pages_are_not_faulted_in_again():
    _, before = run("leave")
    kept, after = run("keep")
    assert kept
    assert after < before / 20


@glibc_only
@pytest.mark.parametrize("name", ["MALLOC_TRIM_THRESHOLD_", "GLIBC_TUNABLES"])
def test_what_the_user_said_stays(name):
    value = "131072" if name.startswith("MALLOC") else "glibc.malloc.trim_threshold=131072"
    kept, _ = run("keep", **{name: value})
    assert not kept


def test_nothing_happens_on_other_systems(monkeypatch):
    from cotir.allocator import keep_freed_memory

    monkeypatch.setattr(sys, "platform", "darwin")
    assert not keep_freed_memory()
