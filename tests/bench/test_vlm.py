"""The trace writer that asks a model, against a small server on this machine that answers as it is told."""

import json
import threading
import time
from dataclasses import replace
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from cotir.bench.build import build
from cotir.bench.generator import TemplateWriter
from cotir.bench.recipes import parse_recipes
from cotir.bench.stats import survey
from cotir.bench.vlm import Endpoint, Price, VlmWriter, accepted, named
from cotir.degrade import sample_recipe
from cotir.errors import ConfigError, PromptError
from cotir.phrases import PHRASES

GOOD = (
    "scene description: a red barn beside a lake under a clear sky. degradation description: moderate haze covers the "
    "far shore and heavy noise is most visible in the shadows. enhancement plan: remove the noise, then clear the "
    "haze. answer: the restored picture"
)
SLOW, DEAD, ERROR, NONSENSE = "slow", "dead", "error", "nonsense"


class Server(ThreadingHTTPServer):
    """Gives its answers one after another, the last one for ever."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers, self.requests = [GOOD], []

    def handle_error(self, request, client_address):
        pass  # a client that did not wait for a slow answer

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_address[1]}/v1"


class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.requests.append(body)
        answers = self.server.answers
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        if answer == DEAD:
            self.close_connection = True
            self.connection.close()
            return
        if answer == SLOW:
            time.sleep(1)
        message = {"role": "assistant", "content": answer}
        completion = {
            "id": "1", "object": "chat.completion", "created": 0, "model": body["model"],
            "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 1000, "completion_tokens": 200, "total_tokens": 1200},
        }  # fmt: skip
        data = b"<html>" if answer == NONSENSE else json.dumps(completion).encode()
        self.send_response(500 if answer == ERROR else 200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *arguments):
        pass


@pytest.fixture
def server():
    pytest.importorskip("openai")
    server = Server()
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def endpoint(server):
    return Endpoint(server.url, "a-model", timeout=5, price=Price(2.0, 10.0))


@pytest.fixture
def pair():
    rng = np.random.default_rng(0)
    return tuple(rng.integers(0, 256, (32, 32, 3), dtype=np.uint8) for _ in range(2))


@pytest.fixture
def applied():
    return sample_recipe(np.random.default_rng(0), ("haze", "noise"), [0.5, 0.9])


def writer(endpoint, tmp_path, waits=None):
    return VlmWriter(endpoint, tmp_path / "cache", sleep=(waits if waits is not None else []).append)


def test_a_good_answer_becomes_the_trace(server, endpoint, pair, applied, tmp_path):
    asked = writer(endpoint, tmp_path)
    written = asked.write(*pair, applied)
    assert written.writer == "vlm"
    assert written.trace.scene == "a red barn beside a lake under a clear sky."
    assert written.trace.plan == "remove the noise, then clear the haze."
    usage = asked.take_usage()
    assert usage == {"calls": 1, "prompt_tokens": 1000, "completion_tokens": 200, "cost": 0.004, "written": 1}
    assert asked.take_usage() == {}


def test_the_model_sees_both_pictures_and_the_damage(server, endpoint, pair, applied, tmp_path):
    writer(endpoint, tmp_path).write(*pair, applied)
    (request,) = server.requests
    text, first, second = request["messages"][1]["content"]
    assert text["text"].startswith(
        "The damage: moderate haze; heavy noise.\nThe plan, in this order: remove the noise; "
    )
    assert first["image_url"]["url"] != second["image_url"]["url"]
    assert first["image_url"]["url"].startswith("data:image/png;base64,")
    assert request["model"] == "a-model"


def test_a_second_run_asks_nothing(server, endpoint, pair, applied, tmp_path):
    first = writer(endpoint, tmp_path).write(*pair, applied)
    again = writer(endpoint, tmp_path)
    assert again.write(*pair, applied) == first
    assert again.take_usage() == {"cached": 1} and len(server.requests) == 1
    other_model = writer(replace(endpoint, model="b"), tmp_path)
    other_model.write(*pair, applied)
    writer(endpoint, tmp_path).write(pair[1], pair[0], applied)
    assert len(server.requests) == 3


def test_a_damaged_cache_is_no_harm(server, endpoint, pair, applied, tmp_path):
    first = writer(endpoint, tmp_path).write(*pair, applied)
    (kept,) = (tmp_path / "cache").iterdir()
    kept.write_text("{")
    assert writer(endpoint, tmp_path).write(*pair, applied) == first
    assert len(server.requests) == 2


def test_a_rejected_answer_is_asked_again_with_the_reason(server, endpoint, pair, applied, tmp_path):
    server.answers = ["I cannot help with that.", GOOD.replace("haze", "veil"), GOOD]
    asked = writer(endpoint, tmp_path)
    assert asked.write(*pair, applied).writer == "vlm"
    assert asked.take_usage()["rejected"] == 2
    assert (
        "Your last answer was rejected: a reasoning trace lacks"
        in server.requests[1]["messages"][1]["content"][0]["text"]
    )
    assert "it does not name haze" in server.requests[2]["messages"][1]["content"][0]["text"]


@pytest.mark.parametrize("answer", ["nothing useful", SLOW, DEAD, ERROR, NONSENSE])
def test_where_no_answer_is_good_the_template_writes_and_says_so(server, endpoint, pair, applied, tmp_path, answer):
    server.answers = [answer]
    waits = []
    asked = writer(replace(endpoint, timeout=0.1, attempts=3), tmp_path, waits)
    written = asked.write(*pair, applied)
    assert written.writer == "template_after_vlm"
    assert written.trace == TemplateWriter().write(*pair, applied).trace
    usage = asked.take_usage()
    assert (usage["calls"], usage["template"]) == (3, 1)
    assert usage.get("rejected" if answer == "nothing useful" else "failed") == 3
    assert waits == ([] if answer == "nothing useful" else [1.0, 2.0])
    assert not (tmp_path / "cache").exists()


def test_a_failed_call_is_tried_again(server, endpoint, pair, applied, tmp_path):
    server.answers = [ERROR, DEAD, GOOD]
    assert writer(endpoint, tmp_path).write(*pair, applied).writer == "vlm"


def test_a_benchmark_can_be_written_by_a_model(server, endpoint, order, tmp_path):
    recipes = parse_recipes("seen: [haze + noise, haze + blur]\ntest: {samples: 0}")
    make = partial(VlmWriter, endpoint, tmp_path / "cache", [].append)
    built = build(replace(order, out=tmp_path / "out", recipes=recipes, samples=4, writer=make, traces="vlm a-model"))
    # what the server always says fits the first recipe alone
    assert survey(tmp_path / "out").writers == {"vlm": 2, "template_after_vlm": 2}
    assert (built.usage["written"], built.usage["template"], built.usage["calls"]) == (2, 2, 8)
    assert built.usage["cost"] == pytest.approx(8 * 0.004)
    again = build(replace(order, out=tmp_path / "two", recipes=recipes, samples=2, writer=make, traces="vlm a-model"))
    assert again.usage["cached"] == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("plan:", "idea:"), "lacks 'enhancement plan:'"),
        (("a red barn beside a lake under a clear sky.", "a barn"), "its scene part has 6 characters; 12 to 1200 are"),
        (("a red barn", "a red barn " * 200), "its scene part has 2"),
        (("haze", "veil"), "it does not name haze in the degradation description"),
        (("haze covers", "haze and rain cover"), "it names rain, which is not there"),
        (("the far", "a watermark and the far"), "it names a watermark, which is not there"),
        (("then clear", "plan: clear"), "its plan part holds a label"),
    ],
)
def test_the_filter_says_what_is_wrong(applied, change, message):
    assert accepted(GOOD, applied).plan
    with pytest.raises(PromptError) as error:
        accepted(GOOD.replace(*change), applied)
    assert message in str(error.value)


@pytest.mark.parametrize("kind", PHRASES)
def test_a_kind_that_names_itself_invents_no_other(kind):
    assert [words for words in PHRASES[kind].remedies if named(words, but=[kind])] == []
    assert [words for words in PHRASES[kind].names if named(words) != [kind]] == []


def test_markdown_around_the_labels_is_forgiven(applied):
    text = GOOD.replace("scene description:", "**Scene description:**").replace("answer:", "\n\n## Answer:")
    assert accepted(text, applied) == accepted(GOOD, applied)


@pytest.mark.parametrize(
    ("arguments", "message"), [(("localhost", "m"), "is no web address"), (("http://x", "m", 0), "attempts is 0")]
)
def test_an_endpoint_that_is_none(arguments, message):
    with pytest.raises(ConfigError, match=message):
        Endpoint(*arguments)
