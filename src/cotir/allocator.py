"""How the process handles memory that is freed: kept for the next pass, not given back to the system.

Every pass of a model on a CPU allocates and frees the same gigabytes, in pieces of some megabytes. glibc gives such
pieces back to the system at once, and every page of the next pass is then faulted in and zeroed anew, which is slow
above all on virtual machines (``benchmarks/freed_memory.py`` measures it).
"""

import ctypes
import os
import sys

# Names and numbers of <malloc.h>.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
_KEPT = 2**31 - 1
"""Bytes of freed memory that are kept: as many as an int holds."""
_LARGEST = 2**26
"""Bytes of a piece above which it is given back as before: a whole photograph, not what a window of it needs."""


def keep_freed_memory() -> bool:
    """Let this process keep up to 2 GB of what it frees; for programs, since it holds for the whole process.

    Does nothing where the C library is not glibc, or where the user has said by ``MALLOC_*`` or ``GLIBC_TUNABLES`` how
    it shall be.

    Returns:
        Whether it holds now.
    """
    if sys.platform != "linux" or any(name == "GLIBC_TUNABLES" or name.startswith("MALLOC_") for name in os.environ):
        return False
    c_library = ctypes.CDLL(None)
    # musl, or another allocator in its place, has no such knob.
    if not hasattr(c_library, "gnu_get_libc_version") or not hasattr(c_library, "mallopt"):
        return False
    return bool(c_library.mallopt(_TRIM_THRESHOLD, _KEPT)) and bool(c_library.mallopt(_MMAP_THRESHOLD, _LARGEST))
