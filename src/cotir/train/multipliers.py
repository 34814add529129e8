"""The multipliers of the Lagrangian: ascent on lambda, projected to lambda >= 0, by one of three rules, or none.

After each step on the weights, every constraint ``c = d - delta`` (positive: violated) moves its multiplier:

    released   Adam on -lambda c, then clamp                        as the released code does
    ascent     lambda <- max(0, lambda + lr c)                      plain projected ascent
    pi         lambda <- scale clip(integral + kp c, 0, ceiling)    a proportional-integral controller
    fixed      lambda stays                                         weights chosen by hand, for comparison

A rule holds plain numbers, on the CPU, and is given plain numbers: :func:`average_constraints` makes them the same on
every rank, so every rank holds the same lambda without asking another.
"""

import difflib
import inspect
import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

import torch
from accelerate import Accelerator
from torch import Tensor

from cotir.errors import ConfigError, TrainingError


class Multipliers(ABC):
    """One multiplier per constraint, never negative; zero at the start, unless fixed.

    Args:
        names: the constraints, each once.

    Raises:
        ConfigError: if there is no name, or one twice.
    """

    rule: ClassVar[str]

    def __init__(self, names: Iterable[str]) -> None:
        self.names = tuple(names)
        if not self.names or len(set(self.names)) < len(self.names):
            raise ConfigError(f"multipliers need the names of the constraints, each once; got {list(self.names)}")

    @property
    def values(self) -> dict[str, float]:
        """Lambda by name, each >= 0; what :func:`cotir.train.objective.lagrangian` takes."""
        return self._values()

    def __getitem__(self, name: str) -> float:
        return self.values[name]

    def ascend(self, constraints: Mapping[str, float], *, scale: float = 1.0) -> None:
        """One dual step, after the step on the weights.

        Args:
            constraints: c = d - delta by name, positive if violated, the same on every rank.
            scale: size of the flow loss (:func:`cotir.train.objective.flow_scale`), the same on every rank. Only
                ``pi`` counts in it; the other rules' steps are in absolute units.

        Raises:
            ConfigError: if the names are not those of the multipliers.
            TrainingError: if a constraint or the scale is not finite, or the scale is negative.
        """
        if set(constraints) != set(self.names):
            raise ConfigError(
                f"the multipliers are of {_listed(self.names)}, the constraints of {_listed(constraints)}"
            )
        for name, value in constraints.items():
            if not math.isfinite(value):
                raise TrainingError(
                    f"the constraint on {name} is {value}, not a finite number: look for broken samples, or resume "
                    "from the last checkpoint with a lower learning rate"
                )
        if not 0 <= scale < math.inf:
            raise TrainingError(f"the size of the flow loss is {scale}; it must be finite and not negative")
        self._step({name: float(constraints[name]) for name in self.names}, float(scale))

    def state_dict(self) -> dict[str, Any]:
        """The rule's memory as plain numbers and strings; JSON holds it without loss."""
        return {"rule": self.rule, **self._memory()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what :meth:`state_dict` returned.

        Raises:
            ConfigError: if the state is of another rule, of other constraints, or incomplete. Nothing is changed then.
        """
        if state.get("rule") != self.rule:
            raise ConfigError(
                f"the saved multipliers follow the rule {state.get('rule')!r}, these follow {self.rule!r}: "
                "resume with the rule the run began with, or begin a new run"
            )
        for field, own in self._memory().items():
            if field not in state:
                raise ConfigError(f"the saved multipliers lack {field!r}: the checkpoint is incomplete, take another")
            if isinstance(own, dict) and set(state[field]) != set(self.names):
                raise ConfigError(
                    f"the saved multipliers are of {_listed(state[field])}, these are of {_listed(self.names)}"
                )
        self._restore(state)

    @abstractmethod
    def _values(self) -> dict[str, float]: ...

    @abstractmethod
    def _step(self, constraints: dict[str, float], scale: float) -> None: ...

    @abstractmethod
    def _memory(self) -> dict[str, Any]: ...

    @abstractmethod
    def _restore(self, state: Mapping[str, Any]) -> None: ...


class ReleasedAdam(Multipliers):
    """The released code's rule: Adam (beta 0.9, 0.999) on -lambda c in float32, then lambda is clamped to >= 0.

    A step is about ``lr`` whatever the violation, so lambda grows to 12 at most in 120,000 steps.

    Every constraint's Adam is on its own, so the order of the names changes nothing here. In a released
    ``lambda_optimizer.bin`` it does: its entries 0, 1, 2 are degradation, plan, scene (a ParameterDict sorts d, p, s).

    Args:
        names: the constraints.
        lr: Adam's step.
    """

    rule = "released"

    def __init__(self, names: Iterable[str], *, lr: float = 1e-4) -> None:
        super().__init__(names)
        self._lambda = {name: torch.nn.Parameter(torch.zeros((), device="cpu")) for name in self.names}
        self._adam = torch.optim.Adam(self._lambda.values(), lr=_number("lr", lr), foreach=False)

    def _values(self) -> dict[str, float]:
        return {name: value.item() for name, value in self._lambda.items()}

    def _step(self, constraints: dict[str, float], scale: float) -> None:
        for name, value in self._lambda.items():
            value.grad = torch.full_like(value, -constraints[name])
        self._adam.step()
        with torch.no_grad():
            for value in self._lambda.values():
                value.clamp_(min=0)

    def _memory(self) -> dict[str, Any]:
        moments = {
            key: {name: float(self._adam.state[value].get(key, 0.0)) for name, value in self._lambda.items()}
            for key in ("step", "exp_avg", "exp_avg_sq")
        }
        return {"lambda": self.values, **moments}

    def _restore(self, state: Mapping[str, Any]) -> None:
        for name, value in self._lambda.items():
            with torch.no_grad():
                value.fill_(state["lambda"][name])
            self._adam.state[value] = {
                key: torch.tensor(state[key][name], dtype=torch.float32, device="cpu")
                for key in ("step", "exp_avg", "exp_avg_sq")
            }


class Ascent(Multipliers):
    """Projected gradient ascent: lambda <- max(0, lambda + lr c).

    Args:
        names: the constraints.
        lr: step, in lambda per unit of violation.
    """

    rule = "ascent"

    def __init__(self, names: Iterable[str], *, lr: float = 1e-3) -> None:
        super().__init__(names)
        self.lr = _number("lr", lr)
        self._lambda = dict.fromkeys(self.names, 0.0)

    def _values(self) -> dict[str, float]:
        return dict(self._lambda)

    def _step(self, constraints: dict[str, float], scale: float) -> None:
        self._lambda = {name: max(0.0, self._lambda[name] + self.lr * constraints[name]) for name in self.names}

    def _memory(self) -> dict[str, Any]:
        return {"lambda": self.values}

    def _restore(self, state: Mapping[str, Any]) -> None:
        self._lambda = {name: float(state["lambda"][name]) for name in self.names}


class ProportionalIntegral(Multipliers):
    """A proportional-integral controller on each constraint (nuPI: Sohrabi et al., ICML 2024, arXiv:2406.04558).

        violation <- smoothing * violation + (1 - smoothing) * c
        integral  <- clip(integral + ki * clip(violation, -limit, limit), 0, ceiling)
        lambda     = scale * clip(integral + kp * violation, 0, ceiling)

    The proportional part answers a violation at once and damps the oscillation of pure ascent; the integral part makes
    the violation vanish in the end.

    One set of gains serves every backbone because both sides of the controller are without unit. c is a difference of
    cosines. lambda is counted in ``scale``, a running mean of dL / d log(error) (``flow_scale``): the loss divided by
    it is log(error) + sum (lambda / scale) c to first order, whatever the latents. AdamW does not see the factor that
    remains. So lambda / scale = 1 pays one e-fold of the mean square error (4.3 dB) for a cosine distance of 1.

    Args:
        names: the constraints.
        kp: gain on the violation.
        ki: gain on the accumulated violation, per step. At 0.1 of violation lambda / scale moves by 1 in 2,000 steps.
        smoothing: weight of the past in the averaged violation.
        limit: largest violation that the integral takes in. c is never below -delta, but near 1 while a fresh adapter
            learns to speak: without a limit the integral winds up in hundreds of steps what takes thousands to unwind.
        ceiling: largest lambda / scale, so that a constraint that cannot be met does not drown the flow loss: what is
            gained of it costs at most ``ceiling`` e-folds of error per unit of distance (1.3 dB for 0.1).
    """

    # Written out, not taken from cooper-optim 1.0: its nuPI is a torch optimizer over tensors, has no bound against
    # windup, and clamps the recursive form, in which every upward twitch of a satisfied constraint lifts lambda off 0.

    rule = "pi"

    def __init__(
        self,
        names: Iterable[str],
        *,
        kp: float = 2.0,
        ki: float = 5e-3,
        smoothing: float = 0.9,
        limit: float = 0.1,
        ceiling: float = 3.0,
    ) -> None:
        super().__init__(names)
        self.kp, self.ki = _number("kp", kp), _number("ki", ki)
        self.smoothing = _number("smoothing", smoothing, high=0.999)
        self.limit, self.ceiling = _number("limit", limit), _number("ceiling", ceiling)
        self._integral = dict.fromkeys(self.names, 0.0)
        self._violation = dict.fromkeys(self.names, 0.0)
        self._scale = 0.0

    def _values(self) -> dict[str, float]:
        pull = {name: self._integral[name] + self.kp * self._violation[name] for name in self.names}
        return {name: self._scale * self._clipped(value) for name, value in pull.items()}

    def _clipped(self, value: float) -> float:
        return min(self.ceiling, max(0.0, value))

    def _step(self, constraints: dict[str, float], scale: float) -> None:
        # Slower than the violation's average: a flow loss depends on the times drawn, and its noise is no news.
        self._scale = 0.99 * self._scale + 0.01 * scale if self._scale else scale
        for name, value in constraints.items():
            violation = self._violation[name] = self.smoothing * self._violation[name] + (1 - self.smoothing) * value
            taken_in = min(self.limit, max(-self.limit, violation))
            self._integral[name] = self._clipped(self._integral[name] + self.ki * taken_in)

    def _memory(self) -> dict[str, Any]:
        return {"integral": dict(self._integral), "violation": dict(self._violation), "scale": self._scale}

    def _restore(self, state: Mapping[str, Any]) -> None:
        self._integral = {name: float(state["integral"][name]) for name in self.names}
        self._violation = {name: float(state["violation"][name]) for name in self.names}
        self._scale = float(state["scale"])


class Fixed(Multipliers):
    """Weights that never move: the penalty that a Lagrangian is compared with. At 0 nothing pulls at the reasoning.

    Args:
        names: the constraints.
        value: every lambda.
    """

    rule = "fixed"

    def __init__(self, names: Iterable[str], *, value: float = 0.0) -> None:
        super().__init__(names)
        self.value = _number("value", value)

    def _values(self) -> dict[str, float]:
        return dict.fromkeys(self.names, self.value)

    def _step(self, constraints: dict[str, float], scale: float) -> None:
        """Nothing moves."""

    def _memory(self) -> dict[str, Any]:
        return {"lambda": self.values}

    def _restore(self, state: Mapping[str, Any]) -> None:
        """Nothing to restore: the configuration holds the value."""


RULES: dict[str, type[Multipliers]] = {rule.rule: rule for rule in (ReleasedAdam, Ascent, ProportionalIntegral, Fixed)}


def make(rule: str, names: Iterable[str], **options: float) -> Multipliers:
    """Fresh multipliers that follow a rule of :data:`RULES`.

    Args:
        rule: ``released``, ``ascent``, ``pi`` or ``fixed``.
        names: the constraints, each once.
        options: the rule's own, see its class.

    Raises:
        ConfigError: if the rule or an option is unknown, or an option's value is out of range.
    """
    if rule not in RULES:
        raise ConfigError(f"there is no rule {rule!r} for the multipliers; the rules are {_listed(RULES)}")
    parameters = inspect.signature(RULES[rule]).parameters.values()
    allowed = [parameter.name for parameter in parameters if parameter.kind is parameter.KEYWORD_ONLY]
    for option in options:
        if option not in allowed:
            nearest = (difflib.get_close_matches(option, allowed, n=1) or allowed)[0]
            raise ConfigError(
                f"the multipliers' rule {rule!r} has no option {option!r}; its options are {_listed(allowed)}. "
                f"Nearest: {nearest}"
            )
    return RULES[rule](names, **options)


def average_constraints(constraints: Mapping[str, Tensor], accelerator: Accelerator | None = None) -> dict[str, float]:
    """Mean over micro-batches, then over ranks, as plain numbers.

    One all-reduce for all of them; every rank gets the same numbers bit for bit, so multipliers moved by them never
    drift apart. A value that is not finite on one rank is so on every rank, and all of them stop together.
    Other scalars may ride along, the flow loss for one.

    Args:
        constraints: by name, the values of this step's micro-batches, any shape, on one device; as many on every rank,
            with the same names in the same order.
        accelerator: whose ranks to average over; None if this process is the only one.
    """
    means = torch.stack([values.detach().float().mean() for values in constraints.values()])
    if accelerator is not None:
        means = accelerator.reduce(means, reduction="mean")
    assert isinstance(means, Tensor)  # reduce maps over containers and is annotated for all of them
    return dict(zip(constraints, means.tolist(), strict=True))


def _number(name: str, value: float, high: float = math.inf) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= high:
        bound = "not negative" if high == math.inf else f"from 0 to {high}"
        raise ConfigError(f"the multipliers' {name} is {value!r}; it must be a number, {bound}")
    return float(value)


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names)
