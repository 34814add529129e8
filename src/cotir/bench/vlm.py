"""The other trace writer: a vision-language model behind any OpenAI-compatible endpoint, local or paid.

It is shown both pictures and told what was done, and asked for the three parts. What it answers passes a filter: all
kinds named, none invented, three parts present, lengths within bounds. A rejected answer is asked for again with the
reason; after the last attempt the template writes the trace, and the sample says so. Accepted answers are kept on the
disk by a hash of everything the answer depends on, so that a second run costs nothing. The ``openai`` client is
imported when the first question is asked.
"""

import base64
import hashlib
import json
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cotir.bench.generator import Pixels, TemplateWriter, Written, png
from cotir.bench.tars import write_whole
from cotir.degrade import Applied
from cotir.errors import ConfigError, PromptError
from cotir.phrases import TERMS, phrases_of
from cotir.prompts import ReasoningTrace
from cotir.words import describe

if TYPE_CHECKING:
    from openai import OpenAI

LENGTHS = (12, 1200)
"""Characters of each part of a trace."""

COMPANIONS: dict[str, frozenset[str]] = {
    "low_light": frozenset({"noise", "shadow"}),
    "raindrop": frozenset({"blur", "rain"}),
    "rain": frozenset({"haze"}),
    "snow": frozenset({"haze"}),
    "underwater": frozenset({"haze", "lost_colour"}),
    "low_resolution": frozenset({"blur"}),
    "reflection": frozenset({"blur"}),
    "smartphone": frozenset({"noise", "blur"}),
    "lost_colour": frozenset({"over_exposure"}),
    "stains": frozenset({"impulse_noise"}),
    "scratches": frozenset({"impulse_noise"}),
    "jpeg": frozenset({"banding", "blur", "noise"}),
    "webp": frozenset({"banding", "blur"}),
    "avif": frozenset({"banding", "blur"}),
    "h264": frozenset({"banding", "blur"}),
    "noise": frozenset({"impulse_noise"}),
    "flare": frozenset({"over_exposure", "reflection"}),
    "haze": frozenset({"low_light"}),
}
"""What a kind brings with it, so that naming it is no invention."""

_INVENTIONS = TERMS | {
    "webp": re.compile(r"\bwebp(?: compression)?\b", re.IGNORECASE),
    "avif": re.compile(r"\bavif(?: compression)?\b", re.IGNORECASE),
    "h264": re.compile(r"\b(?:h\.?264|video compression|video codec)\b", re.IGNORECASE),
    "low_light": re.compile(r"\b(?:low[- ]light|under[- ]?expos(?:ed|ure)|too dark|dim(?:ly)?)\b", re.IGNORECASE),
    "nonhomogeneous_haze": re.compile(
        r"\b(?:patchy|uneven|non[- ]?homogeneous|patches of) (?:haze|fog|mist|smoke)\b", re.IGNORECASE
    ),
    "shadow": re.compile(r"\b(?:cast|hard|unwanted|disturbing) shadows?\b", re.IGNORECASE),
}
"""What counts as naming a kind that is not there, more narrowly: any damage may show most in dark areas and shadows."""

_SYSTEM = """\
You write training data for image restoration. You see two pictures of one scene: the damaged one, then the original.
Answer with one paragraph in exactly this form, in English, lower case labels included:
scene description: what is in the picture, one or two sentences, nothing about its quality. \
degradation description: which damage you see, how strong, and where. \
enhancement plan: what to do, step by step, in the order given. \
answer: the restored picture
Name every damage listed, and no other. Do not mention the original picture."""


@dataclass(frozen=True)
class Price:
    """What tokens cost, per million, in whatever currency."""

    prompt: float = 0.0
    completion: float = 0.0


@dataclass(frozen=True)
class Endpoint:
    """Where the model is, and how it is asked."""

    url: str
    """As ``http://localhost:8000/v1``. The key comes from the environment variable ``OPENAI_API_KEY``, if it is set."""
    model: str
    attempts: int = 3
    timeout: float = 60.0
    """Seconds for one answer."""
    wait: float = 1.0
    """Seconds before the second attempt after a failed call; doubled for each more."""
    temperature: float = 0.2
    max_tokens: int = 600
    price: Price = Price()

    def __post_init__(self) -> None:
        if not self.url.startswith(("http://", "https://")):
            raise ConfigError(f"the endpoint {self.url!r} is no web address; write one as http://localhost:8000/v1")
        if self.attempts < 1:
            raise ConfigError(f"attempts is {self.attempts}; at least one is needed")


@dataclass(frozen=True)
class Answer:
    """What came back for one question."""

    text: str
    prompt_tokens: int
    completion_tokens: int


class VlmWriter:
    """Writes traces with a model.

    Args:
        endpoint: where it is.
        cache: folder for accepted answers.
        sleep: waits; another one for tests.
    """

    def __init__(self, endpoint: Endpoint, cache: Path, sleep: Callable[[float], None] = time.sleep) -> None:
        self._endpoint, self._cache, self._sleep = endpoint, cache, sleep
        self._template = TemplateWriter()
        self._usage: dict[str, float] = {}
        self._made: OpenAI | None = None

    def write(self, lq: Pixels, hq: Pixels, applied: tuple[Applied, ...]) -> Written:
        """Ask the model, or take its earlier answer; the template writes where no answer passes the filter.

        Raises:
            ConfigError: the ``openai`` client is missing.
        """
        question = _question(applied)
        place = self._cache / f"{self._key(lq, hq, question)}.json"
        kept = _kept(place, applied)
        if kept is not None:
            self._count(cached=1)
            return Written(kept, "vlm")
        reason = ""
        for attempt in range(self._endpoint.attempts):
            if attempt and not reason:
                self._sleep(self._endpoint.wait * 2 ** (attempt - 1))
            answer = self._ask(lq, hq, question + reason)
            if answer is None:
                reason = ""
                continue
            try:
                trace = accepted(answer.text, applied)
            except PromptError as error:
                self._count(rejected=1)
                reason = f"\nYour last answer was rejected: {error}. Answer again."
                continue
            write_whole(place, json.dumps({"text": answer.text, "model": self._endpoint.model}).encode())
            self._count(written=1)
            return Written(trace, "vlm")
        self._count(template=1)
        return Written(self._template.write(lq, hq, applied).trace, "template_after_vlm")

    def take_usage(self) -> Mapping[str, float]:
        """What was used since the last call: questions, tokens, cost, and what became of the answers."""
        usage, self._usage = self._usage, {}
        return usage

    def _ask(self, lq: Pixels, hq: Pixels, question: str) -> Answer | None:
        """One call; None where it failed."""
        from openai import OpenAIError

        content: list[Any] = [{"type": "text", "text": question}, _image(lq), _image(hq)]
        self._count(calls=1)
        try:
            response = self._client.chat.completions.create(
                model=self._endpoint.model,
                messages=[{"role": "system", "content": _SYSTEM}, {"role": "user", "content": content}],
                temperature=self._endpoint.temperature,
                max_tokens=self._endpoint.max_tokens,
            )
            text = response.choices[0].message.content or ""
        except (OpenAIError, ValueError, IndexError, AttributeError, TypeError):
            # no answer, an error, or something that is no chat completion: all the same to us
            self._count(failed=1)
            return None
        used = response.usage
        answer = Answer(text, used.prompt_tokens if used else 0, used.completion_tokens if used else 0)
        price = self._endpoint.price
        cost = (answer.prompt_tokens * price.prompt + answer.completion_tokens * price.completion) / 1e6
        self._count(prompt_tokens=answer.prompt_tokens, completion_tokens=answer.completion_tokens, cost=cost)
        return answer

    @property
    def _client(self) -> "OpenAI":
        if self._made is None:
            import os

            try:
                from openai import OpenAI
            except ImportError as error:
                raise ConfigError(f"traces by a model need the openai client ({error}); pip install openai") from error
            # a local server takes any key; attempts are counted here, not in the client
            self._made = OpenAI(
                base_url=self._endpoint.url,
                api_key=os.environ.get("OPENAI_API_KEY", "none"),
                timeout=self._endpoint.timeout,
                max_retries=0,
            )
        return self._made

    def _key(self, lq: Pixels, hq: Pixels, question: str) -> str:
        asked = asdict(self._endpoint)
        facts = [_SYSTEM, question, *(asked[name] for name in ("model", "temperature", "max_tokens"))]
        digest = hashlib.sha256(json.dumps([*facts, lq.shape]).encode())
        digest.update(lq.tobytes())
        digest.update(hq.tobytes())
        return digest.hexdigest()

    def _count(self, **counts: float) -> None:
        for name, count in counts.items():
            self._usage[name] = self._usage.get(name, 0) + count


def accepted(text: str, applied: Sequence[Applied]) -> ReasoningTrace:
    """The trace in an answer, if it is fit to train on.

    Args:
        text: what the model wrote.
        applied: what was done to the picture.

    Raises:
        PromptError: a part is missing, too short or too long, a kind is not named, or one is named that is not there.
    """
    trace = ReasoningTrace.parse(" ".join(text.replace("*", " ").replace("#", " ").split()))
    low, high = LENGTHS
    for part in ("scene", "degradation", "plan"):
        length = len(getattr(trace, part))
        if not low <= length <= high:
            raise PromptError(f"its {part} part has {length} characters; {low} to {high} are allowed")
        if re.search(r"(?:description|plan|answer):", getattr(trace, part), re.IGNORECASE):
            raise PromptError(f"its {part} part holds a label; each label must occur once")
    kinds = [each.kind for each in applied]
    for kind in kinds:
        if not TERMS[kind].search(trace.degradation):
            raise PromptError(f"it does not name {phrases_of(kind).names[0]} in the degradation description")
    invented = named(trace.degradation, but=kinds)
    if invented:
        raise PromptError(f"it names {phrases_of(invented[0]).names[0]}, which is not there")
    return trace


def named(text: str, but: Sequence[str] = ()) -> list[str]:
    """Kinds that a text names, apart from those given and what these bring with them."""
    allowed = {*but, *(companion for kind in but for companion in COMPANIONS.get(kind, ()))}
    for kind in but:
        text = TERMS[kind].sub(" ", text)
    found = []
    # kinds whose words hold another's come first, and take their words away
    for kind, term in _INVENTIONS.items():
        text, count = term.subn(" ", text)
        if count and kind not in allowed:
            found.append(kind)
    return found


def _kept(place: Path, applied: Sequence[Applied]) -> ReasoningTrace | None:
    """An earlier answer, if it is whole and passes today's filter."""
    try:
        return accepted(json.loads(place.read_bytes())["text"], applied)
    except (OSError, ValueError, KeyError, TypeError, PromptError):
        return None


def _question(applied: Sequence[Applied]) -> str:
    if not applied:
        return "The picture is not damaged. Say under degradation description that no damage is visible."
    damage = [f"{describe(each.severity)} {phrases_of(each.kind).names[0]}" for each in applied]
    steps = [phrases_of(each.kind).remedies[0] for each in reversed(applied)]
    return f"The damage: {'; '.join(damage)}.\nThe plan, in this order: {'; '.join(steps)}."


def _image(pixels: Pixels) -> dict[str, Any]:
    data = base64.b64encode(png(pixels)).decode()
    return {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{data}"}}
