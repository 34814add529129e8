"""``cotir explain``: what a model sees in pictures, without restoring them. Heavy imports wait inside."""

from typing import Annotated

import typer

from cotir.errors import CoTIRError
from cotir.interfaces.interruption import Interruption
from cotir.interfaces.models import Device, Dtype, Model
from cotir.interfaces.report import say_error

_EXAMPLES = """
[bold]Examples[/bold]

cotir explain old.jpg                      scene, degradation with confidences, plan

cotir explain scans -r --json > seen.jsonl  one JSON object in a line for each picture

[bold]Exit codes[/bold]: 0 all good, 1 some pictures failed, 2 nothing was tried, 130 stopped by Ctrl-C.
"""


def explain(
    pictures: Annotated[list[str], typer.Argument(metavar="PHOTO|FOLDER|GLOB...", help="What to look at.")],
    prompt: Annotated[
        str | None,
        typer.Option(
            metavar="TEXT|FILE.txt",
            help="An instruction, believed where the model does not measure; left out, it judges.",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, one picture in a line.")] = False,
    recursive: Annotated[bool, typer.Option("-r", "--recursive", help="Look into sub-folders too.")] = False,
    model: Annotated[str, typer.Option(metavar="nano|4b|9b|12b|PATH", help="A size or a folder.")] = "nano",
    base: Annotated[str | None, typer.Option(metavar="FOLDER", help="Folder or hub id of the base model.")] = None,
    adapter: Annotated[str | None, typer.Option(metavar="FOLDER", help="The folder 'cotir convert' made.")] = None,
    device: Annotated[Device, typer.Option(case_sensitive=False, help="auto takes the fastest.")] = Device.auto,
    dtype: Annotated[Dtype, typer.Option(case_sensitive=False, help="Of the weights.")] = Dtype.auto,
    max_pixels: Annotated[
        int | None, typer.Option(min=1, show_default="300 million", help="Refuse larger pictures.")
    ] = None,
    threads: Annotated[int | None, typer.Option(min=1, show_default="torch's choice", help="CPU threads.")] = None,
) -> None:
    """Tell what the model sees in pictures and would do about it. One pass each; no picture is written."""
    from cotir.files import MAX_PIXELS
    from cotir.interfaces.inputs import Inputs
    from cotir.interfaces.instructions import read_prompt
    from cotir.interfaces.reasoning import explain as run
    from cotir.interfaces.restore import check_found

    try:
        words = read_prompt(prompt)
        inputs = Inputs.of(pictures, recursive=recursive)
        check_found(inputs)
        with Interruption() as interruption:
            failed = run(
                inputs,
                words,
                Model(model, base, adapter, device, dtype, threads).load,
                interruption.check,
                max_pixels=MAX_PIXELS if max_pixels is None else max_pixels,
                as_json=as_json,
            )
    except CoTIRError as error:
        say_error(error)
        raise typer.Exit(2) from None
    except KeyboardInterrupt:
        raise typer.Exit(130) from None
    raise typer.Exit(1 if failed else 0)


def register(parent: typer.Typer) -> None:
    """Add ``explain`` to the command line."""
    parent.command(epilog=_EXAMPLES)(explain)
