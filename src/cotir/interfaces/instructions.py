"""What a person asks for: words, a file of words, or a plan."""

import re
from pathlib import Path

from cotir.errors import PromptError
from cotir.prompts import DEFAULT_INSTRUCTION

_NUMBER = re.compile(r"(?:^|(?<=[\s;,.]))\(?\d{1,2}[.):](?:\s+|$)")
_STEP = re.compile(r"[;\n]+|,?\s+then\s+", re.IGNORECASE)
_LEAD = re.compile(r"^(?:first|then|next|finally|and|-|\*)[\s,:]+", re.IGNORECASE)


PLANS = {"auto": True, "never": False}
"""Whether the model is to make the plan itself, by the word for it."""


def read_prompt(text: str | None) -> str:
    """The instruction of ``--prompt``: itself, what the .txt file of that name holds, or the default for None.

    Raises:
        PromptError: it is empty, or the file cannot be read.
    """
    if text is None:
        return DEFAULT_INSTRUCTION
    source, words = "the prompt", text
    if text.lower().endswith(".txt"):
        source = f"the prompt file {text}"
        try:
            words = Path(text).read_text(encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            said = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
            raise PromptError(f"{source} cannot be read: {said}") from error
    if not words.strip():
        raise PromptError(f"{source} is empty; write what to do, or leave --prompt out for {DEFAULT_INSTRUCTION!r}")
    return " ".join(words.split())


def read_plan(text: str) -> str:
    """A plan as the precise instruction: "1. dehaze 2. denoise" becomes "dehaze, then denoise".

    Steps are numbered, or parted by semicolons, lines or "then".

    Raises:
        PromptError: it holds no step.
    """
    steps = [_LEAD.sub("", part.strip()).strip(" ,.") for part in _STEP.split(_NUMBER.sub(";", text))]
    steps = [" ".join(step.split()) for step in steps if step]
    if not steps:
        raise PromptError(f"the plan {text!r} holds no step; write it as '1. clear the haze 2. remove the noise'")
    return ", then ".join(step[0].lower() + step[1:] if step[:2].istitle() else step for step in steps)
