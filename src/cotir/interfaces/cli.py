"""The command line. Each command builds one thing and calls one function; heavy imports wait inside the commands."""

import io
import sys
from enum import Enum
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from cotir import __version__
from cotir.allocator import keep_freed_memory
from cotir.errors import ConfigError, CoTIRError, PromptError
from cotir.interfaces import bench, evaluate, train
from cotir.interfaces import explain as explaining
from cotir.interfaces.interruption import Interruption
from cotir.interfaces.models import Device, Dtype, Model
from cotir.interfaces.report import Report, legible, say, say_error

MODELS = ("nano", "4b", "9b", "12b")
"""Names of :data:`cotir.presets.PRESETS`, which takes torch to import."""
USAGE, INTERRUPTED = 2, 130
"""Exit codes: nothing was tried; stopped by Ctrl-C. 1 is: something failed."""

app = typer.Typer(
    name="cotir",
    help="Restore damaged photos: noise, blur, haze, rain, snow, compression, bad light, low resolution.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_show_locals=False,
)


class Format(str, Enum):
    """Formats to write; ``keep`` writes what was read."""

    keep = "keep"
    png = "png"
    jpg = "jpg"
    webp = "webp"
    tiff = "tiff"
    avif = "avif"


def main() -> None:
    """Run the command line."""
    keep_freed_memory()
    for stream in (sys.stdout, sys.stderr):
        # a name that the terminal's encoding lacks must not end the run
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    app(prog_name="cotir")


def _show_version(wanted: bool) -> None:
    if wanted:
        say(f"cotir {__version__}")
        raise typer.Exit


@app.callback()
def cotir(
    _version: Annotated[
        bool, typer.Option("--version", help="Print the version and stop.", callback=_show_version, is_eager=True)
    ] = False,
) -> None:
    """Restore damaged photos: noise, blur, haze, rain, snow, compression, bad light, low resolution."""


_OUTPUT, _MODEL, _RUN = "Output", "Model", "Run"

_RESTORE_EXAMPLES = """
[bold]Examples[/bold]

cotir restore old.jpg                                  writes old_restored.jpg

cotir restore old.jpg -o new.png --compare             and new_compare.png

cotir restore photos -o restored --recursive           mirrors the folder

cotir restore photos -o restored -r --skip-existing    goes on where it stopped

cotir restore 'scans/*.tif' --prompt 'remove haze'     your own instruction

cotir restore old.jpg --explain                        what it saw, and how sure it was

[bold]Exit codes[/bold]: 0 all good, 1 some pictures failed, 2 nothing was tried
(bad option, no picture, no model), 130 stopped by Ctrl-C.
"""


@app.command(epilog=_RESTORE_EXAMPLES)
def restore(
    pictures: Annotated[list[str], typer.Argument(metavar="PHOTO|FOLDER|GLOB...", help="What to restore.")],
    output: Annotated[
        str | None,
        typer.Option(
            "-o",
            "--output",
            metavar="OUT",
            rich_help_panel=_OUTPUT,
            help="A file (for one picture) or a folder, which mirrors an input folder. "
            "Otherwise a.jpg gives a_restored.jpg beside it.",
        ),
    ] = None,
    prompt: Annotated[
        str | None,
        typer.Option(metavar="TEXT|FILE.txt", help="What to do, in words or in a text file. Never required."),
    ] = None,
    model: Annotated[
        str, typer.Option(metavar=f"{'|'.join(MODELS)}|PATH", rich_help_panel=_MODEL, help="A size or a folder.")
    ] = "nano",
    base: Annotated[
        str | None, typer.Option(metavar="FOLDER", rich_help_panel=_MODEL, help="Folder or hub id of the base model.")
    ] = None,
    adapter: Annotated[
        str | None, typer.Option(metavar="FOLDER", rich_help_panel=_MODEL, help="The folder that 'cotir convert' made.")
    ] = None,
    steps: Annotated[
        int | None,
        typer.Option(
            min=1,
            show_default="the model's own",
            help="1 is the fidelity end, close to the mean of all originals that fit; "
            "more steps trade distortion for sharpness, and take longer.",
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, max=2**63 - 1, help="Same seed, same result.")] = 0,
    strength: Annotated[
        float, typer.Option(min=0, max=1, help="0 is the input exactly, 1 the result, between them a blend.")
    ] = 1.0,
    plan: Annotated[
        str | None,
        typer.Option(
            metavar="STEPS|auto",
            help="What to do, step by step, in place of --prompt: '1. dehaze 2. denoise'; "
            "'auto' looks at the picture first and restores it by the plan that comes of it, as nano does by itself "
            "where --prompt does not say what to do; 'never' keeps it from that.",
        ),
    ] = None,
    explain: Annotated[
        bool,
        typer.Option(
            "--explain",
            rich_help_panel=_OUTPUT,
            help="Tell what the model saw and planned, and write it as NAME.cotir.json. "
            "'cotir explain' does so without restoring.",
        ),
    ] = False,
    compare: Annotated[
        bool, typer.Option("--compare", rich_help_panel=_OUTPUT, help="Also write before | after as a_compare.png.")
    ] = False,
    recursive: Annotated[bool, typer.Option("-r", "--recursive", help="Look into sub-folders too.")] = False,
    overwrite: Annotated[
        bool,
        typer.Option("--overwrite", rich_help_panel=_OUTPUT, help="Replace what exists; an input only if -o names it."),
    ] = False,
    skip_existing: Annotated[
        bool, typer.Option("--skip-existing", rich_help_panel=_OUTPUT, help="Leave out pictures whose result exists.")
    ] = False,
    format: Annotated[
        Format, typer.Option(rich_help_panel=_OUTPUT, case_sensitive=False, help="Kind of file to write.")
    ] = Format.keep,
    quality: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=100,
            rich_help_panel=_OUTPUT,
            show_default="90 to 95, by format",
            help="Of JPEG, WebP, AVIF and HEIC.",
        ),
    ] = None,
    device: Annotated[
        Device, typer.Option(rich_help_panel=_RUN, case_sensitive=False, help="auto takes the fastest there is.")
    ] = Device.auto,
    dtype: Annotated[
        Dtype,
        typer.Option(rich_help_panel=_RUN, case_sensitive=False, help="auto is float32 for nano, else bfloat16."),
    ] = Dtype.auto,
    max_pixels: Annotated[
        int | None,
        typer.Option(
            min=1,
            rich_help_panel=_RUN,
            show_default="300 million",
            help="Refuse larger pictures, before they are decoded.",
        ),
    ] = None,
    threads: Annotated[
        int | None, typer.Option(min=1, rich_help_panel=_RUN, show_default="torch's choice", help="CPU threads.")
    ] = None,
    debug: Annotated[
        bool, typer.Option("--debug", rich_help_panel=_RUN, help="Show tracebacks of unforeseen errors.")
    ] = False,
) -> None:
    """Restore photos, whatever is wrong with them.

    Prints one line per picture. A picture that cannot be read is reported and the rest go on. Ctrl-C leaves no
    half-written file.
    """
    if overwrite and skip_existing:
        _stop(ConfigError("--overwrite and --skip-existing contradict each other; give one of them"), USAGE)
    if prompt is not None and plan is not None:
        _stop(ConfigError("--prompt and --plan both say what to do; give one of them"), USAGE)

    from cotir.files import MAX_PIXELS
    from cotir.interfaces.instructions import PLANS, read_plan, read_prompt
    from cotir.interfaces.restore import Existing, Options, Plan
    from cotir.interfaces.restore import restore as run

    report = None
    plan_first = None if plan is None else PLANS.get(plan.strip().lower(), False)
    try:
        asked = None if prompt is None else read_prompt(prompt)
        if plan is not None and plan.strip().lower() not in PLANS:
            asked = read_plan(plan)
        options = Options(
            prompt=asked,
            plan_first=plan_first,
            steps=steps,
            seed=seed,
            strength=strength,
            explain=explain,
            existing=Existing.REPLACE if overwrite else Existing.SKIP if skip_existing else Existing.FAIL,
            quality=quality,
            max_pixels=MAX_PIXELS if max_pixels is None else max_pixels,
            debug=debug,
        )
        work = Plan.of(pictures, output, recursive=recursive, format=format.value, compare=compare)
        with Interruption() as interruption, Report(work.inputs.survey.pictures) as report:
            run(work, options, Model(model, base, adapter, device, dtype, threads).load, report, interruption.check)
    except CoTIRError as error:
        _stop(error, USAGE)
    except KeyboardInterrupt:
        if report is not None:
            report.add_interruption(overwrite=overwrite)
        raise typer.Exit(INTERRUPTED) from None
    report.add_summary(work.inputs.survey.left_out)
    raise typer.Exit(1 if report.failed else 0)


@app.command(epilog="[bold]Example[/bold]: cotir convert released-4b ~/.cache/cotir/4b; cotir restore a.jpg --model 4b")
def convert(
    released: Annotated[Path, typer.Argument(metavar="RELEASED_DIR", help="Folder with lora.pt and cot_adapter.pt.")],
    output: Annotated[Path, typer.Argument(metavar="OUT", help="The adapter folder to write; it must not exist.")],
    preset: Annotated[
        str | None, typer.Option(metavar="|".join(MODELS[1:]), show_default="found by its sizes", help="What it is.")
    ] = None,
) -> None:
    """Turn released CoTIR weights into an adapter folder. No number changes, and no code in the pickles is run."""
    from cotir.released_weights import convert_released

    try:
        manifest = convert_released(released, output, preset)
    except (ConfigError, PromptError) as error:
        _stop(error, USAGE)
    except CoTIRError as error:
        _stop(error, 1)
    say(f"{legible(output)}: adapter for {manifest.preset}, LoRA of rank {manifest.rank}, base {manifest.base}")
    say(f"use it: cotir restore PHOTO --model {legible(output)}")


@app.command()
def doctor() -> None:
    """Tell what is installed here, which models are at hand, and what to install for the rest."""
    from cotir.interfaces.doctor import diagnose

    for section in diagnose():
        say(section.title, "bold")
        width = max(len(row.name) for row in section.rows)
        for row in section.rows:
            say(f"  {row.name:{width}}  {row.finding}", "yellow" if row.remedy else "")
            if row.remedy:
                say(f"  {'':{width}}  -> {row.remedy}")


bench.register(app)
explaining.register(app)
train.register(app)
evaluate.register(app)


def _stop(error: CoTIRError, code: int) -> NoReturn:
    say_error(error)
    raise typer.Exit(code)
