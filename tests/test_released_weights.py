import hashlib
import json
import os

import pytest
import torch
from safetensors.torch import load_file

import cotir.storage
from cotir.errors import ConfigError, WeightsError
from cotir.lora import attach_empty, branches, lora_config, lora_state
from cotir.presets import PRESETS
from cotir.released_weights import (
    adapter_rules,
    convert_released,
    from_released,
    identify,
    lora_rules,
    read_pickle,
    to_released,
)
from cotir.storage import shapes
from cotir.weights import empty_transformer, load_transformer
from golden_model import TINY, inputs, part, write_released

FULL = ("4b", "9b", "12b")
MODULES = {"4b": 42, "9b": 50, "12b": 116}
"""LoRA modules of the released checkpoints."""


def released_lora_shapes(preset, rank=96):
    """What a released ``lora.pt`` holds, from the released model's definition."""
    h = preset.hidden
    latent = preset.transformer["in_channels"]
    # (inputs, outputs) of every adapted layer
    layers = {"final_layer.linear": (h, latent), "final_layer.adaLN_modulation.1": (h, 2 * h)}
    for i in range(preset.transformer["num_single_layers"]):
        block = f"single_blocks.{i}"
        if preset.backbone.name == "flux1":
            layers |= {
                f"{block}.linear1": (h, 7 * h),
                f"{block}.linear2": (5 * h, h),
                f"{block}.modulation.lin": (h, 3 * h),
            }
        else:
            layers |= {f"{block}.linear1": (h, 9 * h), f"{block}.linear2": (4 * h, h)}
    state = {}
    for name, (inputs_, outputs) in layers.items():
        r = min(rank, inputs_, outputs)
        state[f"{name}.lora_A.weight"] = (r, inputs_)
        state[f"{name}.lora_B.weight"] = (outputs, r)
        state[f"{name}.lora_B.bias"] = (outputs,)
    return state


def released_adapter_shapes(preset):
    """What a released ``cot_adapter.pt`` holds, from the released model's definition."""
    h, text = preset.hidden, preset.transformer["joint_attention_dim"]
    linears = {"degradation_layer": (h, h), "sharpness_layer": (h, h), "planning_layer": (2 * h, h)}
    state = {}
    for name in ("degradation", "sharpness", "planning"):
        linears[f"final_{name}_layer.linear"] = (h, text)
        linears[f"final_{name}_layer.adaLN_modulation.1"] = (h, 2 * h)
        state[f"cot_adapter.scale_{name}"] = (1,)
    for i in range(preset.cot_depth):
        linears |= {
            f"decoder.{i}.linear1": (h, 7 * h),
            f"decoder.{i}.linear2": (5 * h, h),
            f"decoder.{i}.modulation.lin": (h, 3 * h),
        }
        for norm in ("query_norm", "key_norm"):
            state[f"cot_adapter.decoder.{i}.norm.{norm}.scale"] = (preset.transformer["attention_head_dim"],)
    for name, (inputs_, outputs) in linears.items():
        state |= {f"cot_adapter.{name}.weight": (outputs, inputs_), f"cot_adapter.{name}.bias": (outputs,)}
    return state


def tensors(shapes_):
    """Tensors of any size that take no memory."""
    return {key: torch.zeros(()).expand(shape) for key, shape in shapes_.items()}


def count(shapes_):
    return sum(torch.Size(shape).numel() for shape in shapes_.values())


def damaged(folder, file, change):
    state = torch.load(folder / file, weights_only=True)
    change(state)
    torch.save(state, folder / file)


@pytest.mark.parametrize("name", FULL)
def test_full_size_lora_maps_one_to_one(name):
    preset = PRESETS[name]
    released = released_lora_shapes(preset)
    assert len(released) == 3 * MODULES[name]
    assert count(released) == preset.parameters.lora
    model = empty_transformer(preset)
    attach_empty(model, lora_config(model, preset.lora_rank, preset.lora_scale))
    rules, ours = lora_rules(model), shapes(lora_state(model))
    assert {rule.ours for rule in rules} == ours.keys()
    assert {rule.released for rule in rules} == released.keys()
    assert shapes(from_released(tensors_on_meta(released), rules, ours, source="lora.pt")) == ours
    if name == "12b":
        assert released["final_layer.linear.lora_A.weight"] == (64, 3072)
        assert ours["proj_out.lora_B.weight"] == (64, 64)


@pytest.mark.parametrize("name", FULL)
def test_full_size_adapter_maps_one_to_one(name):
    preset = PRESETS[name]
    released = released_adapter_shapes(preset)
    assert len(released) == 69
    assert count(released) == preset.parameters.adapter
    model = empty_transformer(preset)
    rules, ours = adapter_rules(model), shapes(model.cot_adapter.state_dict())
    assert {rule.released for rule in rules} == released.keys()
    assert shapes(from_released(tensors_on_meta(released), rules, ours, source="cot_adapter.pt")) == ours


def tensors_on_meta(shapes_):
    return {key: torch.empty(shape, device="meta") for key, shape in shapes_.items()}


@pytest.mark.parametrize("name", FULL)
def test_a_checkpoint_is_identified_by_its_sizes(name):
    preset = PRESETS[name]
    assert identify(tensors(released_lora_shapes(preset)), tensors(released_adapter_shapes(preset))) is preset


def test_sizes_of_no_preset(family):
    with pytest.raises(
        WeightsError, match=r"fits no preset: it has .*single_blocks=3, hidden=64, text=48.*4b: .*12b: "
    ):
        identify(part(family, "lora."), part(family, "cot."))


def test_asking_for_the_wrong_size_says_which_it_is(tmp_path):
    released = tmp_path / "released"
    released.mkdir()
    torch.save(tensors(released_lora_shapes(PRESETS["9b"])), released / "lora.pt")
    torch.save(tensors(released_adapter_shapes(PRESETS["9b"])), released / "cot_adapter.pt")
    with pytest.raises(WeightsError, match=r"should be \[.*; these are 9b sizes, you asked for 4b$"):
        convert_released(released, tmp_path / "out", "4b")
    assert [path.name for path in tmp_path.iterdir()] == ["released"]


def test_conversion_is_exact_both_ways(imported, family):
    model = load_transformer(imported[family].base, imported[family].adapter)
    for ours, rules, wanted in (
        (lora_state(model), lora_rules(model), part(family, "lora.")),
        (model.cot_adapter.state_dict(), adapter_rules(model), part(family, "cot.")),
    ):
        found = to_released(ours, rules)
        assert found.keys() == wanted.keys()
        assert all(torch.equal(found[key], wanted[key]) for key in wanted)


def test_the_way_back_needs_tied_a(imported):
    model = load_transformer(imported["flux1"].base, imported["flux1"].adapter)
    state = dict(lora_state(model))
    state["single_transformer_blocks.0.attn.to_v.lora_A.weight"] = state["proj_out.lora_A.weight"] + 1
    with pytest.raises(
        WeightsError, match=r"differ, and the released layout has one single_blocks\.0\.linear1\.lora_A"
    ):
        to_released(state, lora_rules(model))


def test_the_folder_says_what_it_is(imported, family):
    folders = imported[family]
    described = json.loads((folders.adapter / "cotir.json").read_text(encoding="utf-8"))
    digests = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folders.released.iterdir()}
    assert described == {
        "preset": f"tiny-{family}",
        "backbone": family,
        "base": "tiny",
        "rank": 4,
        "scale": 1.0,
        "depth": 2,
        "mlp_ratio": 4.0,
        "format": 1,
        "sources": digests,
    }
    assert digests.keys() == {"lora.pt", "cot_adapter.pt"}


def test_dtype_is_kept(family, tmp_path):
    released = write_released(family, tmp_path / "released")
    for file in ("lora.pt", "cot_adapter.pt"):
        damaged(released, file, lambda state: state.update({key: value.bfloat16() for key, value in state.items()}))
    convert_released(released, tmp_path / "out", TINY[family])
    for file in ("cot_adapter.safetensors", "lora/adapter_model.safetensors"):
        assert {value.dtype for value in load_file(tmp_path / "out" / file).values()} == {torch.bfloat16}


def test_rank_and_scale_are_the_checkpoints(imported, family, tmp_path):
    """A rank above the output layer's width and a scale other than one, against the sum written out by hand."""
    released = write_released(family, tmp_path / "released")
    source = torch.Generator().manual_seed(3)
    lora = {
        key: 0.1 * torch.randn(shape, generator=source)
        for key, shape in released_lora_shapes(TINY[family], rank=24).items()
    }
    torch.save(lora, released / "lora.pt")
    manifest = convert_released(released, tmp_path / "out", TINY[family], scale=0.7)
    assert (manifest.rank, manifest.scale) == (24, 0.7)
    model = load_transformer(imported[family].base, tmp_path / "out")
    assert branches(model)["proj_out"].down.weight.shape == (16, 64)

    by_hand = load_transformer(imported[family].base, tmp_path / "out")
    by_hand.disable_adapters()
    names = {rule.ours: rule for rule in lora_rules(model)}
    for name, branch in branches(by_hand).items():
        rule = names[f"{name}.lora_B.weight"]
        module = rule.released.removesuffix(".lora_B.weight")
        rows = torch.cat([torch.arange(*r) for r in rule.rows]) if rule.rows else slice(None)
        delta = (lora[f"{module}.lora_B.weight"] @ lora[f"{module}.lora_A.weight"])[rows]
        branch.base.weight.data = branch.base.weight + 0.7 * delta
        branch.base.register_forward_hook(
            lambda _module, _inputs, output, bias=0.7 * lora[f"{module}.lora_B.bias"][rows]: output + bias
        )
    with torch.no_grad():
        found, wanted = (m(**inputs(family)).sample for m in (model, by_hand))
    assert (found - wanted).abs().max() <= 1e-5
    assert (found - load_transformer(imported[family].base)(**inputs(family)).sample).abs().max() > 0.1


@pytest.mark.parametrize("file", ["lora.pt", "cot_adapter.pt"])
def test_every_released_tensor_is_accounted_for(family, tmp_path, file):
    released = write_released(family, tmp_path / "released")
    state = torch.load(released / file, weights_only=True)
    key = sorted(state)[-1]
    damaged(released, file, lambda state: state.update({"stray": state.pop(key)}))
    with pytest.raises(WeightsError) as caught:
        convert_released(released, tmp_path / "out", TINY[family])
    assert str(caught.value) == f"{released / file} does not fit; 1 missing ({key}); 1 unexpected (stray)"
    assert [path.name for path in tmp_path.iterdir()] == ["released"]


def test_a_released_tensor_of_the_wrong_shape(family, tmp_path):
    released = write_released(family, tmp_path / "released")
    key = "cot_adapter.decoder.0.linear1.weight"
    damaged(released, "cot_adapter.pt", lambda state: state.update({key: state[key][:-1]}))
    with pytest.raises(WeightsError, match=r"decoder\.0\.linear1\.weight is \[447, 64\] and should be \[448, 64\]"):
        convert_released(released, tmp_path / "out", TINY[family])


class Malicious:
    def __reduce__(self):
        return (os.system, ("touch executed",))


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda path: torch.save({"a": Malicious()}, path), "is not a torch file of plain tensors"),
        (lambda path: path.write_bytes(b"garbage"), "is not a torch file of plain tensors"),
        (lambda path: torch.save({"a": {"b": torch.ones(1)}}, path), "does not hold a flat dictionary of tensors"),
        (lambda path: torch.save([torch.ones(1)], path), "does not hold a flat dictionary of tensors"),
        (
            lambda path: None,
            r"lora\.pt does not exist: a released checkpoint is a folder with lora\.pt and cot_adapter",
        ),
    ],
)
def test_a_file_that_is_no_state_dict(tmp_path, monkeypatch, write, message):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "lora.pt")
    with pytest.raises(WeightsError, match=message):
        read_pickle(tmp_path / "lora.pt")
    assert not (tmp_path / "executed").exists()


def test_a_lora_file_without_lora(family, tmp_path):
    released = write_released(family, tmp_path / "released")
    torch.save({"a": torch.ones(1)}, released / "lora.pt")
    with pytest.raises(WeightsError, match=r"lora\.pt holds no LoRA"):
        convert_released(released, tmp_path / "out", TINY[family])


def test_an_unknown_preset(family, tmp_path):
    released = write_released(family, tmp_path / "released")
    with pytest.raises(ConfigError, match="no preset '7b'"):
        convert_released(released, tmp_path / "out", "7b")


def test_conversion_overwrites_nothing(imported, family):
    folders = imported[family]
    before = (folders.adapter / "cotir.json").stat().st_mtime_ns
    with pytest.raises(WeightsError, match="exists: choose another place, or remove it first"):
        convert_released(folders.released, folders.adapter, TINY[family])
    assert (folders.adapter / "cotir.json").stat().st_mtime_ns == before


def test_a_full_disk_leaves_nothing(family, tmp_path, monkeypatch):
    released = write_released(family, tmp_path / "released")
    write = cotir.storage.save_file

    def fail_on_the_lora(tensors_, path, metadata):
        if path.name == "adapter_model.safetensors":
            raise OSError("no space left on device")
        write(tensors_, path, metadata)

    monkeypatch.setattr(cotir.storage, "save_file", fail_on_the_lora)
    with pytest.raises(OSError, match="no space left"):
        convert_released(released, tmp_path / "out", TINY[family])
    assert [path.name for path in tmp_path.iterdir()] == ["released"]
