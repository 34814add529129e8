"""The exceptions CoTIR raises on purpose.

Every message says what went wrong, the value that caused it, what would be allowed, and what to do about it, so that an
interface can print ``str(error)`` and stop. Anything that is not a :class:`CoTIRError` is a bug in CoTIR.
"""


class CoTIRError(Exception):
    """Base class: catch this to handle every foreseen failure."""


class ImageError(CoTIRError):
    """A picture that cannot be read, is larger than the stated limit, or cannot be written."""


class PromptError(CoTIRError):
    """An instruction or a reasoning trace that does not have the required form."""


class WeightsError(CoTIRError):
    """Weights that are missing, incomplete, of the wrong size, or that match no module."""


class ConfigError(CoTIRError):
    """A configuration value outside what is allowed."""


class TrainingError(CoTIRError):
    """A training run that cannot go on: its data, its checkpoint or its loss is not what it must be."""
