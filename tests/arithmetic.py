"""What can be asked of numbers on this machine: whether it adds as the one did on which outputs were recorded.

The recorded outputs come from an Intel CPU with AVX-512. There the same operations give the same bits, wherever in
memory their operands lie. The matrix kernels of other CPUs add in another order, and some in one that depends on how
operands are aligned: two copies of one model then differ in the last bits.
"""

from pathlib import Path

import numpy as np
import pytest
import torch

_CPU = Path("/proc/cpuinfo")
SAME_KERNELS = torch.backends.cpu.get_cpu_capability() == "AVX512" and (
    _CPU.is_file() and "GenuineIntel" in _CPU.read_text(encoding="utf-8")
)
"""Whether this machine has the kernels of the recorded outputs."""
SLACK = 1 if SAME_KERNELS else 20
"""How many times the tolerance of a recorded float32 number may be. Velocities of the tiny models reach 10; on an AMD
EPYC they differ from the recorded ones by 1.1e-4."""

recorded_bits = pytest.mark.skipif(not SAME_KERNELS, reason="recorded bits come from AVX-512 kernels of an Intel CPU")


def same(one, other, atol=2e-5):
    """Whether two results of the same operations agree: to the bit where kernels add in one order."""
    one, other = np.asarray(one), np.asarray(other)
    return np.array_equal(one, other) if SAME_KERNELS else np.allclose(one, other, rtol=0, atol=atol)
