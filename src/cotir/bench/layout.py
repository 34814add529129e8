"""What lies around the shards for the released loader and evaluation: prompt banks and the list of test samples."""

import json
from collections.abc import Iterable
from pathlib import Path

from cotir.bench.recipes import Recipes
from cotir.bench.schema import Metadata
from cotir.bench.tars import TEST, write_whole
from cotir.phrases import VAGUE, precise_bank

PROMPTS = "prompts"


def write_prompts(root: Path, recipes: Recipes) -> None:
    """Instructions, one a line: ``prompts/gen_prompt.txt`` names no damage, ``spe_prompt/<type>.txt`` all of it."""
    write_whole(root / PROMPTS / "gen_prompt.txt", _lines(VAGUE))
    for recipe in recipes:
        write_whole(root / PROMPTS / "spe_prompt" / f"{recipe.deg}.txt", _lines(precise_bank(recipe.kinds)))


def write_test_list(root: Path, keys: Iterable[str]) -> None:
    """``test/test.jsonl``: a line for each test sample, as the released evaluation reads it. Nothing without samples.

    Raises:
        ConfigError: a sample's metadata is damaged.
    """
    lines = []
    for key in keys:
        meta = Metadata.from_json((root / TEST / "meta" / f"{key}.json").read_bytes())
        line = {
            "id": key,
            "subset": meta.group,
            "deg_type": meta.deg,
            "lq_path": f"lq/{key}.png",
            "gen_prompt": meta.instruction.vague,
            "spe_prompt": meta.instruction.precise,
        }
        lines.append(json.dumps(line, ensure_ascii=False))
    if lines:
        write_whole(root / TEST / "test.jsonl", _lines(lines))


def _lines(lines: Iterable[str]) -> bytes:
    return "".join(f"{line}\n" for line in lines).encode()
