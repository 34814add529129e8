"""What a restoration costs: wall and CPU time, memory, arithmetic."""

import ctypes
import gc
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Generic, TypeVar

import psutil

T = TypeVar("T")

INTERVAL = 0.005
"""Seconds between two looks at the memory."""


@dataclass(frozen=True)
class Measured(Generic[T]):
    """A result and what it took."""

    result: T
    seconds: float
    cpu_seconds: float
    """Of all threads of this process."""
    peak_mb: float
    """Most resident memory above ``base``, in MB (1e6 bytes); what is held for under :data:`INTERVAL` may be missed."""


def held() -> int:
    """Bytes of memory that the process holds, after what can be given back was."""
    gc.collect()
    with suppress(OSError, AttributeError):  # glibc keeps what was freed, and would hide what the next method needs
        ctypes.CDLL(None).malloc_trim(0)
    return psutil.Process().memory_info().rss


def measure(function: Callable[[], T], base: int) -> Measured[T]:
    """Call a function and measure it; ``base`` is the memory to count from, as :func:`held` told it."""
    process = psutil.Process()
    peak = process.memory_info().rss
    done = threading.Event()

    def watch() -> None:
        nonlocal peak
        while not done.wait(INTERVAL):
            peak = max(peak, process.memory_info().rss)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    started, cpu = time.perf_counter(), time.process_time()
    try:
        result = function()
    finally:
        seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - cpu
        done.set()
        watcher.join()
    peak = max(peak, process.memory_info().rss)
    return Measured(result, seconds, cpu_seconds, max(0, peak - base) / 1e6)


def gflop(function: Callable[[], object]) -> float | None:
    """Arithmetic of a call in 1e9 operations, by torch's counter; None where torch did none.

    Matrix products, convolutions and attention are counted; a multiply-add is two.
    """
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        function()
    return counter.get_total_flops() / 1e9 or None
