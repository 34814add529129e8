"""The pipeline as a caller uses it, on a tiny random nano."""

import socket

import numpy as np
import pytest
import torch
from PIL import Image

from cotir import CoTIRPipeline
from cotir.backbones import NANO
from cotir.errors import ConfigError, ImageError, PromptError
from cotir.image import Picture
from cotir.tiling import windows
from nano_model import TEXT_WIDTH, tiny_pipeline


@pytest.fixture(scope="module")
def pipeline():
    return tiny_pipeline()


def picture(seed, height=20, width=28):
    return np.random.default_rng(seed).random((height, width, 3), dtype=np.float32)


def restore(pipeline, image, *args, **options):
    return pipeline(image, *args, output_type="np", **options)


def test_it_changes_the_picture_and_keeps_its_size(pipeline):
    given = picture(0)
    restored = restore(pipeline, given).image
    assert restored.shape == given.shape
    assert np.abs(restored - given).max() > 0.01


@pytest.mark.parametrize("size", [(1, 1), (3, 200), (8, 8), (300, 20)])
def test_any_size(pipeline, size):
    assert restore(pipeline, picture(0, *size)).image.shape == (*size, 3)


def test_a_result_depends_on_its_own_picture_prompt_and_seed_alone(pipeline):
    pictures, prompts, seeds = [picture(i) for i in range(3)], ["brighten", "denoise", "dehaze"], [4, 5, 6]
    together = restore(pipeline, pictures, prompts, seed=seeds, steps=2).images
    reverse = restore(pipeline, pictures[::-1], prompts[::-1], seed=seeds[::-1], steps=2).images[::-1]
    for given, prompt, seed, a, b in zip(pictures, prompts, seeds, together, reverse, strict=True):
        alone = restore(pipeline, given, prompt, seed=seed, steps=2).image
        assert np.array_equal(alone, a)
        assert np.array_equal(alone, b)


def test_pictures_through_the_model_together(pipeline):
    """Larger matrices may round differently in the last bits, nothing more."""
    pictures, seeds = [picture(0), picture(1, 12, 12), picture(2), picture(3), picture(4)], [1, 2, 3, 4, 5]
    alone = restore(pipeline, pictures, seed=seeds, steps=2).images
    together = restore(pipeline, pictures, seed=seeds, steps=2, batch_size=2).images
    for a, b in zip(alone, together, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-5)


def test_the_seed_and_the_steps_matter(pipeline):
    given = picture(0)
    first = restore(pipeline, given, steps=3, seed=0).image
    assert np.array_equal(first, restore(pipeline, given, steps=3, seed=0).image)
    assert not np.array_equal(first, restore(pipeline, given, steps=3, seed=1).image)
    assert not np.array_equal(first, restore(pipeline, given, steps=2, seed=0).image)


def test_a_generator_gives_the_seeds(pipeline):
    pictures = [picture(0), picture(0)]
    first, second = restore(pipeline, pictures, generator=torch.Generator().manual_seed(3), steps=2).images
    assert not np.array_equal(first, second)
    generators = [torch.Generator().manual_seed(3) for _ in pictures]
    same, again = restore(pipeline, pictures, generator=generators, steps=2).images
    assert np.array_equal(same, again)
    assert np.array_equal(same, first)


def test_words_matter(pipeline):
    given = picture(0)
    assert not np.array_equal(restore(pipeline, given, "denoise").image, restore(pipeline, given, "invert it").image)


def test_save_and_load_is_exact(pipeline, tmp_path):
    pipeline.save_pretrained(tmp_path)
    again = CoTIRPipeline.from_pretrained(tmp_path)
    assert np.array_equal(restore(pipeline, picture(0)).image, restore(again, picture(0)).image)


def test_the_released_positions_are_no_option_of_a_whole_folder(nano_folder):
    with pytest.raises(ConfigError, match=r"rope='released' is for a base and an adapter; set it in .*config\.json"):
        CoTIRPipeline.from_pretrained(nano_folder, rope="released")


def test_output_types(pipeline):
    array = restore(pipeline, picture(0)).image
    image = pipeline(picture(0)).image
    assert isinstance(image, Image.Image)
    assert np.array_equal(np.asarray(image), np.rint(array * 255).astype(np.uint8))
    tensor = pipeline(picture(0), output_type="pt").image
    assert np.array_equal(tensor.permute(1, 2, 0).numpy(), array)
    assert isinstance(pipeline(picture(0), output_type="picture").image, Picture)


def test_what_a_picture_carries_comes_back(pipeline):
    rgba = np.random.default_rng(0).integers(0, 65536, (16, 16, 4), dtype=np.uint16)
    restored = pipeline(rgba, output_type="picture").image.to_array()
    assert restored.dtype == np.uint16
    assert np.array_equal(restored[..., 3], rgba[..., 3])
    gray = np.random.default_rng(0).integers(0, 256, (16, 16), dtype=np.uint8)
    assert pipeline(gray, output_type="picture").image.to_array().shape == (16, 16)


def test_strength_zero_returns_the_pixels(pipeline):
    given = picture(0)
    assert np.array_equal(restore(pipeline, given, strength=0).image, given)
    seen = []
    restore(pipeline, given, strength=0, on_progress=lambda *done: seen.append(done))
    assert not seen  # the model does not run for it
    half, full = (restore(pipeline, given, strength=s).image for s in (0.5, 1))
    np.testing.assert_allclose(half, (given + full) / 2, atol=1e-6)


def test_a_large_picture_goes_through_in_windows_and_reports_progress(pipeline):
    seen = []
    given = np.full((300, 520, 3), 0.5, dtype=np.float32)
    restored = restore(pipeline, [given, given[:40, :40]], steps=2, on_progress=lambda *done: seen.append(done))
    # 2 x 3 windows and the same picture smaller in one, and again in one, then 1 window, 2 steps each
    assert seen == [(i + 1, 18) for i in range(18)]
    assert [image.shape for image in restored.images] == [(300, 520, 3), (40, 40, 3)]


def test_step_callback_may_replace_the_latents(pipeline):
    seen = []

    def callback(pipe, step, time, tensors):
        seen.append((pipe is pipeline, step, round(time, 3), tensors["latents"].shape))
        return {"latents": torch.zeros_like(tensors["latents"])} if step == 1 else {}

    restored = restore(pipeline, picture(0, 16, 16), steps=2, callback_on_step_end=callback).image
    assert seen == [(True, 0, 0.5, (1, 4, 192)), (True, 1, 0.0, (1, 4, 192))]
    assert np.array_equal(restored, np.full_like(restored, 0.5))


def test_reasoning_is_returned_when_asked_for(pipeline):
    assert pipeline(picture(0)).thoughts is None
    pictures = [picture(0), picture(1)]
    thoughts = pipeline(pictures, predict_reasoning=True, batch_size=2).thoughts
    assert [thought.degradation.shape for thought in thoughts] == [(1, 48, TEXT_WIDTH)] * 2
    alone = pipeline(pictures[1], predict_reasoning=True).thoughts[0]
    torch.testing.assert_close(thoughts[1].plan, alone.plan, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"steps": 0}, ConfigError, "steps is 0; it must be at least 1"),
        ({"batch_size": 0}, ConfigError, "batch_size is 0"),
        ({"output_type": "jpeg"}, ConfigError, "output_type is 'jpeg'; choose one of pil, np, pt, picture"),
        ({"strength": 1.5}, ConfigError, "strength is 1.5"),
        ({"prompt": " "}, PromptError, "the prompt of picture 1 is ' '"),
        ({"prompt": ["a", "b"]}, ConfigError, "2 prompts for 1 pictures; give one for all, or one for each"),
        ({"seed": [1, 2]}, ConfigError, "2 seeds for 1 pictures"),
    ],
)
def test_bad_options_are_refused(pipeline, options, error, message):
    with pytest.raises(error, match=message):
        pipeline(picture(0), **options)


def test_a_missing_file_is_one_clear_error(pipeline):
    with pytest.raises(ImageError, match=r"nowhere\.jpg"):
        pipeline("nowhere.jpg")


def test_several_pictures_have_no_single_image(pipeline):
    with pytest.raises(ConfigError, match="this output holds 2 pictures"):
        _ = pipeline([picture(0), picture(1)]).image


@pytest.fixture(scope="module")
def bundled():
    return CoTIRPipeline.from_pretrained("nano")


def test_windows_of_the_bundled_model_leave_no_seam_on_a_flat_picture(bundled):
    """Where windows meet, neighbouring pixels differ no more than inside a window."""
    left, right = windows(64, 480, NANO.window, NANO.overlap, NANO.pixels_per_token)
    flat = restore(bundled, np.full((64, 480, 3), 0.5, dtype=np.float32)).image
    jump = np.abs(np.diff(flat, axis=1)).max(axis=(0, 2))
    start, end = right.left - 8, left.width + 8
    inside, seam = np.concatenate([jump[32:start], jump[end:-32]]), jump[start:end]
    assert seam.max() <= inside.max() + 1 / 255


def test_the_bundled_model_restores_offline(monkeypatch):
    def refuse(*_):
        raise AssertionError("the network was touched")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    restored = CoTIRPipeline.from_pretrained("nano")(picture(0, 40, 48)).image
    assert restored.size == (48, 40)


def test_strength_zero_runs_no_model_even_where_the_reasoning_can_be_read():
    nano = CoTIRPipeline.from_pretrained("nano")
    assert nano.read_out is not None
    nano.transformer.forward = None
    output = nano(picture(0), strength=0)
    assert output.readings is None
    with pytest.raises(ConfigError, match="holds no reasoning; ask for it with explain=True"):
        output.reasoning  # noqa: B018 - the property refuses
