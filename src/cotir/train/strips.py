"""A run's validation pictures on its page: the newest of each sample, and how it looked at earlier steps.

A validation writes ``step-00000200/00-haze.png``, a strip of four pictures, and ``00-haze.json`` beside it. While a run
goes on these may be incomplete: a strip that cannot be read yet is left out, words that cannot be are not shown.
"""

import base64
import html
import io
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

PANELS = ("input", "vague", "precise", "reference")
"""What a strip shows, from the left: the damaged picture, its restorations by both instructions, and the original."""
_STEP = re.compile(r"step-(\d+)")
_MOST_STEPS = 8
_MOST_SAMPLES = 24
_WIDEST = 1280
"""Pixels of a strip; larger ones are scaled down."""
_QUALITY_NEWEST, _QUALITY_EARLIER = 95, 85


@dataclass(frozen=True)
class _Take:
    """A sample at a step: a data URL of its strip, and what was written beside it."""

    step: int
    strip: str
    words: dict[str, Any]


def pictures_section(folder: Path) -> str:
    """The pictures of a run's ``validation`` folder as HTML, with a slider if there are several steps."""
    found = [(int(match[1]), path) for path in sorted(folder.glob("step-*")) if (match := _STEP.fullmatch(path.name))]
    steps = sorted((step, path) for step, path in found if any(path.glob("*.png")))
    if not steps:
        return '<p class="soft">No validation pictures have been written yet.</p>'
    chosen = [steps[i] for i in np.unique(np.linspace(0, len(steps) - 1, _MOST_STEPS).round().astype(int))]
    names = sorted({path.stem for _, folder in chosen for path in folder.glob("*.png")})
    figures = "".join(_figure(name, chosen) for name in names[:_MOST_SAMPLES])
    shown = f"{_MOST_SAMPLES} of {len(names)} samples. " if len(names) > _MOST_SAMPLES else ""
    note = f'<p class="note">{shown}Compressed for this page; the files themselves are in the run folder.</p>'
    return f'{_slider([step for step, _ in chosen])}<div class="takes">{figures}</div>{note}'


def _slider(steps: Sequence[int]) -> str:
    newest = f"<output>step {steps[-1]:,}</output>"
    if len(steps) == 1:
        return f"<p>{newest}</p>"
    last = len(steps) - 1
    return (
        f'<div class="slider"><input type="range" min="0" max="{last}" value="{last}" aria-label="step" '
        f'data-steps="{" ".join(map(str, steps))}">{newest}</div>'
    )


def _figure(name: str, steps: Sequence[tuple[int, Path]]) -> str:
    newest = steps[-1][0]
    takes = [_read(step, folder / f"{name}.png", newest=step == newest) for step, folder in steps]
    shown = "".join(_take(take, hidden=take.step != newest) for take in takes if take)
    state = "" if takes[-1] else " hidden"
    return f"<figure{state}><h3>{html.escape(name)}</h3>{shown}</figure>" if shown else ""


def _read(step: int, strip: Path, *, newest: bool) -> _Take | None:
    """The take, or nothing if its strip is not (whole) there."""
    try:
        with Image.open(strip) as image:
            picture = image.convert("RGB")
    except (OSError, SyntaxError, ValueError):  # Pillow raises all of these on half-written files
        return None
    if picture.width > _WIDEST:
        size = (_WIDEST, max(1, round(picture.height * _WIDEST / picture.width)))
        picture = picture.resize(size, Image.Resampling.LANCZOS)
    file = io.BytesIO()
    picture.save(file, "WEBP", quality=_QUALITY_NEWEST if newest else _QUALITY_EARLIER)
    try:
        words = json.loads(strip.with_suffix(".json").read_bytes())
    except (OSError, ValueError):
        words = {}
    url = f"data:image/webp;base64,{base64.b64encode(file.getvalue()).decode()}"
    return _Take(step, url, words if isinstance(words, dict) else {})


def _take(take: _Take, *, hidden: bool) -> str:
    words = take.words
    rows = [(f"{name}", words[name]) for name in ("vague", "precise") if words.get(name)]
    read_out = words.get("read_out")
    rows += read_out.items() if isinstance(read_out, Mapping) else [("read out", read_out)] if read_out else []
    scores = [(name, words.get(f"psnr_{name}")) for name in PANELS[:3]]
    labels = "".join(f"<li>{name}{_score(dict(scores).get(name))}</li>" for name in PANELS)
    listed = "".join(f"<dt>{html.escape(str(k))}</dt><dd>{html.escape(as_words(v))}</dd>" for k, v in rows)
    state = " hidden" if hidden else ""
    return (
        f'<div class="take" data-step="{take.step}"{state}><div class="strip"><div><ol>{labels}</ol>'
        f'<img src="{take.strip}" alt="{", ".join(PANELS)}"></div></div><dl class="words">{listed}</dl></div>'
    )


def _score(value: object) -> str:
    return f' <b data-value="{value}">{value:.2f} dB</b>' if isinstance(value, (int, float)) else ""


def as_words(value: object) -> str:
    """What a model read out, in one line: texts, [word, confidence] pairs, and lists or mappings of such."""
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {as_words(inner)}" for key, inner in value.items())
    if isinstance(value, Sequence) and not isinstance(value, str):
        is_pair = len(value) == 2 and isinstance(value[0], str) and isinstance(value[1], float)
        return (" " if is_pair else ", ").join(map(as_words, value))
    return f"{value:.2f}" if isinstance(value, float) else str(value)
