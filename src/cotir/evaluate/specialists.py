"""A chain of specialists: real restorers for one kind of damage each, run one after the other.

This is what an all-in-one model is measured against. The specialists are MAXIM's released weights, one model for each
of five tasks; nothing is downloaded here, a folder is given that one line fills (440 MB, MIT):

    npm install --prefix FOLDER --ignore-scripts --legacy-peer-deps --no-audit --no-fund @upscalerjs/maxim-...@0.1.0

Which specialists run on a picture, and in which order, is the chain's ``order``:

- ``oracle`` is told what damage is there and how it came about, and undoes the last first. No chain can know more.
- ``fixed`` is told what damage is there, and keeps to one order: the order of :data:`TASKS`.
- ``diagnosis`` is told nothing. Our model looks at the picture, the specialist for the most likely damage runs, and it
  looks again, round after round: the agent that a person would build.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from cotir.configuration import nearest
from cotir.errors import ConfigError
from cotir.evaluate.maxim import Maxim
from cotir.evaluate.methods import Method, Pixels, Request, Restored
from cotir.evaluate.restorers import pipeline_version
from cotir.evaluate.tfjs import FILE, weight_bytes
from cotir.reasoning import Reasoning

RELEASE = "0.1.0"
"""Of the npm packages; other weights would be other results under the same name."""
ORDERS = ("oracle", "fixed", "diagnosis")


@dataclass(frozen=True)
class Task:
    """What one specialist does."""

    name: str
    """Of the package, after ``@upscalerjs/maxim-``."""
    data: str
    """What it was trained on."""
    kinds: tuple[str, ...]
    """The damage it is run for: what it was trained on, and what is nearer to that than to any other task."""

    def folder(self, modules: Path) -> Path:
        """Its model under ``node_modules``."""
        return modules / "@upscalerjs" / f"maxim-{self.name}" / "models"


TASKS: tuple[Task, ...] = (
    # A pixel that is wrong by itself is noise, however it came about. Compression is not among these: SIDD holds sensor
    # noise, and a photo of JPEG quality 15 got worse by its model (29.0 to 27.8 dB).
    Task("denoising", "SIDD: noise of phone cameras", ("noise", "impulse_noise")),
    # Snow and drops are not in Rain13k; like its streaks they are bright, small and in front of the scene.
    Task("deraining", "Rain13k: synthetic streaks", ("rain", "snow", "raindrop")),
    # Its twin for indoor scenes does worse on photos of the open air.
    Task("dehazing-outdoor", "RESIDE outdoor: synthetic haze", ("haze", "nonhomogeneous_haze")),
    Task("enhancement", "LOL: pairs of short and long exposures", ("low_light",)),
    # Few pixels enlarged are soft as a blurred picture is, and MAXIM has no model that enlarges.
    Task("deblurring", "GoPro: motion blur of a moving camera", ("blur", "low_resolution")),
)
"""In the fixed order: noise goes first, as every other model would take it for detail and amplify it; then what lies in
front of the scene, the nearest first; then the light; sharpening comes last, as it would harden what the others leave.
Damage that no task names is left in the picture."""

INSTALL = "npm install --prefix {folder} --ignore-scripts --legacy-peer-deps --no-audit --no-fund " + " ".join(
    f"@upscalerjs/maxim-{task.name}@{RELEASE}" for task in TASKS
)


class Specialists(Method):
    """MAXIM's models for single kinds of damage in a chain.

    Args:
        argument: the folder that the weights were installed in, or its ``node_modules``.
        order: one of ``oracle``, ``fixed`` and ``diagnosis``.
        model: what diagnoses: a preset, a folder or a hub id, as for :meth:`~cotir.CoTIRPipeline.from_pretrained`.
        rounds: how many specialists a diagnosis may run, at least 1.

    Raises:
        ConfigError: a key has no such value, or a model is not in the folder; the message says how to install it.
    """

    def __init__(
        self, argument: str | None = None, order: str = "diagnosis", model: str = "nano", rounds: str = "4"
    ) -> None:
        if order not in ORDERS:
            raise ConfigError(f"specialists: there is no order {order!r}{nearest(order, ORDERS)}; {', '.join(ORDERS)}")
        if not rounds.isdecimal() or int(rounds) < 1:
            raise ConfigError(f"specialists: rounds is {rounds!r}; it is a whole number, at least 1")
        self.order = order
        self.model = model
        self.rounds = int(rounds)
        self.modules = _modules(argument)
        self.version = f"1 maxim-{RELEASE}"
        self.diagnose: Callable[[Pixels], Reasoning] | None = None
        """What looks at a picture in a diagnosis; :meth:`prepare` loads ``model`` unless it is set before."""
        self._restorers: dict[str, Maxim] = {}

    def prepare(self) -> None:
        """See :class:`Method`. With a diagnosis, the version names the model that makes it by its weights.

        Raises:
            WeightsError: a model cannot be read.
        """
        for task in TASKS:
            self._restorer(task)
        if self.order == "diagnosis" and self.diagnose is None:
            self.diagnose = self._load_diagnosis()

    def release(self) -> None:
        """See :class:`Method`."""
        self._restorers.clear()
        self.diagnose = None

    def restore(self, request: Request) -> Restored:
        """See :class:`Method`.

        Raises:
            ConfigError: the order is ``oracle`` or ``fixed``, and what damage is there is not known.
            WeightsError: a model cannot be run.
        """
        if self.order == "diagnosis":
            return self._diagnosed(request.image)
        if request.kinds is None:
            raise ConfigError(
                f"{request.key}: the order {self.order!r} needs to know what damage is there, and this picture comes "
                "without labels; use order=diagnosis"
            )
        image = request.image
        tasks = newest_first(request.kinds) if self.order == "oracle" else in_fixed_order(request.kinds)
        for task in tasks:
            image = self._restorer(task)(image)
        return Restored(image, steps=tuple(task.name for task in tasks))

    def model_bytes(self) -> int:
        """See :class:`Method`. Of all specialists, since any may run; what diagnoses is not counted."""
        return sum(weight_bytes(task.folder(self.modules)) for task in TASKS)

    def _diagnosed(self, image: Pixels) -> Restored:
        """Look, run the specialist for what is most likely there, look again.

        A specialist runs once: damage still found after it is damage it cannot undo.
        """
        if self.diagnose is None:
            self.diagnose = self._load_diagnosis()
        first = thought = self.diagnose(image)
        run: list[Task] = []
        while len(run) < self.rounds:
            task = next_task(thought, run)
            if task is None:
                break
            image = self._restorer(task)(image)
            run.append(task)
            if len(run) < self.rounds:
                thought = self.diagnose(image)
        return Restored(image, first, tuple(task.name for task in run))

    def _load_diagnosis(self) -> Callable[[Pixels], Reasoning]:
        from cotir.pipeline import CoTIRPipeline

        pipeline = CoTIRPipeline.from_pretrained(self.model)
        pipeline.prepare_read_out()
        self.version = f"1 maxim-{RELEASE} cotir-{pipeline_version(pipeline)}"
        return lambda image: pipeline.explain(image)[0]

    def _restorer(self, task: Task) -> Maxim:
        if task.name not in self._restorers:
            self._restorers[task.name] = Maxim.load(task.folder(self.modules))
        return self._restorers[task.name]


def task_for(kind: str) -> Task | None:
    """The specialist for a kind of damage, or None."""
    return next((task for task in TASKS if kind in task.kinds), None)


def newest_first(kinds: Sequence[str]) -> list[Task]:
    """The specialists for ``kinds``, which are in the order they came about: the last is undone first; each once."""
    tasks = (task_for(kind) for kind in reversed(kinds))
    return list(dict.fromkeys(task for task in tasks if task is not None))


def in_fixed_order(kinds: Sequence[str]) -> list[Task]:
    """The specialists for ``kinds`` in the order of :data:`TASKS`."""
    return [task for task in TASKS if set(kinds).intersection(task.kinds)]


def next_task(thought: Reasoning, run: Sequence[Task]) -> Task | None:
    """The specialist for the most confident finding that has one, of those not in ``run``; None where all is done."""
    tasks = (task_for(finding.kind) for finding in thought.degradation)
    return next((task for task in tasks if task is not None and task not in run), None)


def _modules(argument: str | None) -> Path:
    """The ``node_modules`` that holds every specialist in the wanted release."""
    if argument is None:
        raise ConfigError(
            "specialists needs the folder of their weights: specialists:FOLDER; fill one with\n"
            + INSTALL.format(folder="FOLDER")
        )
    given = Path(argument).expanduser()
    modules = given if given.name == "node_modules" else given / "node_modules"
    wrong = [f"{task.name} ({fault})" for task in TASKS if (fault := _fault(task, modules)) is not None]
    if wrong:
        prefix = modules.parent
        raise ConfigError(
            f"specialists: {given} lacks {', '.join(wrong)}; install them with\n{INSTALL.format(folder=prefix)}"
        )
    return modules


def _fault(task: Task, modules: Path) -> str | None:
    """Why a specialist cannot be used; None if it can."""
    models = task.folder(modules)
    if not (models / FILE).is_file():
        return f"no {models / FILE}"
    try:
        release = json.loads((models.parent / "package.json").read_bytes())["version"]
    except (OSError, ValueError, KeyError, TypeError):
        return f"no version in {models.parent / 'package.json'}"
    return None if release == RELEASE else f"release {release} instead of {RELEASE}"
