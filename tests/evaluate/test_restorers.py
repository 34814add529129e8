"""Specifications of methods, and what is said of a wrong one."""

import numpy as np
import pytest

from cotir import CoTIRPipeline
from cotir.errors import ConfigError, ImageError
from cotir.evaluate.methods import Method, Request
from cotir.evaluate.restorers import OWN, CoTIR, Identity, Specification


def build(text):
    return Specification.parse(text).build()


def test_a_specification_is_name_argument_and_keys():
    found = Specification.parse("cotir:a/b,steps=4,prompt=vague")
    assert (found.name, found.argument, found.keys) == ("cotir", "a/b", {"steps": "4", "prompt": "vague"})
    assert Specification.parse("identity").argument is None


def test_a_folder_may_have_commas_in_its_name(tmp_path):
    folder = tmp_path / "mine, the second, x=1"
    folder.mkdir()
    found = Specification.parse(f"folder:{folder},prompt=vague")
    assert (found.argument, found.keys) == (str(folder), {"prompt": "vague"})
    assert Specification.parse(f"folder:{folder}").argument == str(folder)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("identty", r"no method 'identty' \(did you mean 'identity'\?\); methods: identity, classical, specialists"),
        ("cotir:nano,4", "cotir:nano,4: '4' is no KEY=VALUE; write as in 'cotir:nano,steps=4'"),
        ("cotir:nano,steps=", "'steps=' is no KEY=VALUE"),
        ("cotir:nano,steps=1,steps=2", "cotir:nano,steps=1,steps=2: steps is given twice"),
        ("cotir:nano,step=4", "cotir takes no step; it takes steps, strength, prompt, plan, keep"),
        ("cotir:nano,keep=all", "cotir:nano: keep is 'all'; leave it out, or write keep=sound"),
        ("cotir:nano,plan=mine", "cotir:nano: there is no plan 'mine'; leave it out, or write plan=auto"),
        ("cotir:nano,plan=auto,prompt=precise", "plan=auto takes the place of a precise prompt"),
        ("cotir:nano,steps=many", "cotir:nano: .*'many'; steps is a whole number, strength one from 0 to 1"),
        ("cotir:nano,steps=0", "steps is 0, at least 1"),
        ("cotir:nano,strength=2", "strength is 2, from 0 to 1"),
        ("cotir:nano,prompt=none", "no prompt 'none'; prompts: vague, precise"),
        ("identity:x", "identity takes no argument; leave out ':x'"),
        ("folder", "folder needs the folder of results: folder:PATH"),
        ("folder:/nowhere/at/all", "/nowhere/at/all: cannot be read"),
        ("python:mine.py", "name a file and a class in it, as in 'python:my_method.py:MyMethod'"),
        ("python:/nowhere.py:Mine", r"/nowhere\.py cannot be loaded"),
        ("specialists:/nowhere,order=best", "best.*oracle.*fixed.*diagnosis"),
    ],
)
def test_a_wrong_specification_says_what_is_allowed(text, message):
    with pytest.raises(ConfigError, match=message):
        build(text)


ABSTRACT = "from cotir.evaluate.methods import Method\nclass Mine(Method): version = '1'"


@pytest.mark.parametrize("body", ["Mine = 3", "class Mine: pass", "def broken(:", "1 / 0", ABSTRACT])
def test_a_file_without_a_method_is_refused(tmp_path, body):
    path = tmp_path / "mine.py"
    path.write_text(body)
    with pytest.raises(ConfigError, match=r"is no subclass of|cannot be loaded|has no restore"):
        build(f"python:{path}:Mine")


def test_a_method_may_import_what_lies_beside_it(tmp_path):
    (tmp_path / "beside_it.py").write_text("VERSION = '7'")
    (tmp_path / "mine.py").write_text(
        "from beside_it import VERSION\n"
        "from cotir.evaluate.methods import Method, Restored\n"
        "class Mine(Method):\n"
        "    version = VERSION\n"
        "    def restore(self, request):\n"
        "        return Restored(request.image)\n"
    )
    assert build(f"python:{tmp_path / 'mine.py'}:Mine").version == "7"


def test_the_version_of_a_folder_follows_its_pictures(tmp_path):
    from PIL import Image

    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    before = build(f"folder:{tmp_path}").version
    assert build(f"folder:{tmp_path}").version == before
    Image.new("RGB", (4, 4), "red").save(tmp_path / "a.png")
    assert build(f"folder:{tmp_path}").version != before


def test_a_method_of_ones_own_takes_keys(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(
        "from cotir.evaluate.methods import Method, Restored\n"
        "class Mine(Method):\n"
        "    version = '1'\n"
        "    def __init__(self, add='0'):\n"
        "        self.add = int(add)\n"
        "    def restore(self, request):\n"
        "        return Restored(request.image + self.add)\n"
    )
    image = np.zeros((2, 2, 3), np.uint8)
    assert build(f"python:{path}:Mine,add=3").restore(Request("k", image)).image.max() == 3


@pytest.mark.parametrize("name", OWN)
def test_every_method_of_ours_is_a_method(name):
    module, _, attribute = OWN[name].partition(":")
    found = getattr(__import__(module, fromlist=[attribute]), attribute)
    assert issubclass(found, Method)
    assert found.__doc__


def test_identity_gives_the_picture_back():
    image = np.random.default_rng(0).integers(0, 256, (4, 5, 3), dtype=np.uint8)
    assert Identity().restore(Request("k", image)).image is image


def test_our_pipeline_says_which_weights_it_has(nano_folder):
    method = CoTIR(str(nano_folder))
    with pytest.raises(ConfigError, match="is not loaded"):
        method.restore(Request("k", np.zeros((8, 8, 3), np.uint8), "make it clearer"))
    method.prepare()
    first = method.version
    assert method.model_bytes() > 0
    request = Request("k", np.full((16, 16, 3), 90, np.uint8), "make it clearer", seed=1)
    assert np.array_equal(method.restore(request).image, method.restore(request).image)
    method.prepare()
    assert method.version == first
    method.release()
    with pytest.raises(ConfigError, match="is not loaded"):
        method.model_bytes()


def test_our_pipeline_plans_by_itself(nano_folder, monkeypatch):
    asked = []
    monkeypatch.setattr(CoTIRPipeline, "__call__", lambda self, *args, **options: asked.append(options) or 1 / 0)
    method = build(f"cotir:{nano_folder},plan=auto,keep=sound")
    assert method.prompts == ("vague",)
    method.prepare()
    with pytest.raises(ZeroDivisionError):
        method.restore(Request("k", np.zeros((8, 8, 3), np.uint8), "make it clearer"))
    assert asked[0]["plan_first"] is True and asked[0]["keep_sound"] is True


def test_a_folder_without_the_picture_names_it(tmp_path):
    from PIL import Image

    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    with pytest.raises(ImageError, match="there is no picture named b"):
        build(f"folder:{tmp_path}").restore(Request("b", np.zeros((4, 4, 3), np.uint8)))
