"""Read-outs that were made before: one for each text encoder, kept in a folder."""

import hashlib
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from cotir.backbones import Backbone
from cotir.encode import encode_text
from cotir.identity import text_identity
from cotir.read_out import ReadOut


def read_out_for(
    backbone: Backbone,
    components: Mapping[str, Any],
    folder: Path,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> ReadOut:
    """The read-out of a pipeline's text encoder: one made before, or a new one that is kept in ``folder``.

    Args:
        backbone: of the pipeline.
        components: of the pipeline, by name; the text encoder where it shall run.
        folder: the cache.
        on_progress: called with (texts encoded, texts in all) while it is made.

    Raises:
        WeightsError: the one that is there cannot be read.

    Warns:
        UserWarning: the new one cannot be kept, and has to be made again the next time.
    """
    encoder = hashlib.sha256(text_identity(backbone, components).encode()).hexdigest()[:32]
    path = folder / f"{encoder}.safetensors"
    if path.is_file():
        return ReadOut.load(path)
    made = ReadOut.fit(lambda texts: encode_text(backbone, components, texts), on_progress=on_progress)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        made.save(path)
    except OSError as error:
        warnings.warn(
            f"the read-out cannot be kept in {folder} ({error.strerror or error}); set COTIR_HOME", stacklevel=2
        )
    return made
