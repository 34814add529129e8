"""From the arguments of a call to one job per picture: what to restore, by which words, from which noise."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import torch

from cotir.errors import ConfigError, PromptError
from cotir.image import Canvas, Picture
from cotir.prompts import DEFAULT_INSTRUCTION

Seeds = int | Sequence[int]
Generators = torch.Generator | Sequence[torch.Generator]


@dataclass(frozen=True)
class Job:
    """One picture on its way through the model."""

    picture: Picture
    canvas: Canvas
    prompt: str
    seed: int

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the canvas in pixels."""
        return self.canvas.tensor.shape[-2], self.canvas.tensor.shape[-1]


def make_jobs(
    image: Any, prompt: str | Sequence[str] | None, seed: Seeds, generator: Generators | None, *, multiple: int
) -> list[Job]:
    """Read the pictures and give each its instruction, its seed and its canvas.

    Args:
        image: anything :meth:`cotir.image.Picture.of` takes, or a list of such things.
        prompt: one instruction for all, one per picture, or None for the default.
        seed: one for all, or one per picture.
        generator: draws the seeds instead; one for all in turn, or one per picture.
        multiple: side in pixels of a cell of the latent grid.

    Raises:
        ImageError: a picture cannot be read.
        PromptError: an instruction is empty.
        ConfigError: there are more or fewer prompts, seeds or generators than pictures.
    """
    pictures = [Picture.of(value) for value in (image if isinstance(image, list | tuple) else [image])]
    prompts = _spread(DEFAULT_INSTRUCTION if prompt is None else prompt, len(pictures), "prompt")
    for index, text in enumerate(prompts):
        if not isinstance(text, str) or not text.strip():
            raise PromptError(
                f"the prompt of picture {index + 1} is {text!r}; give words, or None for {DEFAULT_INSTRUCTION!r}"
            )
    seeds = _seeds(seed, generator, len(pictures))
    return [
        Job(picture, Canvas.fit(picture, multiple), text, number)
        for picture, text, number in zip(pictures, prompts, seeds, strict=True)
    ]


def batches(jobs: Sequence[Job], batch_size: int) -> Iterator[list[Job]]:
    """Neighbours of equal size, at most ``batch_size`` together, in order."""
    for _, group in groupby(jobs, key=lambda job: job.size):
        equal = list(group)
        for start in range(0, len(equal), batch_size):
            yield equal[start : start + batch_size]


def _spread(value: Any, count: int, name: str) -> list[Any]:
    """One value for all, or one each."""
    if isinstance(value, str | int):
        return [value] * count
    if len(value) != count:
        raise ConfigError(f"{len(value)} {name}s for {count} pictures; give one for all, or one for each")
    return list(value)


def _seeds(seed: Seeds, generator: Generators | None, count: int) -> list[int]:
    if generator is None:
        return _spread(seed, count, "seed")
    sources = [generator] * count if isinstance(generator, torch.Generator) else _spread(generator, count, "generator")
    return [int(torch.randint(2**62, (), generator=source, device=source.device)) for source in sources]
