import pytest

from cotir.errors import PromptError
from cotir.prompts import Instruction, ReasoningTrace

TRACE = ReasoningTrace("a dark street", "heavy noise", "remove the noise")


def test_format_then_parse():
    assert ReasoningTrace.parse(TRACE.format()) == TRACE


def test_format_uses_the_released_markers():
    assert TRACE.format("done") == (
        "scene description: a dark street degradation description: heavy noise "
        "enhancement plan: remove the noise answer: done"
    )


def test_parse_takes_any_case_and_line_breaks():
    text = "Scene Description: a\nDEGRADATION description: b\n\nenhancement plan: 1. c\n2. d\nAnswer: e"
    assert ReasoningTrace.parse(text) == ReasoningTrace("a", "b", "1. c\n2. d")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("scene description: a answer: b", "lacks 'degradation description:', 'enhancement plan:'"),
        ("enhancement plan: p scene description: s degradation description: d answer: a", "in another order"),
        (
            "scene description: a degradation description: enhancement plan: c answer: d",
            "the degradation part .* is empty",
        ),
    ],
)
def test_a_broken_trace_is_refused(text, message):
    with pytest.raises(PromptError, match=message):
        ReasoningTrace.parse(text)


def test_an_empty_instruction_is_refused():
    with pytest.raises(PromptError, match="the precise instruction is empty"):
        Instruction(vague="fix it", precise=" ")
