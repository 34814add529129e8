import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file

from cotir.errors import WeightsError
from cotir.lora import branches, fuse, lora_state
from cotir.presets import PRESETS
from cotir.weights import AdapterManifest, empty_transformer, load_transformer, save_adapter
from golden_model import TINY, inputs, plain_model, vectors

WEIGHTS = "diffusion_pytorch_model.safetensors"


@torch.no_grad()
def velocity(model, family):
    return model(**inputs(family)).sample


def rewrite(path, change):
    tensors = {key: value.clone() for key, value in load_file(path).items()}
    change(tensors)
    save_file(tensors, path)


@pytest.fixture
def folders(imported, family, tmp_path):
    """A copy that a test may damage."""
    return replace(
        imported[family],
        base=shutil.copytree(imported[family].base, tmp_path / "base"),
        adapter=shutil.copytree(imported[family].adapter, tmp_path / "adapter"),
    )


def test_nothing_stays_on_the_meta_device(imported, family):
    model = load_transformer(imported[family].base, imported[family].adapter)
    assert {tensor.device.type for tensor in [*model.parameters(), *model.buffers()]} == {"cpu"}
    assert not model.training
    assert not any(parameter.requires_grad for parameter in model.parameters())


@pytest.mark.skipif(sys.platform != "linux", reason="reads the memory map of the process from /proc")
def test_parameters_are_the_mapped_pages_of_the_files(imported, family):
    folders = imported[family]
    model = load_transformer(folders.base, folders.adapter)
    files = [folders.base / WEIGHTS, folders.adapter / "cot_adapter.safetensors"]
    files.append(folders.adapter / "lora" / "adapter_model.safetensors")
    mapped = [
        line.split()[0].split("-")
        for line in Path("/proc/self/maps").read_text(encoding="utf-8").splitlines()
        if line.endswith(tuple(map(str, files)))
    ]
    pages = [(int(start, 16), int(end, 16)) for start, end in mapped]
    copied = [
        name
        for name, parameter in model.named_parameters()
        if not any(start <= parameter.data_ptr() < end for start, end in pages)
    ]
    assert copied == []


def test_fusing_leaves_the_files_alone(folders, family):
    model = load_transformer(folders.base, folders.adapter)
    before = (folders.base / WEIGHTS).read_bytes()
    fuse(model)
    assert (folders.base / WEIGHTS).read_bytes() == before


def test_shards_load_like_one_file(imported, family, tmp_path):
    plain_model(family).save_pretrained(tmp_path / "base", max_shard_size="200KB")
    assert len(list((tmp_path / "base").glob("*.safetensors"))) > 1
    model = load_transformer(tmp_path / "base", imported[family].adapter)
    whole = load_transformer(imported[family].base, imported[family].adapter)
    assert torch.equal(velocity(model, family), velocity(whole, family))


def test_dtype_is_of_all_weights(imported, family):
    model = load_transformer(imported[family].base, imported[family].adapter, dtype=torch.bfloat16)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.bfloat16}
    assert velocity(load_transformer(imported[family].base), family).dtype == torch.float32


def test_a_fresh_adapter_comes_from_its_seed(imported, family):
    first, same, other = (load_transformer(imported[family].base, seed=seed, cot_depth=1) for seed in (0, 0, 1))
    weight = "blocks.0.to_kv.weight"
    assert torch.equal(first.cot_adapter.get_parameter(weight), same.cot_adapter.get_parameter(weight))
    assert not torch.equal(first.cot_adapter.get_parameter(weight), other.cot_adapter.get_parameter(weight))
    assert len(first.cot_adapter.blocks) == 1
    assert not branches(first)


def test_save_then_load_is_exact(imported, family, tmp_path):
    model = load_transformer(imported[family].base, imported[family].adapter)
    manifest = AdapterManifest.read(imported[family].adapter)
    save_adapter(model, tmp_path / "saved", manifest)
    again = load_transformer(imported[family].base, tmp_path / "saved")
    assert AdapterManifest.read(tmp_path / "saved") == manifest
    assert all(torch.equal(value, again.state_dict()[key]) for key, value in model.state_dict().items())


def test_a_fused_model_has_no_adapter_to_save(imported, family, tmp_path):
    model = load_transformer(imported[family].base, imported[family].adapter)
    fuse(model)
    with pytest.raises(WeightsError, match="has no LoRA; save before you fuse"):
        save_adapter(model, tmp_path / "saved", AdapterManifest.read(imported[family].adapter))
    assert not (tmp_path / "saved").exists()


@pytest.mark.filterwarnings("ignore:`lora_bias=True` was passed")
def test_peft_reads_the_lora(imported, family):
    """The LoRA works on a stock diffusers transformer through PEFT's own loader."""
    stock = PeftModel.from_pretrained(plain_model(family), str(imported[family].adapter / "lora"))
    ours = load_transformer(imported[family].base, imported[family].adapter)
    for gate in (ours.cot_adapter.degradation_gate, ours.cot_adapter.scene_gate, ours.cot_adapter.plan_gate):
        gate.data = torch.zeros(1)
    assert torch.equal(velocity(stock, family), velocity(ours, family))
    assert (velocity(stock, family) - vectors(family)["fwd.fp32_base_only.velocity"]).abs().max() > 0.1


@pytest.mark.parametrize(
    ("file", "key"),
    [
        (f"base/{WEIGHTS}", "proj_out.weight"),
        ("adapter/cot_adapter.safetensors", "plan_gate"),
        ("adapter/lora/adapter_model.safetensors", "base_model.model.proj_out.lora_B.bias"),
    ],
)
def test_every_tensor_is_accounted_for(folders, family, tmp_path, file, key):
    def damage(tensors):
        tensors["stray"] = tensors.pop(key)

    rewrite(tmp_path / file, damage)
    with pytest.raises(WeightsError) as caught:
        load_transformer(folders.base, folders.adapter)
    assert f"{tmp_path / file}".removesuffix(f"/{WEIGHTS}") in str(caught.value)
    assert str(caught.value).endswith(f"does not fit; 1 missing ({key}); 1 unexpected (stray)")


def test_a_wrong_shape_is_named(folders, family, tmp_path):
    def damage(tensors):
        tensors["plan_gate"] = torch.zeros(2)

    rewrite(tmp_path / "adapter/cot_adapter.safetensors", damage)
    with pytest.raises(WeightsError, match=r"1 of the wrong shape \(plan_gate is \[2\] and should be \[1\]\)"):
        load_transformer(folders.base, folders.adapter)


def test_an_adapter_of_the_other_family_is_refused(imported):
    with pytest.raises(
        WeightsError, match=r"belongs to tiny \(flux1\), and .* holds a Flux2Transformer2DModel \(flux2\)"
    ):
        load_transformer(imported["flux2"].base, imported["flux1"].adapter)


def test_another_kind_of_base_is_refused(folders, family):
    (folders.base / "config.json").write_text(json.dumps({"_class_name": "UNet2DModel"}), encoding="utf-8")
    with pytest.raises(WeightsError, match="describes a UNet2DModel; CoTIR builds on FluxTransformer2DModel or Flux2"):
        load_transformer(folders.base, folders.adapter)


def test_a_folder_without_description_is_no_adapter(folders, family):
    (folders.adapter / "cotir.json").unlink()
    with pytest.raises(
        WeightsError, match=r"has no cotir\.json: it is no adapter folder; convert released weights first"
    ):
        load_transformer(folders.base, folders.adapter)


def test_a_description_of_another_format_is_refused(folders, family):
    path = folders.adapter / "cotir.json"
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | {"format": 2}), encoding="utf-8")
    with pytest.raises(WeightsError, match="is no format-1 adapter description"):
        load_transformer(folders.base, folders.adapter)


def test_an_edited_scale_is_noticed(folders, family):
    path = folders.adapter / "cotir.json"
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | {"scale": 0.5}), encoding="utf-8")
    with pytest.raises(
        WeightsError, match=r"lora_alpha = 4\.0, and cotir\.json with rank 4 and scale 0\.5 makes it 2\.0"
    ):
        load_transformer(folders.base, folders.adapter)


def test_nano_has_no_base_and_adapter():
    with pytest.raises(WeightsError, match="preset 'nano' is stored whole"):
        empty_transformer(PRESETS["nano"])


@pytest.mark.parametrize("name", ["4b", "9b", "12b"])
def test_parameters_of_the_full_sizes(name):
    preset = PRESETS[name]
    model = empty_transformer(preset)
    adapter = sum(parameter.numel() for parameter in model.cot_adapter.parameters())
    assert {parameter.device.type for parameter in model.parameters()} == {"meta"}
    assert adapter == preset.parameters.adapter
    assert sum(parameter.numel() for parameter in model.parameters()) - adapter == preset.parameters.base


def test_lora_state_of_a_loaded_model_is_trained_values(imported, family):
    model = load_transformer(imported[family].base, imported[family].adapter)
    stored = load_file(imported[family].adapter / "lora" / "adapter_model.safetensors")
    state = lora_state(model)
    assert {f"base_model.model.{key}" for key in state} == stored.keys()
    assert all(torch.equal(stored[f"base_model.model.{key}"], value) for key, value in state.items())


def test_tiny_presets_cover_both_families():
    assert {preset.backbone.transformer for preset in TINY.values()} == {
        "CoTFluxTransformer2DModel",
        "CoTFlux2Transformer2DModel",
    }
