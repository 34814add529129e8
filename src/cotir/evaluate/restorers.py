"""The methods that come with it, and how a specification is read: ``NAME[:ARGUMENT][,KEY=VALUE...]``."""

import hashlib
import inspect
import os
import runpy
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, cast

from cotir import __version__
from cotir.configuration import nearest
from cotir.errors import ConfigError, CoTIRError, ImageError
from cotir.evaluate.cases import find_pictures, fingerprint, listed, read_pixels
from cotir.evaluate.methods import Method, Pixels, Prompt, Request, Restored
from cotir.image import quantise

if TYPE_CHECKING:
    from cotir.pipeline import CoTIRPipeline

OWN: Mapping[str, str] = {
    "identity": "cotir.evaluate.restorers:Identity",
    "classical": "cotir.evaluate.classical:Classical",
    "specialists": "cotir.evaluate.specialists:Specialists",
    "cotir": "cotir.evaluate.restorers:CoTIR",
    "folder": "cotir.evaluate.restorers:Folder",
}
"""Methods by name; ``python:FILE.py:CLASS`` is anyone's own."""


@dataclass(frozen=True)
class Specification:
    """A method's name, argument and keys, as written."""

    text: str
    name: str
    argument: str | None
    keys: dict[str, str] = field(default_factory=dict)

    @classmethod
    def parse(cls, text: str) -> "Specification":
        """Read ``NAME[:ARGUMENT][,KEY=VALUE...]``; the argument reaches over commas as far as a path exists.

        Raises:
            ConfigError: there is no such method, or a part is no ``KEY=VALUE``.
        """
        head, *rest = text.split(",")
        name, _, argument = head.partition(":")
        for count in range(len(rest), 0, -1):  # a name on the disk may hold commas
            longer = ",".join([argument, *rest[:count]])
            if os.path.lexists(Path(longer).expanduser()):
                argument, rest = longer, rest[count:]
                break
        if name not in (*OWN, "python"):
            raise ConfigError(
                f"there is no method {name!r}{nearest(name, OWN)}; methods: {', '.join(OWN)}, and python:FILE.py:CLASS"
            )
        keys = {}
        for part in rest:
            key, equals, value = part.partition("=")
            if not equals or not key or not value:
                raise ConfigError(f"{text}: {part!r} is no KEY=VALUE; write as in 'cotir:nano,steps=4'")
            if key in keys:
                raise ConfigError(f"{text}: {key} is given twice")
            keys[key] = value
        return cls(text, name, argument or None, keys)

    def build(self) -> Method:
        """Make the method.

        Raises:
            ConfigError: it does not take the argument or a key, or its class cannot be loaded.
        """
        make, argument = self._maker()
        taken = inspect.signature(make).parameters
        unknown = self.keys.keys() - (taken.keys() - {"argument"})
        if unknown:
            known = ", ".join(name for name in taken if name != "argument") or "no key"
            raise ConfigError(f"{self.text}: {self.name} takes no {listed(unknown)}; it takes {known}")
        if argument is not None and "argument" not in taken:
            raise ConfigError(f"{self.text}: {self.name} takes no argument; leave out ':{argument}'")
        try:
            return make(argument, **self.keys) if "argument" in taken else make(**self.keys)
        except CoTIRError:
            raise
        except Exception as error:  # a class of anyone's
            raise ConfigError(f"{self.text}: cannot be made ({type(error).__name__}: {error})") from error

    def _maker(self) -> tuple[Callable[..., Method], str | None]:
        if self.name == "python":
            return _load_class(self.text, self.argument), None
        module, _, name = OWN[self.name].partition(":")
        return getattr(import_module(module), name), self.argument


def _load_class(text: str, argument: str | None) -> type[Method]:
    file, _, name = (argument or "").rpartition(":")
    if not file:
        raise ConfigError(f"{text}: name a file and a class in it, as in 'python:my_method.py:MyMethod'")
    try:
        with _beside(Path(file)):
            found = runpy.run_path(file).get(name)
    except Exception as error:  # it is anyone's code
        raise ConfigError(f"{text}: {file} cannot be loaded ({type(error).__name__}: {error})") from error
    if not (isinstance(found, type) and issubclass(found, Method)):
        raise ConfigError(f"{text}: {name} in {file} is no subclass of cotir.evaluate.methods.Method")
    if inspect.isabstract(found):
        raise ConfigError(f"{text}: {name} in {file} has no restore(self, request)")
    return found


@contextmanager
def _beside(file: Path) -> Iterator[None]:
    """Let a file import what lies beside it, as when it is run."""
    sys.path.insert(0, str(file.resolve().parent))
    try:
        yield
    finally:
        sys.path.pop(0)


def pipeline_version(pipeline: "CoTIRPipeline") -> str:
    """That of the code, and a hash of all that decides what is restored and read: weights and read-out."""
    from cotir.identity import stream

    state = hashlib.sha256()
    tensors = dict(pipeline.transformer.state_dict())
    if pipeline.read_out is not None:
        tensors |= pipeline.read_out.tensors()
    for part in stream(tensors):
        state.update(part)
    return f"{__version__} {state.hexdigest()[:12]}"


class Identity(Method):
    """Gives the picture back as it came: the line from which all others are counted."""

    version = "1"

    def restore(self, request: Request) -> Restored:
        """See :class:`Method`."""
        return Restored(request.image)


class Folder(Method):
    """Pictures that something else has restored already, found by their names.

    Args:
        argument: the folder.
        prompt: the instruction they were made with, for the table; ``none`` if they were made without.

    Raises:
        ConfigError: the folder cannot be read or holds no picture, or there is no such prompt.
    """

    timed = False

    def __init__(self, argument: str | None = None, prompt: str = "none") -> None:
        if argument is None:
            raise ConfigError("folder needs the folder of results: folder:PATH")
        self.prompts = (_prompt(prompt, ("none", "vague", "precise"), f"folder:{argument}"),)
        self.folder = argument
        self.found = find_pictures(Path(argument).expanduser())
        self.version = fingerprint(self.found.values())[:12]

    def restore(self, request: Request) -> Restored:
        """See :class:`Method`.

        Raises:
            ImageError: there is no picture of that name, it cannot be read, or it is of another size.
        """
        path = self.found.get(request.key)
        if path is None:
            raise ImageError(f"{self.folder}: there is no picture named {request.key}")
        image = read_pixels(path)
        if image.shape != request.image.shape:
            sizes = " and ".join(f"{each.shape[1]}x{each.shape[0]}" for each in (image, request.image))
            raise ImageError(f"{path}: it and the test picture are {sizes}; results are of the picture's size")
        return Restored(image)


_PLANS = {"auto": True, "never": False}


class CoTIR(Method):
    """Our own pipeline.

    Args:
        argument: a preset, a folder or a hub id; nano if None.
        steps: Euler steps; the backbone's own if None.
        strength: of the restoration, 0 to 1.
        prompt: one of vague and precise; both if None.
        keep: ``sound`` gives a picture back as it came where no damage is found and harm expected, as without a prompt.
        plan: ``auto`` looks at a picture first and restores it by the plan that comes of it; the prompt is then vague.
            ``never`` restores by the prompt alone. By default a model that brings a diagnosis, as nano does, looks
            first where the prompt is vague.

    Raises:
        ConfigError: a key has no such value.
    """

    prompts: tuple[Prompt, ...] = ("vague", "precise")

    def __init__(
        self,
        argument: str | None = None,
        steps: str | None = None,
        strength: str = "1",
        prompt: str | None = None,
        plan: str | None = None,
        keep: str | None = None,
    ) -> None:
        self.name = argument or "nano"
        try:
            self.steps = None if steps is None else int(steps)
            self.strength = float(strength)
        except ValueError as error:
            raise ConfigError(
                f"cotir:{self.name}: {error}; steps is a whole number, strength one from 0 to 1"
            ) from error
        if (self.steps is not None and self.steps < 1) or not 0 <= self.strength <= 1:
            raise ConfigError(f"cotir:{self.name}: steps is {steps}, at least 1; strength is {strength}, from 0 to 1")
        if plan not in (None, *_PLANS):
            raise ConfigError(
                f"cotir:{self.name}: there is no plan {plan!r}; leave it out, or write plan=auto or plan=never"
            )
        if plan == "auto" and prompt == "precise":
            raise ConfigError(f"cotir:{self.name}: plan=auto takes the place of a precise prompt; give one of them")
        if keep not in (None, "sound"):
            raise ConfigError(f"cotir:{self.name}: keep is {keep!r}; leave it out, or write keep=sound")
        self.keep_sound = keep is not None
        self.plan_first = None if plan is None else _PLANS[plan]
        if self.plan_first:
            self.prompts = ("vague",)
        elif prompt is not None:
            self.prompts = (_prompt(prompt, ("vague", "precise"), f"cotir:{self.name}"),)
        self._pipeline: CoTIRPipeline | None = None

    def prepare(self) -> None:
        """See :class:`Method`. The version is that of the code and a hash of the transformer's weights."""
        from cotir import CoTIRPipeline

        self._pipeline = CoTIRPipeline.from_pretrained(self.name)
        self.version = pipeline_version(self._pipeline)

    def release(self) -> None:
        """See :class:`Method`."""
        self._pipeline = None

    def restore(self, request: Request) -> Restored:
        """See :class:`Method`."""
        out = self._loaded()(
            request.image,
            request.instruction or None,
            steps=self.steps,
            strength=self.strength,
            plan_first=self.plan_first,
            keep_sound=self.keep_sound,
            seed=request.seed,
            output_type="np",
        )
        return Restored(cast(Pixels, quantise(out.image, 8)), out.readings[0] if out.readings else None)

    def model_bytes(self) -> int:
        """See :class:`Method`."""
        parts = (part for part in self._loaded().components.values() if hasattr(part, "parameters"))
        return sum(p.numel() * p.element_size() for part in parts for p in part.parameters())

    def _loaded(self) -> "CoTIRPipeline":
        if self._pipeline is None:
            raise ConfigError(f"cotir:{self.name}: is not loaded; call prepare() first")
        return self._pipeline


def _prompt(word: str, known: tuple[Prompt, ...], name: str) -> Prompt:
    for prompt in known:
        if prompt == word:
            return prompt
    raise ConfigError(f"{name}: there is no prompt {word!r}; prompts: {', '.join(known)}")
