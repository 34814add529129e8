"""Ctrl-C, without losing it."""

import signal
import threading
from contextlib import AbstractContextManager
from types import FrameType, TracebackType


class Interruption(AbstractContextManager["Interruption"]):
    """While it is entered, Ctrl-C raises KeyboardInterrupt at once and is remembered.

    Python drops an exception raised while a destructor or a callback of a C library runs, and importing a large library
    runs many of them. :meth:`check` raises it again.
    """

    def __init__(self) -> None:
        self._requested = False
        self._previous = None

    def __enter__(self) -> "Interruption":
        """Take over Ctrl-C, unless it is being ignored, as under nohup, or this is not the main thread."""
        is_main = threading.current_thread() is threading.main_thread()
        if is_main and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            self._previous = signal.signal(signal.SIGINT, self._interrupt)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give Ctrl-C back."""
        if self._previous is not None:
            signal.signal(signal.SIGINT, self._previous)

    def check(self) -> None:
        """Raise KeyboardInterrupt if Ctrl-C was pressed."""
        if self._requested:
            raise KeyboardInterrupt

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        self._requested = True
        raise KeyboardInterrupt
