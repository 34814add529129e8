import re

import numpy as np
import pytest

from cotir.degrade import KINDS
from cotir.errors import ConfigError
from cotir.phrases import (
    PHRASES,
    PRECISE_CLEAN,
    TERMS,
    VAGUE,
    listed,
    phrases_of,
    precise_bank,
    precise_instruction,
)
from cotir.prompts import DEFAULT_INSTRUCTION

SEVEN = ("haze", "rain", "raindrop", "low_light", "blur", "noise", "jpeg")


def test_hundreds_of_vague_instructions_and_none_twice():
    assert len(VAGUE) >= 200 and len(set(VAGUE)) == len(VAGUE)
    assert VAGUE[0] == DEFAULT_INSTRUCTION


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_has_twenty_precise_instructions_that_name_it(kind):
    bank = precise_bank((kind,), 30)
    assert len(bank) >= 20 and len(set(bank)) == len(bank)
    assert all(TERMS[kind].search(sentence) for sentence in bank)


@pytest.mark.parametrize("kind", KINDS)
def test_no_vague_instruction_names_a_kind(kind):
    assert not [sentence for sentence in VAGUE if TERMS[kind].search(sentence)]


@pytest.mark.parametrize("count", range(2, 8))
def test_composites_name_every_kind_in_twenty_sentences(count):
    kinds = SEVEN[:count]
    bank = precise_bank(kinds)
    assert len(bank) == len(set(bank)) == 40
    for sentence in bank:
        assert [kind for kind in kinds if not TERMS[kind].search(sentence)] == []


def test_a_bank_is_always_the_same():
    assert precise_bank(("haze", "blur"), 25) == precise_bank(("haze", "blur"), 25)
    assert precise_bank(("haze", "blur"), 25) != precise_bank(("haze", "noise"), 25)


def test_clean_pictures_have_instructions_of_their_own():
    assert len(set(precise_bank(()))) == len(PRECISE_CLEAN) >= 20


@pytest.mark.parametrize("bank", [VAGUE, PRECISE_CLEAN, *(precise_bank((kind,)) for kind in PHRASES)])
def test_sentences_are_tidy(bank):
    untidy = re.compile(r"\b(\w+) \1\b|[{}]|,,|\.$| [,;?]|  |^ | $")
    assert [sentence for sentence in bank if untidy.search(sentence)] == []


def test_what_is_undone_first_is_named_first():
    rng = np.random.default_rng(0)
    assert listed(["a", "b", "c"]) == "a, b and c" and listed(["a"]) == "a"
    sentence = precise_instruction(("haze", "jpeg"), rng)
    assert TERMS["jpeg"].search(sentence).start() < TERMS["haze"].search(sentence).start()


def test_a_kind_without_phrases_is_named():
    with pytest.raises(ConfigError, match="'fog' has no phrases; add it to PHRASES"):
        phrases_of("fog")
