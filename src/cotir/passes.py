"""Pictures of one size through the model: in overlapping windows, and at as many scales as they need.

One pass is one step of the model on one window of one batch.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from cotir.adapter import CoTOutput
from cotir.backbones import Backbone
from cotir.encode import TextTokens, condition, decode_image, encode_image, to_grid, to_tokens
from cotir.image import Picture
from cotir.jobs import Job, batches
from cotir.looking import Sight
from cotir.nano import CoTNanoTransformer2DModel
from cotir.read_out import ReadOut
from cotir.sampling import StepCallback, denoise, draw_noise
from cotir.scales import Tone, reduced, sizes
from cotir.tiling import Blend, Window, spread, windows
from cotir.transformer import CoTTransformer

LOOKS = 4
"""Windows of a large picture that are enough to say what is wrong with it."""


@dataclass(frozen=True)
class Request:
    """What holds for every picture of a call."""

    steps: int
    predict_reasoning: bool
    on_step: StepCallback
    """Called after every pass."""


@dataclass(frozen=True)
class Restored:
    """A restored picture, and what is known of it now."""

    sight: Sight
    picture: Picture


@dataclass(frozen=True)
class _Laid:
    """Pictures of one size as the model takes them: canvas (B, 3, H, W), instructions, and a seed of the noise each."""

    canvas: Tensor
    text: TextTokens
    seeds: list[int]


@dataclass(frozen=True)
class _Passed:
    """What came of a window: clean latents (B, C, h, w) and what was thought, if that was asked for."""

    place: Window
    latent: Tensor
    thought: CoTOutput | None


@dataclass(frozen=True)
class Passes:
    """A model at work.

    Attributes:
        transformer: of the backbone.
        vae: of the backbone.
        backbone: window, overlap, latent grid and schedule.
        device: where passes run; pictures come back to the CPU.
        encode_text: instructions to tokens.
    """

    transformer: CoTTransformer | CoTNanoTransformer2DModel
    vae: torch.nn.Module
    backbone: Backbone
    device: torch.device
    encode_text: Callable[[Sequence[str]], TextTokens]

    def restore(self, batch: Sequence[Job], request: Request) -> tuple[Tensor, list[CoTOutput]]:
        """Restore pictures of equal size.

        Returns:
            Pixels (B, 3, H, W) in about [-1, 1], float32 on the CPU, and a thought each, if they are asked for: the
            mean over the windows of the finest scale.
        """
        laid = self._lay(batch)
        coarse, *finer = reversed(self._sizes(batch[0]))
        pixels, thoughts = self._restore_scale(laid, coarse, request)
        for size in finer:
            pixels, thoughts = self._restore_scale(laid, size, request, Tone(pixels, size))
        return pixels, CoTOutput.mean(thoughts).split() if thoughts else []

    def restore_all(
        self, sights: Sequence[Sight], batch_size: int, request: Request, read_out: ReadOut | None
    ) -> Iterator[Restored]:
        """Restore pictures one after another, neighbours of equal size together.

        Args:
            sights: of the pictures.
            batch_size: pictures that go through the model together, at most.
            request: for all of them.
            read_out: reads what is thought about them, if the request asks for that; None where nobody wants words.
        """
        waiting = iter(sights)
        for batch in batches([sight.job for sight in sights], batch_size):
            pixels, thoughts = self.restore(batch, request)
            for index, job in enumerate(batch):
                sight = next(waiting)
                known = sight.after(thoughts[index], read_out) if request.predict_reasoning else sight
                yield Restored(known, job.picture.replace_pixels(job.canvas.crop(pixels[index : index + 1])))

    def look(self, job: Job, on_step: StepCallback) -> CoTOutput:
        """What is thought about a picture in one step, without restoring it, on :data:`LOOKS` windows at most."""
        request = Request(1, predict_reasoning=True, on_step=on_step)
        passes = self._passes(self._lay([job]), self._looks(job), request)
        return CoTOutput.mean([passed.thought for passed in passes if passed.thought is not None])

    def count(self, jobs: Sequence[Job], steps: int, batch_size: int) -> int:
        """Passes that it takes to restore all."""
        restored = [size for batch in batches(jobs, batch_size) for size in self._sizes(batch[0])]
        return steps * sum(len(self._windows(size)) for size in restored)

    def count_looks(self, jobs: Sequence[Job]) -> int:
        """Passes that it takes to look at each."""
        return sum(len(self._looks(job)) for job in jobs)

    def _lay(self, batch: Sequence[Job]) -> _Laid:
        canvas = torch.cat([job.canvas.tensor for job in batch])
        return _Laid(canvas, self.encode_text([job.prompt for job in batch]), [job.seed for job in batch])

    def _restore_scale(
        self, laid: _Laid, size: tuple[int, int], request: Request, tone: Tone | None = None
    ) -> tuple[Tensor, list[CoTOutput]]:
        """Pixels at one size, in the tone of a coarser one if there is one, and what was thought in each window."""
        if size != laid.canvas.shape[-2:]:
            laid = _Laid(reduced(laid.canvas, size), laid.text, laid.seeds)
        blend, thoughts = Blend(len(laid.seeds), *size, self.backbone.overlap), []
        for passed in self._passes(laid, self._windows(size), request):
            pixels = decode_image(self.vae, passed.latent).float().cpu()
            blend.add(passed.place, pixels if tone is None else tone.given_to(pixels, passed.place))
            thoughts += [] if passed.thought is None else [passed.thought]
        return blend.result(), thoughts

    def _passes(self, laid: _Laid, places: Sequence[Window], request: Request) -> Iterator[_Passed]:
        height, width = laid.canvas.shape[-2:]
        cell = self.backbone.pixels_per_token
        # One noise field per picture: a window sees its part of it, so neighbouring windows agree.
        noise = draw_noise((self.transformer.latent_channels, height // cell, width // cell), laid.seeds)
        for place in places:
            latents = encode_image(self.vae, place.cut(laid.canvas).to(self.device))
            given = condition(self.backbone, latents, laid.text).to(self.device, self.transformer.dtype)
            result = denoise(
                self.transformer,
                to_tokens(place.cut(noise, cell)).to(self.device),
                given,
                self.backbone.schedule(request.steps, given.rows * given.columns),
                predict_reasoning=request.predict_reasoning,
                on_step=request.on_step,
            )
            yield _Passed(place, to_grid(result.latent, given.rows, given.columns), result.reasoning)

    def _sizes(self, job: Job) -> list[tuple[int, int]]:
        return sizes(*job.size, self.backbone)

    def _windows(self, size: tuple[int, int]) -> list[Window]:
        return windows(*size, self.backbone.window, self.backbone.overlap, self.backbone.pixels_per_token)

    def _looks(self, job: Job) -> list[Window]:
        return spread(self._windows(job.size), LOOKS)
