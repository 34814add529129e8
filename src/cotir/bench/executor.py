"""Who does the work: this process, a pool of processes on this machine, or Ray on one machine or many.

All three call one function over many items and give back what it returns, in any order. The function is made once in
every worker by ``start``, so that what it needs is sent once and not with every item.
"""

import logging
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import wait
from types import FrameType
from typing import Any, Literal, TypeVar

import cv2

from cotir.errors import ConfigError

T = TypeVar("T")
R = TypeVar("R")

Executor = Literal["local", "ray"]

_work: Callable[[Any], Any] | None = None


def run(
    kind: Executor,
    start: Callable[[], Callable[[T], R]],
    items: Sequence[T],
    *,
    workers: int,
    address: str | None = None,
) -> Iterator[R]:
    """Call a function over items.

    Args:
        kind: ``local`` or ``ray``.
        start: makes the function; it is sent to every worker, and so are items and results.
        items: one call each.
        workers: processes; 1 with ``local`` works in this one.
        address: of a Ray cluster; None starts or finds one on this machine.

    Raises:
        ConfigError: Ray is not installed, or cannot be reached.
    """
    if not items:
        return iter(())
    if kind == "ray":
        return _run_ray(start, items, workers, address)
    return _run_here(start, items) if workers == 1 else _run_pool(start, items, workers)


def _run_here(start: Callable[[], Callable[[T], R]], items: Sequence[T]) -> Iterator[R]:
    threads = cv2.getNumThreads()
    cv2.setNumThreads(0)
    try:
        work = start()
        yield from map(work, items)
    finally:
        cv2.setNumThreads(threads)


def _run_pool(start: Callable[[], Callable[[T], R]], items: Sequence[T], workers: int) -> Iterator[R]:
    # spawned, for a forked copy of a process with threads may hang
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, context, initializer=_begin, initargs=(start,))
    try:
        for done in as_completed([pool.submit(_call, item) for item in items]):
            yield done.result()
    except BrokenProcessPool as error:
        raise ConfigError(
            "a worker process died, perhaps for lack of memory; run the same command again, with fewer --workers"
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


def _begin(start: Callable[[], Callable[[Any], Any]]) -> None:
    """Set a pool's worker up."""
    global _work
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent.sentinel,), daemon=True).start()
    # Ctrl-C goes to all of a terminal's processes; the parent alone speaks about it
    signal.signal(signal.SIGINT, _end_at_once)
    cv2.setNumThreads(0)
    _work = start()


def _end_at_once(number: int, frame: FrameType | None) -> None:
    os._exit(128 + number)


def _end_with(sentinel: int) -> None:
    """A pool's workers outlive a parent that is killed, waiting for ever; this ends them."""
    wait([sentinel])
    os._exit(1)


def _call(item: Any) -> Any:
    if _work is None:
        raise RuntimeError("a worker was called before it was set up")
    return _work(item)


class _Actor:
    """A worker of Ray."""

    def __init__(self, start: Callable[[], Callable[[Any], Any]], items: Sequence[Any]) -> None:
        cv2.setNumThreads(0)
        self._work, self._items = start(), items

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        return {"result": self._work(self._items[row["id"]])}


def _run_ray(
    start: Callable[[], Callable[[T], R]], items: Sequence[T], workers: int, address: str | None
) -> Iterator[R]:
    try:
        import ray  # pyright: ignore[reportMissingImports] - not for Windows and not for the development extra
        import ray.data  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise ConfigError(f"--executor ray needs Ray ({error}); pip install 'cotir[ray]'") from error
    mine = not ray.is_initialized()
    if mine:
        try:
            ray.init(
                address=address, num_cpus=None if address else workers, log_to_driver=False, logging_level=logging.ERROR
            )
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise ConfigError(f"Ray at {address or 'this machine'} cannot be reached ({error}); check it") from error
    ray.data.DataContext.get_current().enable_progress_bars = False
    try:
        numbers = ray.data.range(len(items), override_num_blocks=len(items))
        worker: Any = _Actor  # a class makes Ray keep one in every process
        done = numbers.map(worker, fn_constructor_args=(start, items), concurrency=workers, num_cpus=1)
        for row in done.iter_rows():
            yield row["result"]
    finally:
        if mine:
            ray.shutdown()
