"""What the transformer is conditioned on: text as diffusers' own pipelines encode it, latents, positions."""

import copy

import pytest
import torch
from accelerate import cpu_offload_with_hook
from diffusers.pipelines.flux.pipeline_flux import FluxPipeline
from diffusers.pipelines.flux2.pipeline_flux2_klein import Flux2KleinPipeline
from transformers import BertConfig, BertModel

from cotir.autoencoder import PatchAutoencoder
from cotir.backbones import BACKBONES, FLUX1, FLUX2, NANO
from cotir.encode import (
    TextTokens,
    bert_tokens,
    condition,
    decode_image,
    encode_image,
    encode_text,
    qwen3_tokens,
    t5_clip_tokens,
    to_grid,
    to_tokens,
)
from cotir.errors import ConfigError
from golden_vae import golden_vae
from tiny_encoders import WORDS, qwen3, t5_and_clip, tokenizer

TEXTS = ["remove the haze", "please remove the noise and the blur from this picture"]


@pytest.fixture(scope="module")
def qwen():
    return qwen3()


@pytest.fixture(scope="module")
def t5_clip():
    return t5_and_clip()


@pytest.fixture(scope="module")
def bert():
    torch.manual_seed(0)
    words = tokenizer(64, "<s> $A </s>")
    config = BertConfig(
        vocab_size=len(words), hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16
    )
    return {"tokenizer": words, "text_encoder": BertModel(config).eval()}


def random(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


# --- text -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("length", [24, 512])
def test_qwen3_is_read_as_flux2_klein_reads_it(qwen, length):
    found = qwen3_tokens(**args(qwen), texts=TEXTS, length=length)
    with torch.no_grad():
        wanted = Flux2KleinPipeline._get_qwen3_prompt_embeds(**qwen, prompt=TEXTS, max_sequence_length=length)
    assert torch.equal(found.embeddings, wanted)
    assert found.embeddings.shape == (2, length, 48)
    assert found.pooled is None
    # <turn> user TEXT </turn> <turn> assistant <nothought>
    assert found.mask.sum(dim=1).tolist() == [len(text.split()) + 6 for text in TEXTS]


def args(parts):
    """Components under the names of the functions' arguments."""
    return {key.replace("text_", ""): value for key, value in parts.items()}


@pytest.mark.parametrize("length", [24, 512])
def test_t5_and_clip_are_read_as_flux1_reads_them(t5_clip, length):
    found = t5_clip_tokens(**args(t5_clip), texts=TEXTS, length=length)
    pipeline = FluxPipeline(scheduler=None, vae=None, transformer=None, **t5_clip)
    with torch.no_grad():
        wanted, pooled, _ = pipeline.encode_prompt(TEXTS, prompt_2=None, max_sequence_length=length)
    assert torch.equal(found.embeddings, wanted)
    assert torch.equal(found.pooled, pooled)
    assert found.mask.sum(dim=1).tolist() == [len(text.split()) + 1 for text in TEXTS]
    assert not torch.equal(found.pooled[0], found.pooled[1])


def test_tokens_go_where_an_offloaded_encoder_runs():
    parts = t5_and_clip()
    for encoder in (parts["text_encoder"], parts["text_encoder_2"]):
        cpu_offload_with_hook(encoder, "meta")
    found = t5_clip_tokens(**args(parts), texts=TEXTS, length=24)
    assert {found.embeddings.device.type, found.mask.device.type, found.pooled.device.type} == {"meta"}


def test_bert_is_zero_at_padding_and_independent_of_the_batch(bert):
    together = bert_tokens(**args(bert), texts=TEXTS, length=16)
    assert together.mask.sum(dim=1).tolist() == [len(text.split()) + 2 for text in TEXTS]
    assert together.embeddings.shape == (2, 16, 16)
    assert torch.equal(together.embeddings.abs().sum(dim=-1) > 0, together.mask.bool())
    for index, text in enumerate(TEXTS):
        alone = bert_tokens(**args(bert), texts=[text], length=16)
        torch.testing.assert_close(alone.embeddings[0], together.embeddings[index], rtol=0, atol=1e-6)
        longer = bert_tokens(**args(bert), texts=[text], length=32)
        torch.testing.assert_close(longer.embeddings[0, :16], alone.embeddings[0], rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("backbone", "parts", "shape"),
    [(NANO, "bert", (1, 48, 16)), (FLUX1, "t5_clip", (1, 512, 48)), (FLUX2, "qwen", (1, 512, 48))],
    ids=["nano", "flux1", "flux2"],
)
def test_each_backbone_finds_its_encoders_and_cuts_long_texts(request, backbone, parts, shape):
    text = encode_text(backbone, request.getfixturevalue(parts), [" ".join(WORDS * 40)])
    assert text.embeddings.shape == shape
    assert text.mask.all()
    assert (text.pooled is not None) == (backbone is FLUX1)
    assert not text.embeddings.requires_grad


# --- latents ----------------------------------------------------------------------------------------------------------


def vae_of(name):
    return PatchAutoencoder() if name == "nano" else golden_vae(name)


@pytest.mark.parametrize("name", list(BACKBONES))
@torch.no_grad()
def test_latents_have_one_cell_per_token(name):
    latents = encode_image(vae_of(name), random(2, 3, 32, 48).clamp(-1, 1))
    cell = BACKBONES[name].pixels_per_token
    assert latents.shape == (2, 192 if name == "nano" else 16, 32 // cell, 48 // cell)
    assert decode_image(vae_of(name), latents).shape == (2, 3, 32, 48)
    assert torch.equal(to_grid(to_tokens(latents), *latents.shape[-2:]), latents)


@torch.no_grad()
def test_an_offloaded_autoencoder_works_where_it_runs(family):
    """The meta device in place of an accelerator: statistics left behind on the CPU would not mix with it."""
    pixels, latents = torch.zeros(1, 3, 32, 32, device="meta"), torch.zeros(1, 16, 2, 2, device="meta")
    for function, given in ((encode_image, pixels), (decode_image, latents)):
        vae = copy.deepcopy(golden_vae(family))
        cpu_offload_with_hook(vae, "meta")
        assert function(vae, given).device.type == "meta"


@torch.no_grad()
def test_latents_are_the_mean_and_draw_no_random_number(family):
    pixels = random(1, 3, 32, 32).clamp(-1, 1)
    state = torch.get_rng_state()
    first, second = (encode_image(golden_vae(family), pixels) for _ in range(2))
    assert torch.equal(first, second)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(("function", "verb"), [(encode_image, "encode"), (decode_image, "decode")])
def test_an_unknown_autoencoder_is_an_error(function, verb):
    with pytest.raises(
        ConfigError, match=f"cannot {verb} with a Linear; use AutoencoderKL, AutoencoderKLFlux2, PatchAutoencoder"
    ):
        function(torch.nn.Linear(1, 1), random(1, 3, 16, 16))


# --- Conditioning -----------------------------------------------------------------------------------------------------


def conditioning(name):
    text = TextTokens(random(2, 5, 8), torch.ones(2, 5, dtype=torch.long), random(2, 4) if name == "flux1" else None)
    return condition(BACKBONES[name], random(2, 16, 3, 4), text)


@pytest.mark.parametrize("name", list(BACKBONES))
def test_condition(name):
    given, backbone = conditioning(name), BACKBONES[name]
    assert (given.rows, given.columns) == (3, 4)
    assert torch.equal(to_grid(given.reference, 3, 4), random(2, 16, 3, 4))
    target, reference = given.img_ids.split(12)
    assert torch.equal(target[:, 1:], reference[:, 1:])
    assert target[:, 0].unique().tolist() == [0]
    assert reference[:, 0].unique().tolist() == [backbone.reference_time]
    assert target[5, 1:3].tolist() == [1, 1]  # reading order
    assert given.txt_ids.shape == (5, backbone.position_axes)
    assert given.guidance is None if backbone.guidance is None else given.guidance.tolist() == [4, 4]

    needed = {"encoder_hidden_states", "img_ids", "txt_ids"}
    assert given.arguments().keys() == needed | ({"pooled_projections", "guidance"} if name == "flux1" else set())


@pytest.mark.parametrize("name", list(BACKBONES))
def test_to_casts_numbers_and_leaves_positions_exact(name):
    given = conditioning(name)
    moved = given.to(torch.device("meta"), torch.bfloat16)
    numbers = [moved.reference, moved.text.embeddings]
    exact = [moved.img_ids, moved.txt_ids]
    if name == "flux1":
        numbers.append(moved.text.pooled)
        exact.append(moved.guidance)
    assert {x.dtype for x in numbers} == {torch.bfloat16}
    assert {x.dtype for x in exact} == {torch.float32}
    assert {x.device.type for x in (*numbers, *exact, moved.text.mask)} == {"meta"}
    assert moved.text.mask.dtype == torch.long
    assert (moved.rows, moved.columns) == (given.rows, given.columns)
    assert given.reference.dtype == torch.float32
