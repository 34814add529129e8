"""What evaluation knows of a restorer: a picture and an instruction go in, a picture comes out.

A method is named by a specification, ``NAME[:ARGUMENT][,KEY=VALUE...]``: ``identity``, ``cotir:nano,steps=4``,
``specialists:FOLDER,order=fixed``, ``folder:OUTPUTS``. Anyone's own is a class in a file, ``python:FILE.py:CLASS``:

    from cotir.evaluate.methods import Method, Request, Restored

    class Brighter(Method):
        version = "1"

        def restore(self, request: Request) -> Restored:
            return Restored((request.image * 0.9 + 25).astype("uint8"))
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from cotir.reasoning import Reasoning

Pixels = npt.NDArray[np.uint8]
"""A picture, sRGB-encoded, (H, W, 3)."""

Prompt = Literal["none", "vague", "precise"]
"""Which instruction a method was given; ``none`` for methods that read none."""


@dataclass(frozen=True, eq=False)
class Request:
    """What a method gets to see of a test picture."""

    key: str
    """Name of the test picture, for methods that have its result already."""
    image: Pixels
    instruction: str = ""
    """What a person asks for; empty for methods that read none."""
    kinds: tuple[str, ...] | None = None
    """The damage that is in the picture, in the order it came about (light-path order); for oracles alone. None on real
    photos."""
    seed: int = 0
    """For methods that draw random numbers: equal seeds, equal results."""


@dataclass(frozen=True, eq=False)
class Restored:
    """What a method gives back."""

    image: Pixels
    """Of the request's size."""
    reasoning: Reasoning | None = None
    """What the method thought about the picture, for those that say."""
    steps: tuple[str, ...] = ()
    """What was done, one name after the other, for chains."""


class Method(ABC):
    """A restorer under evaluation.

    A subclass sets ``version`` (raised when results change, so that old rows are not taken for new ones) and defines
    :meth:`restore`. It may set ``prompts``, and take the keys of its specification as arguments of ``__init__``, all
    strings: ``python:mine.py:Mine,k=2`` is ``Mine(k="2")``.
    """

    version: str
    """Set here or, at the latest, by :meth:`prepare`."""
    timed: bool = True
    """False where nothing is computed, so that its time would say nothing."""
    prompts: tuple[Prompt, ...] = ("none",)
    """The instructions it is run with, each a row of the table."""

    def prepare(self) -> None:  # noqa: B027 - a hook; most methods have nothing to load
        """Load what is heavy; called once, before the first picture and outside all measurements.

        Raises:
            CoTIRError: it cannot run; the others do, and the next run tries it again.
        """

    def release(self) -> None:  # noqa: B027 - as above
        """Give memory back; called after its last picture."""

    @abstractmethod
    def restore(self, request: Request) -> Restored:
        """Restore one picture.

        Raises:
            CoTIRError: this picture cannot be restored; it is counted as missing, and the rest go on.
        """

    def model_bytes(self) -> int:
        """Bytes of the weights it runs with; 0 without any."""
        return 0
