"""``cotir bench`` and ``cotir degrade``: the command line of the benchmark. Heavy imports wait inside the commands."""

from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from cotir.errors import ConfigError, CoTIRError, ImageError
from cotir.interfaces.interruption import Interruption
from cotir.interfaces.report import legible, say, say_error

FAILED, USAGE, INTERRUPTED = 1, 2, 130
"""Exit codes: something failed or was left out; nothing was tried; stopped by Ctrl-C."""

app = typer.Typer(
    name="bench",
    help="Build, check and look at a benchmark of damaged photos made from your own.",
    no_args_is_help=True,
)


class Executor(str, Enum):
    """Who does the work."""

    local = "local"
    ray = "ray"


class Traces(str, Enum):
    """Who writes the reasoning."""

    template = "template"
    vlm = "vlm"


_Photos = Annotated[Path, typer.Argument(metavar="PHOTOS", help="Folder of clean photos; folders below count too.")]
_Bench = Annotated[Path, typer.Argument(metavar="BENCH", help="Folder that 'cotir bench build' made.")]
_Recipe = Annotated[
    Path, typer.Option("--recipe", metavar="FILE", help="Recipes, as configs/bench/default.yaml has them.")
]
_Size = Annotated[int, typer.Option(min=16, max=8192, help="Width and height of every picture.")]
_Seed = Annotated[int, typer.Option(min=0, max=2**63 - 1, help="Same seed, same bytes.")]
_VLM = "Reasoning by a vision-language model"


@app.command(
    epilog="[bold]Exit codes[/bold]: 0 all good, 1 a photo was left out or something failed, 2 nothing was tried, "
    "130 stopped by Ctrl-C. An interrupted build goes on when the same command is run again."
)
def build(
    photos: _Photos,
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Folder to build in.")],
    recipe: _Recipe,
    samples: Annotated[int, typer.Option(min=0, help="Number of training samples; test samples come on top.")],
    size: _Size = 512,
    seed: _Seed = 0,
    executor: Annotated[Executor, typer.Option(help="A pool of processes here, or Ray.")] = Executor.local,
    workers: Annotated[int, typer.Option(min=1, max=4096, help="Processes.")] = 1,
    address: Annotated[
        str | None, typer.Option(metavar="HOST:PORT", help="Of a Ray cluster.", show_default="this machine")
    ] = None,
    traces: Annotated[
        Traces, typer.Option(rich_help_panel=_VLM, help="Templates need nothing; vlm asks a model.")
    ] = Traces.template,
    vlm_url: Annotated[
        str | None, typer.Option(rich_help_panel=_VLM, metavar="URL", help="As http://localhost:8000/v1.")
    ] = None,
    vlm_model: Annotated[str | None, typer.Option(rich_help_panel=_VLM, metavar="NAME", help="Its name there.")] = None,
    vlm_cache: Annotated[
        Path | None,
        typer.Option(rich_help_panel=_VLM, metavar="FOLDER", help="Answers kept.", show_default="OUT/../vlm-cache"),
    ] = None,
    vlm_price: Annotated[
        tuple[float, float],
        typer.Option(rich_help_panel=_VLM, metavar="IN OUT", help="Per million tokens, for the bill."),
    ] = (0.0, 0.0),
) -> None:
    """Build a benchmark from clean photos: damaged pictures, instructions and reasoning, in shards."""
    with _ended_well(out), Interruption():
        from cotir.bench.build import build as run
        from cotir.bench.order import Order
        from cotir.bench.recipes import load_recipes
        from cotir.interfaces.bench_report import BuildReport

        writer = None
        if traces is Traces.vlm:
            from functools import partial

            from cotir.bench.vlm import Endpoint, Price, VlmWriter

            if vlm_url is None or vlm_model is None:
                raise ConfigError("--traces vlm needs --vlm-url and --vlm-model; a local server will do")
            cache = vlm_cache or out.parent / "vlm-cache"
            writer = partial(VlmWriter, Endpoint(vlm_url, vlm_model, price=Price(*vlm_price)), cache)
        order = Order(
            photos=photos,
            out=out,
            recipes=load_recipes(recipe),
            samples=samples,
            size=size,
            seed=seed,
            executor=executor.value,
            workers=workers,
            address=address,
            writer=writer,
            traces=f"vlm {vlm_model}" if writer else "template",
        )
        with BuildReport() as report:
            built = run(order, report)
        report.add_summary(built)
    raise typer.Exit(FAILED if built.skipped else 0)


@app.command()
def verify(bench: _Bench) -> None:
    """Check every hash of a benchmark; exit 1 and say where if anything differs."""
    with _ended_well(bench), Interruption():
        from cotir.bench.verify import verify as run
        from cotir.interfaces.bench_report import Bar

        with Bar("samples") as bar:
            verdict = run(bench, bar.update)
    for fault in verdict.faults:
        say(f"{legible(fault.file)}: {legible(fault.what)}", "red", error=True)
    say(f"{verdict.samples} samples, {verdict.shards} shards: {len(verdict.faults)} faults", "bold")
    raise typer.Exit(FAILED if verdict.faults else 0)


@app.command()
def plan(
    photos: _Photos,
    recipe: _Recipe,
    samples: Annotated[int, typer.Option(min=1, help="Of the build to plan.")] = 5_200_000,
    pilot: Annotated[int, typer.Option(min=1, help="Samples to measure with; a minute's worth at least.")] = 1000,
    size: _Size = 512,
    seed: _Seed = 0,
    workers: Annotated[int, typer.Option(min=1, max=4096, help="Processes of the pilot.")] = 1,
    cores: Annotated[int, typer.Option(min=1, help="Of each machine of the cluster.")] = 64,
) -> None:
    """Measure a small build on this machine, and tell what a large one takes: time, disk, machines."""
    with _ended_well(photos), Interruption():
        from cotir.bench.order import Order
        from cotir.bench.plan import measure
        from cotir.bench.recipes import load_recipes
        from cotir.interfaces.bench_report import BuildReport, say_plan

        order = Order(photos, photos, load_recipes(recipe), pilot, size=size, seed=seed, workers=workers)
        with BuildReport() as report:
            measured = measure(order, report)
        say_plan(measured, samples, cores)


@app.command()
def stats(
    bench: _Bench, as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False
) -> None:
    """Count what a benchmark holds: samples, kinds, severities, and how far LQ is from HQ."""
    with _ended_well(bench), Interruption():
        from cotir.bench.stats import survey
        from cotir.interfaces.bench_report import say_stats

        say_stats(survey(bench), as_json=as_json)


@app.command()
def gallery(
    bench: _Bench,
    output: Annotated[Path, typer.Option("-o", "--output", metavar="PAGE.html", help="The page to write.")] = Path(
        "gallery.html"
    ),
    samples: Annotated[int, typer.Option(min=1, help="Pairs to show, spread over the recipes.")] = 200,
    width: Annotated[int, typer.Option(min=32, max=2048, help="Of a picture on the page.")] = 320,
    seed: _Seed = 0,
) -> None:
    """Write one HTML page that shows pairs with their parameters, prompts and reasoning, and histograms."""
    with _ended_well(output), Interruption():
        from cotir.bench.gallery import write_gallery

        shown = write_gallery(bench, output, samples=samples, width=width, seed=seed)
        say(f"{shown} pairs -> {legible(output)}, {output.stat().st_size / 1e6:.1f} MB")


def degrade(
    image: Annotated[Path, typer.Argument(metavar="IMAGE", help="The picture to damage.")],
    kind: Annotated[
        list[str], typer.Option("--kind", metavar="KIND[:SEVERITY]", help="Such as rain:0.7; severity is 0 to 1.")
    ],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="OUT", show_default="beside it, as a_degraded.jpg")
    ] = None,
    seed: _Seed = 0,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace OUT if it exists.")] = False,
) -> None:
    """Damage one picture, and print what was done. Kinds are applied in the order light travels."""
    target = output or image.with_name(f"{image.stem}_degraded{image.suffix}")
    with _ended_well(target):
        import numpy as np

        from cotir.degrade import compose, sample_recipe, to_json
        from cotir.files import read, write

        asked = [_kind_and_severity(text) for text in kind]
        rng = np.random.default_rng(seed)
        applied = sample_recipe(rng, [name for name, _ in asked], [severity for _, severity in asked])
        if target.exists() and not overwrite:
            raise ConfigError(f"{target} exists; --overwrite replaces it")
        picture = read(image)
        result = write(picture.replace_pixels(compose(picture.pixels, applied)), target)
        for each in applied:
            say(f"{each.kind}:{each.severity:g}  {to_json(each.params)}")
        say(f"{legible(image)}  {picture.width} x {picture.height}  -> {legible(result)}")


def register(parent: typer.Typer) -> None:
    """Add ``bench`` and ``degrade`` to the command line."""
    parent.add_typer(app)
    example = "[bold]Example[/bold]: cotir degrade a.jpg --kind rain:0.7 --kind noise:0.4 -o b.jpg"
    parent.command(epilog=example)(degrade)


def _kind_and_severity(text: str) -> tuple[str, float]:
    from cotir.configuration import nearest
    from cotir.degrade import KINDS

    name, _, number = text.partition(":")
    if name not in KINDS:
        raise ConfigError(f"--kind {text}: there is no {name!r}{nearest(name, KINDS)}; choose from {', '.join(KINDS)}")
    try:
        severity = float(number) if number else 0.5
    except ValueError:
        severity = -1.0
    if not 0 <= severity <= 1:
        raise ConfigError(f"--kind {text}: the severity is {number!r}; write a number from 0 to 1, as in {name}:0.5")
    return name, severity


@contextmanager
def _ended_well(place: Path) -> Iterator[None]:
    """Say what went wrong, and end with the code for it."""
    try:
        yield
    except ImageError as error:
        _stop(error, FAILED)
    except CoTIRError as error:
        _stop(error, USAGE)
    except ModuleNotFoundError as error:
        _stop(ConfigError(f"this command needs {error.name}; pip install 'cotir[bench]'"), USAGE)
    except OSError as error:
        what = error.strerror or error
        _stop(ConfigError(f"{error.filename or place}: {what}; check the folder and the disk"), FAILED)
    except KeyboardInterrupt:
        say("interrupted: every file written is complete; to continue, run the same command", "yellow", error=True)
        raise typer.Exit(INTERRUPTED) from None


def _stop(error: CoTIRError, code: int) -> NoReturn:
    say_error(error)
    raise typer.Exit(code)
