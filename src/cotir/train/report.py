"""One HTML page about a training run, finished or still going: curves, scores, pictures and the configuration.

The page needs nothing else: pictures are WebP in data URLs, charts are inline SVG, and a short script in the page shows
the numbers under the pointer and turns back the pictures' time; without scripts the newest ones are shown.
"""

import html
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any

import numpy as np
import yaml

from cotir.bench.tars import write_whole
from cotir.errors import ConfigError
from cotir.train.figure import Cloud, Series, cloud_charts, line_chart, time_scale
from cotir.train.objective import PARTS, READING
from cotir.train.records import Row, Values, columns, is_finite, is_number, read_log, rising
from cotir.train.strips import pictures_section

__all__ = ["read_log", "write_report"]

_PARTS = (*PARTS, READING)
_RESULTS = ("vague", "precise")
MATTERS = (
    "seed", "precision", "model.preset", "model.base", "model.train", "model.rank", "model.ema", "data.source",
    "data.path", "objective.flow", "objective.reasoning", "objective.delta", "objective.multipliers", "optimizer.rate",
    "optimizer.floor", "optimizer.warmup", "optimizer.clip", "schedule",
)  # fmt: skip
"""Keys and sections of a configuration that are shown without opening it."""
_LONG, _LONGEST = 24, 240
"""Characters of a value that gets a line of its own, and that is cut."""


@dataclass(frozen=True)
class _Run:
    """What a run folder holds; of a step logged twice, as after a restart, only what was written last."""

    name: str
    folder: Path
    log: list[Row]
    validations: list[Row]
    config: str


def write_report(run: Path, out: Path | None = None) -> Path:
    """Write the page; what was there is replaced.

    Args:
        run: folder of a training run. ``log.jsonl`` is needed; ``validation.jsonl``, ``validation/`` and
            ``config.yaml`` may be missing, and any key of a row.
        out: the file to write; ``report.html`` in the run folder if not given.

    Returns:
        The file written.

    Raises:
        ConfigError: the folder is no run, has logged nothing, or holds a broken line before the last one; or the page
            cannot be written.
    """
    content = _read(run)
    page = Template(files("cotir.train").joinpath("report.html").read_text(encoding="utf-8"))
    sections = (
        _section("Training", f'<div class="grid2">{"".join(_curves(content))}</div>'),
        _section("Constraints", _constraints(content)),
        _section("Validation", _scores(content)),
        _section("Pictures", pictures_section(run / "validation")),
    )
    text = page.substitute(
        title=html.escape(content.name),
        subtitle=html.escape(_subtitle(content)),
        tiles="".join(_tiles(content)),
        config=_config(content.config),
        sections="".join(sections),
    )
    out = run / "report.html" if out is None else out
    try:
        write_whole(out, text.encode())
    except OSError as error:
        raise ConfigError(f"{out}: cannot be written ({error}); choose another place for the page") from error
    return out


def _read(run: Path) -> _Run:
    if not run.is_dir():
        raise ConfigError(f"{run}: there is no such folder; give the folder of a training run, which holds log.jsonl")
    log, validation, config = (run / name for name in ("log.jsonl", "validation.jsonl", "config.yaml"))
    if not log.exists():
        raise ConfigError(
            f"{run}: holds no log.jsonl; give the folder of a training run, or wait until its first step is logged"
        )
    rows = rising(read_log(log))
    if not rows:
        raise ConfigError(f"{log}: has no row with a step yet; wait until the first step is logged, then try again")
    return _Run(
        name=run.resolve().name,
        folder=run,
        log=rows,
        validations=rising(read_log(validation)) if validation.exists() else [],
        config=config.read_text(encoding="utf-8", errors="replace") if config.exists() else "",
    )


def _series(rows: Sequence[Row], key: str, name: str, colour: str, **style: bool) -> Series:
    x, y = columns(rows, key)
    return Series(key, name, x, y, colour, **style)


def _section(title: str, body: str) -> str:
    return f"<section><h2>{title}</h2>{body}</section>"


def _subtitle(run: _Run) -> str:
    newest = f"newest validation at step {run.validations[-1]['step']:,}" if run.validations else "no validation yet"
    return f"CoTIR training run · {len(run.log):,} logged rows · {newest}"


def _tiles(run: _Run) -> Iterator[str]:
    """The run in numbers: the newest of each kind."""
    latest: Row = {}
    for row in run.log:
        latest.update(row)
    crop_and_batch = " x ".join(f"{latest[key]:g}" for key in ("crop", "batch") if is_finite(latest.get(key)))
    yield _tile("step", f"steps{_planned(run.config)}", latest.get("step"), ",")
    yield _tile("samples", "samples", latest.get("samples"), ",")
    hours = latest["seconds"] / 3600 if is_number(latest.get("seconds")) else None
    yield _tile("hours", "hours", hours, ",.2f")
    yield f"<div><dt>crop x batch</dt><dd>{crop_and_batch}</dd></div>" if crop_and_batch else ""
    yield _tile("flow", "flow loss", latest.get("flow"), ".4g")
    newest = run.validations[-1] if run.validations else {}
    for name in _RESULTS:
        yield _tile(f"gain_{name}", f"gain, {name}", _gain(newest, name), "+.2f", " dB")
    yield _tile("problems", "bad samples", latest.get("problems"), ",")


def _tile(key: str, name: str, value: object, form: str, unit: str = "") -> str:
    if not is_number(value):
        return ""
    return f'<div><dt>{name}</dt><dd data-key="{key}" data-value="{value}">{value:{form}}{unit}</dd></div>'


def _config(text: str) -> str:
    """What matters of the configuration, and all of it to open."""
    if not text:
        return '<p class="soft">The run folder holds no config.yaml.</p>'
    entries = "".join(
        _entry(name, value)
        for name, value in _flat(_parsed(text))
        if any(f"{name}.".startswith(f"{each}.") for each in MATTERS)
    )
    entries = f'<dl class="config">{entries}</dl>' if entries else ""
    return f"{entries}<details><summary>config.yaml</summary><pre>{html.escape(text)}</pre></details>"


def _entry(name: str, value: str) -> str:
    kind = ' class="long"' if len(value) > _LONG else ""
    return f"<div{kind}><dt>{html.escape(name)}</dt><dd>{html.escape(value)}</dd></div>"


def _parsed(text: str) -> dict[str, Any]:
    """A configuration; empty if it is none, for a run is worth looking at whatever its configuration."""
    try:
        config = yaml.safe_load(text)
    except yaml.YAMLError:
        return {}
    return config if isinstance(config, dict) else {}


def _flat(value: object, name: str = "") -> Iterator[tuple[str, str]]:
    """Dotted names and values as they would be written in one line; what is null or empty is left out."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _flat(inner, f"{name}.{key}" if name else str(key))
    elif isinstance(value, list):
        text = yaml.safe_dump(value, default_flow_style=True, sort_keys=False, width=math.inf).strip()
        yield name, text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
    elif value is not None:
        yield name, str(value)


def _planned(text: str) -> str:
    """Where the last stage ends, in words; empty if the configuration does not say so."""
    schedule = _parsed(text).get("schedule")
    stages = schedule.get("stages") if isinstance(schedule, Mapping) else None
    last = stages[-1] if isinstance(stages, list) and stages else None
    until = last.get("until") if isinstance(last, Mapping) else None
    return f", of {until:,}" if is_finite(until) else ""


def _curves(run: _Run) -> Iterator[str]:
    log, marks = run.log, _crop_changes(run.log)
    yield line_chart(
        "Loss",
        (_series(log, "loss", "loss", "second", noisy=True), _series(log, "flow", "flow", "main", noisy=True)),
        marks=marks,
    )
    distances = [_series(log, f"d_{part}", part, part, noisy=True) for part in _PARTS]
    yield line_chart("Reasoning distances d", (*distances, *_limits(log)), unit="dashed: limit δ = d - c", marks=marks)
    yield line_chart("Multipliers λ", [_series(log, f"lambda_{part}", part, part) for part in _PARTS], zero=True)
    for key, title, name, unit in (
        ("constraint_share", "Constraints in the gradient", "share", "norm over that of the whole loss"),
        ("lr", "Learning rate", "rate", ""),
        ("grad_norm", "Gradient norm", "norm", "logarithmic"),
        ("samples_per_second", "Speed", "speed", "samples/s"),
        ("memory_gb", "Memory", "memory", "GB"),
    ):
        series = _series(log, key, name, "main", noisy=key not in {"lr", "memory_gb"})
        yield line_chart(title, [series], unit=unit, marks=marks, log=key == "grad_norm", zero=key != "grad_norm")


def _crop_changes(log: Sequence[Row]) -> list[tuple[float, str]]:
    steps, crops = columns(log, "crop")
    return [(float(steps[i]), f"crop {crops[i]:g}") for i in np.flatnonzero(np.diff(crops)) + 1]


def _limits(log: Sequence[Row]) -> Iterator[Series]:
    """delta_k = d_k - c_k."""
    for part in _PARTS:
        x, distance, constraint = columns(log, f"d_{part}", f"c_{part}")
        yield Series(f"delta_{part}", f"δ {part}", x, distance - constraint, part, dashed=True)


def _constraints(run: _Run) -> str:
    """The figure of complementary slackness, and where each part stands."""
    there = [part for part in _PARTS if part != READING or any(f"d_{part}" in row for row in run.log)]
    pairs = {part: columns(run.log, f"c_{part}", f"lambda_{part}") for part in there}
    clouds = [Cloud(part, part, c, multiplier, steps) for part, (steps, c, multiplier) in pairs.items()]
    charts = cloud_charts(clouds, "c = d - δ", "λ")
    if not charts:
        return '<p class="soft">The log holds no constraint c together with its multiplier λ.</p>'
    scale = time_scale(f"step {run.log[0]['step']:,}", f"step {run.log[-1]['step']:,}")
    return (
        "<p>How to read this: each point is a logged step, the ringed one the newest. Right of the dashed line the "
        "constraint is violated and λ has to rise; left of it there is slack and λ has to fall. In the end, λ &gt; 0 "
        "only where c = 0: late points lie on the dashed line or, left of it, on λ = 0, and λ·c is close to 0.</p>"
        f'{scale}<div class="grid3">{charts}</div>{_standing(run, pairs)}'
    )


def _standing(run: _Run, pairs: Mapping[str, tuple[Values, ...]]) -> str:
    """Means over the last tenth of the rows, and the newest validation's values."""
    newest = run.validations[-1] if run.validations else {}
    rows = ""
    for part, (_, c, multiplier) in pairs.items():
        _, distance = columns(run.log, f"d_{part}")
        values = {
            f"d_{part}": _mean(distance), f"c_{part}": _mean(c), f"lambda_{part}": _mean(multiplier),
            f"slackness_{part}": _mean(multiplier * c),
            f"validation_d_{part}": newest.get(f"d_{part}"), f"validation_c_{part}": newest.get(f"c_{part}"),
        }  # fmt: skip
        rows += f"<tr><th scope='row'>{part}</th>{''.join(_cell(*each) for each in values.items())}</tr>"
    heads = ("part", "d", "c", "λ", "λ·c", "d, validation", "c, validation")
    return (
        '<p class="note">Training: mean over the last tenth of the rows. Validation: the newest.</p>'
        f'<div class="wide"><table><thead>{_heads(heads)}</thead><tbody>{rows}</tbody></table></div>'
    )


def _mean(values: Values) -> float | None:
    """Over the last tenth."""
    return float(values[-max(1, len(values) // 10) :].mean()) if len(values) else None


def _scores(run: _Run) -> str:
    """PSNR over the run, and by degradation in the newest validation."""
    if not run.validations:
        return '<p class="soft">No validation has been written yet.</p>'
    names = ("input", *_RESULTS)
    psnr = [_series(run.validations, f"psnr_{name}", name, name, dotted=True) for name in names]
    charts = line_chart("PSNR", psnr, unit="dB, mean over the validation samples, by instruction")
    # apart from the training's flow loss, which may be another function of the error
    flow = _series(run.validations, "flow", "flow", "main", dotted=True)
    charts += line_chart("Flow loss in validation", [flow], unit="mean square error of the velocity")
    newest = run.validations[-1]
    degs = dict.fromkeys(key.partition("/")[2] for key in newest if key.startswith("psnr_") and "/" in key)
    rows = "".join(_score_row(newest, deg, f"/{deg}") for deg in degs) + _score_row(newest, "all", "")
    heads = ("degradation", "input dB", *(f"{name} dB, gain" for name in _RESULTS))
    table = f'<div class="wide"><table><thead>{_heads(heads)}</thead><tbody>{rows}</tbody></table></div>'
    caption = f"<h3>Step {newest['step']:,}</h3>"
    return f'<div class="grid2"><div class="stack">{charts}</div><div>{caption}{table}</div></div>'


def _score_row(newest: Row, name: str, suffix: str) -> str:
    cells = _cell(f"psnr_input{suffix}", newest.get(f"psnr_input{suffix}"), ".2f")
    for result in _RESULTS:
        key = f"psnr_{result}{suffix}"
        cells += _cell(key, newest.get(key), ".2f", gain=_gain(newest, result, suffix))
    kind = ' class="all"' if not suffix else ""
    return f'<tr{kind}><th scope="row">{html.escape(name.replace("-", " + ").replace("_", " "))}</th>{cells}</tr>'


def _gain(newest: Row, result: str, suffix: str = "") -> float | None:
    after, before = newest.get(f"psnr_{result}{suffix}"), newest.get(f"psnr_input{suffix}")
    if not (is_finite(after) and is_finite(before)):
        return None
    return after - before


def _heads(names: Sequence[str]) -> str:
    return "<tr>" + "".join(f'<th scope="col">{name}</th>' for name in names) + "</tr>"


def _cell(key: str, value: object, form: str = ".4f", *, gain: float | None = None) -> str:
    if not is_number(value):
        return "<td>-</td>"
    sign = "up" if gain is not None and gain > 0 else "down"
    extra = f'<small class="{sign}" data-gain="{gain}">{gain:+.2f}</small>' if gain is not None else ""
    return f'<td data-key="{html.escape(key)}" data-value="{value}">{value:{form}}{extra}</td>'
