"""The multipliers of the Lagrangian: dual ascent on lambda, projected to lambda >= 0."""

from collections.abc import Iterable, Mapping


class ProportionalIntegral:
    """A proportional-integral controller on each constraint (nuPI: Sohrabi et al., ICML 2024, arXiv:2406.04558).

        lambda = max(0, integral + kp * c)        integral <- clip(integral + ki * c, 0, ceiling)

    where c is the constraint's exponentially averaged violation. The proportional part answers a violation at once and
    damps the oscillation of pure ascent; the integral part makes it vanish in the end.

    Args:
        names: the constraints.
        kp: gain on the violation.
        ki: gain on the accumulated violation, per step.
        smoothing: weight of the past in the averaged violation.
        ceiling: largest integral, so that a constraint that cannot be met does not drown the flow loss.
    """

    def __init__(
        self, names: Iterable[str], kp: float = 2.0, ki: float = 2e-3, smoothing: float = 0.9, ceiling: float = 1.0
    ) -> None:
        self.kp, self.ki, self.smoothing, self.ceiling = kp, ki, smoothing, ceiling
        self.integral = dict.fromkeys(names, 0.0)
        self.violation = dict.fromkeys(self.integral, 0.0)

    def __getitem__(self, name: str) -> float:
        return max(0.0, self.integral[name] + self.kp * self.violation[name])

    def ascend(self, constraints: Mapping[str, float]) -> None:
        """One dual step with the constraints' values c (positive: violated) of the step just taken."""
        for name, value in constraints.items():
            self.violation[name] = self.smoothing * self.violation[name] + (1 - self.smoothing) * value
            self.integral[name] = min(self.ceiling, max(0.0, self.integral[name] + self.ki * self.violation[name]))

    def state_dict(self) -> dict[str, dict[str, float]]:
        """The controller's memory."""
        return {"integral": dict(self.integral), "violation": dict(self.violation)}

    def load_state_dict(self, state: Mapping[str, Mapping[str, float]]) -> None:
        """Restore the memory written by :meth:`state_dict`."""
        self.integral, self.violation = dict(state["integral"]), dict(state["violation"])
