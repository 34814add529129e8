"""The tiny autoencoders the golden vectors were recorded with, in diffusers' own classes."""

from functools import cache

from diffusers.loaders.single_file_utils import convert_ldm_vae_checkpoint
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.autoencoders.autoencoder_kl_flux2 import AutoencoderKLFlux2

from golden_model import part

_SHAPE = {
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "block_out_channels": (32,) * 4,
    "layers_per_block": 1,
    "latent_channels": 4,
}
_FLUX1_ONLY = {
    "scaling_factor": 0.3611,
    "shift_factor": 0.1159,
    "use_quant_conv": False,
    "use_post_quant_conv": False,
}


@cache
def golden_vae(family):
    """Shared between tests: change nothing in it."""
    vae = AutoencoderKL(**_SHAPE, **_FLUX1_ONLY) if family == "flux1" else AutoencoderKLFlux2(**_SHAPE)
    native = part(family, "ae.")
    for convolution in ("encoder.quant_conv", "decoder.post_quant_conv"):  # diffusers keeps them outside
        for kind in ("weight", "bias"):
            if f"{convolution}.{kind}" in native:
                native[f"{convolution.partition('.')[2]}.{kind}"] = native.pop(f"{convolution}.{kind}")
    state = convert_ldm_vae_checkpoint(native, _SHAPE) | {k: v for k, v in native.items() if k.startswith("bn.")}
    vae.load_state_dict({key: value.to(vae.state_dict()[key].dtype) for key, value in state.items()}, strict=True)
    return vae.eval()
