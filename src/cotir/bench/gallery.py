"""One HTML page that shows a benchmark: pairs, recipe by recipe, with what was done and said, and histograms.

The page needs nothing else: pictures are WebP in data URLs, charts are inline SVG, and there is no script.
"""

import base64
import html
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from string import Template

import cv2
import numpy as np

from cotir.bench.schema import GROUPS, Metadata, Sample
from cotir.bench.shards import Bench
from cotir.bench.stats import PSNR_BOUNDS, SEVERITY_BOUNDS, Stats, survey
from cotir.bench.tars import write_whole
from cotir.degrade import to_json
from cotir.errors import ConfigError

_QUALITY = 90
_PAGE = Template("""<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>$title</title>
<style>
body { font: 14px/1.45 system-ui, sans-serif; margin: 2em auto; max-width: 1500px; padding: 0 1em;
  background: #16181b; color: #d8dadd; }
h1, h2 { font-weight: 600; } h2 { margin: 2em 0 .5em; border-bottom: 1px solid #3a3d42; }
h2 small, figcaption { color: #9a9ea5; font-weight: 400; }
nav { columns: 4 16em; } nav a, summary { color: #8ab4f8; text-decoration: none; cursor: pointer; }
.charts, .pairs { display: flex; flex-wrap: wrap; gap: 1.2em; }
figure { margin: 0; width: min-content; } figure img { display: block; width: ${width}px; height: ${width}px; }
.pair { display: flex; gap: 2px; } p { margin: .3em 0; }
pre { white-space: pre-wrap; word-break: break-word; font-size: 12px; color: #b9bdc4; }
svg text { fill: #9a9ea5; font-size: 10px; } svg rect { fill: #6a9df0; }
</style>
<h1>$title</h1>
<p>$summary</p>
<nav>$contents</nav>
<h2 id="charts">How much of what</h2>
<div class="charts">$charts</div>
$sections
</html>
""")


def write_gallery(
    root: str | os.PathLike[str], page: Path, *, samples: int = 200, width: int = 320, seed: int = 0
) -> int:
    """Write the page.

    Args:
        root: a built benchmark.
        page: the file to write; what was there is replaced.
        samples: how many pairs, as evenly over the recipes as it goes; test samples stand in for recipes that are
            only tested.
        width: of a picture on the page, in pixels.
        seed: which pairs.

    Returns:
        The number of pairs shown.

    Raises:
        ConfigError: the benchmark cannot be read, or is empty.
    """
    chosen = _choose(root, samples, seed)
    if not chosen:
        raise ConfigError(f"{root}: has no sample to show; build some")
    stats = survey(root)
    title = f"CoTIR-Bench: {Path(root).resolve().name}"
    text = _PAGE.substitute(
        title=html.escape(title),
        width=width,
        summary=f"{stats.samples} samples of {stats.photos} photos, {stats.bytes / 1e9:.2f} GB; "
        f"{sum(len(each) for each in chosen.values())} shown. Left LQ, right HQ.",
        contents="".join(f'<div><a href="#{deg}">{_plain(deg)}</a></div>' for deg in chosen),
        charts="".join(_charts(stats)),
        sections="".join(_section(deg, each, width) for deg, each in chosen.items()),
    )
    write_whole(page, text.encode())
    return sum(len(each) for each in chosen.values())


def _choose(root: str | os.PathLike[str], samples: int, seed: int) -> dict[str, list[Sample]]:
    """Samples by degradation type, in the order of the groups."""
    rng = np.random.default_rng(seed)
    pools: dict[str, tuple[Bench, np.ndarray]] = {}
    for bench in (Bench(root, "test"), Bench(root, "train")):
        for deg, rows in bench.rows_by_type.items():
            pools[deg] = (bench, rng.permutation(rows))
    counts = dict.fromkeys(pools, 0)
    left = min(samples, sum(len(rows) for _, rows in pools.values()))
    while left:
        for deg, (_, rows) in pools.items():
            if left and counts[deg] < len(rows):
                counts[deg] += 1
                left -= 1
    chosen = {deg: [pools[deg][0][int(row)] for row in pools[deg][1][:count]] for deg, count in counts.items() if count}
    return dict(sorted(chosen.items(), key=lambda each: (GROUPS.index(each[1][0].meta.group), len(each[0].split("-")))))


def _section(deg: str, samples: Sequence[Sample], width: int) -> str:
    figures = "".join(_figure(sample, width) for sample in samples)
    group = samples[0].meta.group
    return f'<h2 id="{deg}">{_plain(deg)} <small>{group}</small></h2><div class="pairs">{figures}</div>'


def _figure(sample: Sample, width: int) -> str:
    meta = sample.meta
    pictures = "".join(
        f'<img src="{_picture(data, width)}" alt="{name}" loading="lazy">' for name, data in _both(sample)
    )
    heads = ", ".join(f"{each.kind} {each.severity:.2f}" for each in meta.applied) or "clean"
    psnr = "identical" if meta.psnr is None else f"{meta.psnr:.1f} dB"
    return (
        f'<figure><div class="pair">{pictures}</div><figcaption><p>{heads} · {psnr}</p>'
        f"<details><summary>{html.escape(meta.instruction.precise)}</summary>{_details(meta)}</details>"
        "</figcaption></figure>"
    )


def _both(sample: Sample) -> Iterator[tuple[str, bytes]]:
    yield "LQ", sample.lq
    yield "HQ", sample.hq


def _details(meta: Metadata) -> str:
    words = (
        ("vague", meta.instruction.vague), ("scene", meta.trace.scene), ("degradation", meta.trace.degradation),
        ("plan", meta.trace.plan), ("written by", meta.writer), ("key", meta.key),
        ("photo", f"{meta.source.file} {meta.source.licence} {meta.source.author}"),
    )  # fmt: skip
    lines = "".join(f"<p><b>{name}</b> {html.escape(text)}</p>" for name, text in words)
    parameters = "\n".join(
        json.dumps({name: round(value, 4) if isinstance(value, float) else value for name, value in fields.items()})
        for fields in (json.loads(to_json(each.params)) for each in meta.applied)
    )
    return f"{lines}<pre>{html.escape(parameters)}</pre>"


def _picture(png: bytes, width: int) -> str:
    """A data URL, scaled down to the width if it is larger."""
    pixels = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR)
    if pixels is None:
        raise ConfigError("a picture in a shard cannot be decoded; run cotir bench verify")
    if pixels.shape[1] > width:
        pixels = cv2.resize(pixels, (width, width), interpolation=cv2.INTER_AREA)
    _, file = cv2.imencode(".webp", pixels, [cv2.IMWRITE_WEBP_QUALITY, _QUALITY])
    return f"data:image/webp;base64,{base64.b64encode(file.tobytes()).decode()}"


def _charts(stats: Stats) -> Iterator[str]:
    kinds = stats.kinds[:30]
    yield _bars("samples by kind", [each.kind for each in kinds], [each.samples for each in kinds])
    severities = np.sum([each.severities for each in stats.kinds] or [[0] * (len(SEVERITY_BOUNDS) - 1)], axis=0)
    yield _bars("severity, all kinds", [f"{low:g}" for low in SEVERITY_BOUNDS[:-1]], severities.tolist())
    yield _bars("PSNR(LQ, HQ) in dB", [f"{low}" for low in PSNR_BOUNDS[:-1]], stats.psnr)


def _bars(title: str, names: Sequence[str], counts: Sequence[int]) -> str:
    """A bar chart, bars lying, as SVG."""
    step, left, length = 15, 130, 220
    most = max([*counts, 1])
    rows = "".join(
        f'<text x="{left - 6}" y="{step * row + 11}" text-anchor="end">{html.escape(name)}</text>'
        f'<rect x="{left}" y="{step * row + 2}" width="{length * count / most:.1f}" height="{step - 4}"/>'
        f'<text x="{left + length * count / most + 5:.1f}" y="{step * row + 11}">{count}</text>'
        for row, (name, count) in enumerate(zip(names, counts, strict=True))
    )
    size = f'width="{left + length + 60}" height="{step * len(names) + 6}"'
    return f"<figure><svg {size}>{rows}</svg><figcaption>{title}</figcaption></figure>"


def _plain(deg: str) -> str:
    return deg.replace("-", " + ").replace("_", " ")
