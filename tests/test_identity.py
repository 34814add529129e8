"""The names of encoders: they survive saving and loading, and see whatever changes an embedding or a latent."""

import pytest
import torch

import tiny_encoders
from cotir.autoencoder import PatchAutoencoder
from cotir.backbones import FLUX1, FLUX2, NANO
from cotir.encode import encode_text
from cotir.errors import ConfigError
from cotir.identity import latent_identity, text_identity
from cotir.pipeline import CoTIRPipeline
from nano_model import tiny_pipeline


def of_nano(**changed):
    return {**tiny_pipeline().components, **changed}


def test_an_identity_survives_saving_loading_and_use(nano_folder):
    pipe, again = tiny_pipeline(), CoTIRPipeline.from_pretrained(nano_folder)
    before = text_identity(NANO, pipe.components)
    pipe.encode_prompt(["rain"])
    assert text_identity(NANO, pipe.components) == before == text_identity(NANO, again.components)
    assert before.startswith("text nano 48 BertTokenizer+BertModel ")
    assert latent_identity(pipe.vae) == latent_identity(again.vae)


@pytest.mark.parametrize(("backbone", "build"), [(FLUX1, tiny_encoders.t5_and_clip), (FLUX2, tiny_encoders.qwen3)])
def test_identities_of_flux_encoders_survive_saving_and_see_each_of_them(backbone, build, tmp_path):
    parts = build()
    identity = text_identity(backbone, parts)
    encode_text(backbone, parts, ["remove the haze"])
    for name, part in parts.items():
        part.save_pretrained(tmp_path / name)
    assert identity == text_identity(
        backbone, {name: type(part).from_pretrained(tmp_path / name) for name, part in parts.items()}
    )
    for name in parts:
        assert text_identity(backbone, {**parts, name: None}) != identity


def test_an_identity_sees_length_and_dtype():
    identity = text_identity(NANO, of_nano())
    assert text_identity(FLUX2, of_nano()) != identity
    assert text_identity(NANO, of_nano(text_encoder=tiny_pipeline().text_encoder.half())) != identity


@pytest.mark.parametrize("index", range(3))
def test_an_identity_sees_every_weight(index):
    components = of_nano()
    identity = text_identity(NANO, components)
    parameters = list(components["text_encoder"].parameters())
    with torch.no_grad():
        parameters[(index * len(parameters)) // 3].add_(0.01)
    assert text_identity(NANO, components) != identity


def test_an_identity_sees_the_configuration_and_the_tokenizer():
    identity = text_identity(NANO, of_nano())
    components = of_nano()
    components["text_encoder"].config.layer_norm_eps = 1e-5
    assert text_identity(NANO, components) != identity
    components = of_nano()
    components["tokenizer"].add_tokens(["dehaze"])
    assert text_identity(NANO, components) != identity
    components = of_nano()
    components["tokenizer"].chat_template = "{{ messages }}"
    assert text_identity(NANO, components) != identity


def test_a_latent_identity_sees_configuration_and_statistics():
    vae, other = PatchAutoencoder(), PatchAutoencoder()
    assert latent_identity(vae) == latent_identity(other) != latent_identity(PatchAutoencoder(patch_size=16))
    other.anchor += 1
    assert latent_identity(other) != latent_identity(vae)


def test_an_offloaded_encoder_is_refused():
    components = of_nano(text_encoder=tiny_pipeline().text_encoder.to("meta"))
    with pytest.raises(ConfigError, match="of BertModel is not in memory; take the identity before offloading"):
        text_identity(NANO, components)
