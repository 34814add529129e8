"""The tiny random models the golden vectors were recorded from, brought in the way a user brings the released ones."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch
from diffusers.models.transformers.transformer_flux import FluxTransformer2DModel
from diffusers.models.transformers.transformer_flux2 import Flux2Transformer2DModel
from safetensors.torch import load_file

from cotir.backbones import FLUX1, FLUX2
from cotir.presets import Preset
from cotir.released_weights import Rows, Rule, convert_released, from_released
from cotir.storage import shapes

FAMILIES = ("flux1", "flux2")
GOLDEN = Path(__file__).parent / "golden"
HIDDEN = 64
SWAPPED_HALVES = ((HIDDEN, 2 * HIDDEN), (0, HIDDEN))

_SHAPE = {
    "in_channels": 16,
    "num_layers": 2,
    "num_single_layers": 3,
    "attention_head_dim": 32,
    "num_attention_heads": 2,
    "joint_attention_dim": 48,
}
_FLUX1_ONLY = {"pooled_projection_dim": 24, "guidance_embeds": True, "axes_dims_rope": (4, 14, 14)}
_FLUX2_ONLY = {"mlp_ratio": 3.0, "guidance_embeds": False, "axes_dims_rope": (8, 8, 8, 8), "rope_theta": 2000}
TINY = {
    family: Preset(
        name=f"tiny-{family}",
        backbone=backbone,
        base="tiny",
        licence="Apache-2.0",
        licence_url="",
        transformer=_SHAPE | own,
        lora_rank=4,
        cot_depth=2,
    )
    for family, backbone, own in (("flux1", FLUX1, _FLUX1_ONLY), ("flux2", FLUX2, _FLUX2_ONLY))
}
PLAIN = {"flux1": FluxTransformer2DModel, "flux2": Flux2Transformer2DModel}


@dataclass(frozen=True)
class Folders:
    """``base`` as diffusers saves it, ``released`` with the two pickles, ``adapter`` converted from them."""

    base: Path
    released: Path
    adapter: Path


@cache
def vectors(family):
    return load_file(GOLDEN / f"vectors_{family}.safetensors")


def part(family, prefix):
    """The vectors under a prefix, without it."""
    return {key.removeprefix(prefix): value for key, value in vectors(family).items() if key.startswith(prefix)}


def plain_model(family, norm_out=SWAPPED_HALVES):
    """The base alone, in diffusers' own class."""
    model = PLAIN[family](**TINY[family].transformer)
    rules = base_rules(family, norm_out)
    model.load_state_dict(from_released(part(family, "base."), rules, shapes(model.state_dict()), source="golden base"))
    return model.eval()


def write_released(family, folder):
    folder.mkdir()
    torch.save(part(family, "lora."), folder / "lora.pt")
    torch.save(part(family, "cot."), folder / "cot_adapter.pt")
    return folder


def write_folders(family, folder):
    folders = Folders(folder / "base", folder / "released", folder / "adapter")
    plain_model(family).save_pretrained(folders.base)
    write_released(family, folders.released)
    convert_released(folders.released, folders.adapter, TINY[family])
    return folders


def inputs(family, dtype=torch.float32):
    """Arguments of ``forward``, as the released code got them."""
    given = part(family, "fwd.in.")
    arguments = {
        "hidden_states": given["img"].to(dtype),
        "encoder_hidden_states": given["txt"].to(dtype),
        "timestep": given["timesteps"],
        "img_ids": given["img_ids"][0],
        "txt_ids": given["txt_ids"][0],
    }
    if family == "flux1":
        arguments |= {"pooled_projections": given["y"].to(dtype), "guidance": given["guidance"]}
    return arguments


def base_rules(family, norm_out=SWAPPED_HALVES):
    """Where diffusers' tensors are found in a released FLUX base, by the rules of the importer."""
    kinds = ("weight", "bias") if family == "flux1" else ("weight",)
    rules = []

    def linear(ours, released, rows: Rows = ()):
        rules.extend(Rule(f"{ours}.{kind}", f"{released}.{kind}", rows) for kind in kinds)

    def norms(ours, released):
        rules.extend(Rule(f"{ours[x]}.weight", f"{released}.{x}_norm.scale") for x in ("query", "key"))

    h = HIDDEN
    thirds = (((0, h),), ((h, 2 * h),), ((2 * h, 3 * h),))
    linear("x_embedder", "img_in")
    linear("context_embedder", "txt_in")
    linear("norm_out.linear", "final_layer.adaLN_modulation.1", norm_out)
    linear("proj_out", "final_layer.linear")
    embedders = (
        {"time": "timestep"} if family == "flux2" else {"time": "timestep", "guidance": "guidance", "vector": "text"}
    )
    home = "time_guidance_embed" if family == "flux2" else "time_text_embed"
    for released, ours in embedders.items():
        linear(f"{home}.{ours}_embedder.linear_1", f"{released}_in.in_layer")
        linear(f"{home}.{ours}_embedder.linear_2", f"{released}_in.out_layer")
    if family == "flux2":
        for name in ("double_stream_modulation_img", "double_stream_modulation_txt", "single_stream_modulation"):
            linear(f"{name}.linear", f"{name}.lin")
    feed = ("net.0.proj", "net.2") if family == "flux1" else ("linear_in", "linear_out")
    for i in range(_SHAPE["num_layers"]):
        ours, released = f"transformer_blocks.{i}", f"double_blocks.{i}"
        for name, rows in zip(("to_q", "to_k", "to_v"), thirds, strict=True):
            linear(f"{ours}.attn.{name}", f"{released}.img_attn.qkv", rows)
        for name, rows in zip(("add_q_proj", "add_k_proj", "add_v_proj"), thirds, strict=True):
            linear(f"{ours}.attn.{name}", f"{released}.txt_attn.qkv", rows)
        linear(f"{ours}.attn.to_out.0", f"{released}.img_attn.proj")
        linear(f"{ours}.attn.to_add_out", f"{released}.txt_attn.proj")
        norms({"query": f"{ours}.attn.norm_q", "key": f"{ours}.attn.norm_k"}, f"{released}.img_attn.norm")
        norms({"query": f"{ours}.attn.norm_added_q", "key": f"{ours}.attn.norm_added_k"}, f"{released}.txt_attn.norm")
        for stream, mlp in (("ff", "img_mlp"), ("ff_context", "txt_mlp")):
            linear(f"{ours}.{stream}.{feed[0]}", f"{released}.{mlp}.0")
            linear(f"{ours}.{stream}.{feed[1]}", f"{released}.{mlp}.2")
        if family == "flux1":
            linear(f"{ours}.norm1.linear", f"{released}.img_mod.lin")
            linear(f"{ours}.norm1_context.linear", f"{released}.txt_mod.lin")
    for i in range(_SHAPE["num_single_layers"]):
        ours, released = f"single_transformer_blocks.{i}", f"single_blocks.{i}"
        norms({"query": f"{ours}.attn.norm_q", "key": f"{ours}.attn.norm_k"}, f"{released}.norm")
        if family == "flux1":
            for name, rows in zip(("attn.to_q", "attn.to_k", "attn.to_v"), thirds, strict=True):
                linear(f"{ours}.{name}", f"{released}.linear1", rows)
            linear(f"{ours}.proj_mlp", f"{released}.linear1", ((3 * h, 7 * h),))
            linear(f"{ours}.proj_out", f"{released}.linear2")
            linear(f"{ours}.norm.linear", f"{released}.modulation.lin")
        else:
            linear(f"{ours}.attn.to_qkv_mlp_proj", f"{released}.linear1")
            linear(f"{ours}.attn.to_out", f"{released}.linear2")
    return rules
