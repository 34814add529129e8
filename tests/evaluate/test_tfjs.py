"""Reading TensorFlow.js graph-models: what is wrong with one is said."""

import json

import pytest
from small_graphs import SmallGraph, write_line

from cotir.errors import WeightsError
from cotir.evaluate.maxim import Maxim
from cotir.evaluate.tfjs import Graph, weight_bytes


def edited(folder, edit):
    path = folder / "model.json"
    model = json.loads(path.read_text(encoding="utf-8"))
    edit(model)
    path.write_text(json.dumps(model), encoding="utf-8")
    return folder


def without_shard(folder):
    (folder / "group1-shard1of1.bin").unlink()


def short_shard(folder):
    (folder / "group1-shard1of1.bin").write_bytes(b"1234567")


def no_json(folder):
    (folder / "model.json").write_text("{", encoding="utf-8")


def edit(change):
    return lambda folder: edited(folder, change)


FAULTS = {
    "there is no folder": lambda folder: folder.rename(folder.with_name("elsewhere")),
    "holds no model.json": lambda folder: (folder / "model.json").unlink(),
    "is not JSON": no_json,
    "has the format 'layers-model'; only a TensorFlow.js 'graph-model'": edit(
        lambda model: model.update(format="layers-model")
    ),
    "lacks group1-shard1of1.bin, which its model.json names; install it again": without_shard,
    "hold 7 bytes of weights, but model.json lists 8": short_shard,
    "are quantised ('n2')": edit(lambda model: weight(model).update(quantization={"dtype": "uint8"})),
    "is float16; float32, int32, bool can be run": edit(lambda model: weight(model).update(dtype="float16")),
    "lists no weights for 1 constants, such as 'n2'": edit(lambda model: weight(model).update(name="other")),
    "uses the operation FusedBatchNormV3 (node 'n3'), which cannot be run here; known are Abs, AddV2": edit(
        lambda model: node(model, "n3").update(op="FusedBatchNormV3")
    ),
    "takes the result of 'gone', but has no such node": edit(lambda model: node(model, "n3").update(input=["gone"])),
    "has a loop through": edit(lambda model: node(model, "n1").update(input=["n3"])),
    "operations with several results": edit(lambda model: node(model, "n3").update(input=["n1:1", "n2"])),
    "the outputs ['Identity', 'x']; a restorer takes one picture": edit(
        lambda model: model["signature"]["outputs"].update(z={"name": "x:0"})
    ),
}


def weight(model):
    return next(each for each in model["weightsManifest"][0]["weights"] if each["name"] == "n2")


def node(model, name):
    return next(each for each in model["modelTopology"]["node"] if each["name"] == name)


@pytest.mark.parametrize("message", FAULTS)
def test_what_is_wrong_with_a_model_is_said(tmp_path, message):
    folder = write_square(tmp_path / "models")
    FAULTS[message](folder)
    with pytest.raises(WeightsError) as caught:
        Maxim.load(folder)
    assert message in str(caught.value)


def write_square(folder):
    """n3 = x * x + n2, where n1 is the product: faults can be put at known names."""
    graph = SmallGraph()
    product = graph.node("Mul", "x", "x")
    return graph.write(folder, graph.node("AddV2", product, graph.const([1.0, 2.0])))


def test_the_nodes_stand_after_their_inputs_and_without_those_nothing_needs(tmp_path):
    graph = SmallGraph()
    square = graph.node("Square", "x")
    graph.node("Exp", square)
    half = graph.const(0.5)
    total = graph.node("AddV2", square, graph.node("Mul", square, half))
    found = Graph.load(graph.write(tmp_path, total, shards=2))
    names = [node.name for node in found.nodes]
    assert (found.input, found.output, sorted(names)) == (
        "x",
        "Identity",
        sorted(["x", square, half, "n4", total, "Identity"]),
    )
    for node in found.nodes:
        assert all(names.index(each) < names.index(node.name) for each in node.inputs)
    assert {name: float(value) for name, value in found.weights.items()} == {half: 0.5}


def test_the_weights_are_counted_in_bytes(tmp_path):
    assert weight_bytes(write_line(tmp_path, 1.0, 0.0)) == 8
