"""What a pipeline gives back."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from diffusers.utils.outputs import BaseOutput

from cotir.adapter import CoTOutput
from cotir.errors import ConfigError
from cotir.image import Picture
from cotir.reasoning import Reasoning

OutputType = Literal["pil", "np", "pt", "picture"]


@dataclass
class CoTIROutput(BaseOutput):
    """Restored pictures in the order they were given.

    ``images`` holds PIL images, float32 arrays (H, W, 3) in [0, 1], float32 tensors (3, H, W) in [0, 1] or
    :class:`~cotir.image.Picture` records, by ``output_type``. ``kept`` says which of them came back as they were given,
    because nothing better was to be expected. ``readings`` holds what was thought about each, in words,
    if it was asked for; ``thoughts`` the adapter's predictions it was read from, each (1, N_txt, D_txt).
    """

    images: list[Any]
    readings: list[Reasoning] | None = None
    thoughts: list[CoTOutput] | None = None
    kept: list[bool] | None = None

    @property
    def image(self) -> Any:
        """The restored picture, when there is exactly one.

        Raises:
            ConfigError: when there are several.
        """
        if len(self.images) != 1:
            raise ConfigError(f"this output holds {len(self.images)} pictures; take them from .images")
        return self.images[0]

    @property
    def reasoning(self) -> Reasoning:
        """What was thought about the picture, when there is exactly one.

        Raises:
            ConfigError: there are several, or reasoning was not asked for.
        """
        if self.readings is None:
            raise ConfigError("this output holds no reasoning; ask for it with explain=True")
        if len(self.readings) != 1:
            raise ConfigError(f"this output holds the reasoning of {len(self.readings)} pictures, in .readings")
        return self.readings[0]


def output_picture(picture: Picture, output_type: OutputType) -> Any:
    """A picture as the caller wants it."""
    if output_type == "picture":
        return picture
    if output_type == "pil":
        return picture.to_pil()
    if output_type == "np":
        return picture.pixels
    return torch.from_numpy(np.ascontiguousarray(picture.pixels.transpose(2, 0, 1)))
