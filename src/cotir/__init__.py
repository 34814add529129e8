"""CoTIR: universal image restoration via internalized chain-of-thought reasoning.

Importing this package is cheap: torch, diffusers and friends load when a public name is first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cotir.pipeline import CoTIROutput, CoTIRPipeline

__version__ = "0.1.0"

__all__ = ["CoTIROutput", "CoTIRPipeline", "__version__"]

_HOMES = {"CoTIRPipeline": "cotir.pipeline", "CoTIROutput": "cotir.pipeline"}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'cotir' has no attribute {name!r}; it offers {', '.join(__all__)}")


def __dir__() -> list[str]:
    return sorted(__all__)
