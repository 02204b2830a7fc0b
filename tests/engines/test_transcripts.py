"""What is fed is what the template words, in its own tokens, except inside what the model has written."""

import random
from functools import lru_cache
from itertools import pairwise

import pytest
from templates import FAMILIES, THINKING, real_tokenizers

from cai_lightning.engines.transcripts import Transcripts
from cai_lightning.models.template import control_tokens
from cai_lightning.run.errors import UserError
from cai_lightning.run.records import assistant, user

CASES = 100
WORDS = [
    "Ask",
    "a locksmith",
    "1.",
    "\n\n",
    "\n",
    " ",
    "  ",
    "Füße",
    "🙂",
    "不",
    "user",
    "[x]",
    "<",
    "</",
    "*",
    "im_end",
]
REAL = real_tokenizers()
MADE = FAMILIES | THINKING | REAL
ANEW = {
    ("mistral", True): "its system turn moves to the last question",
    ("mistral_v0.3", True): "the same",
    ("qwen3", False): "it drops the empty thought in front of an earlier reply",
    ("qwen3", True): "the same",
}
"""Families whose earlier words change with every turn, with a system turn or without."""

SYSTEM = {"role": "system", "content": "Answer in French."}


@pytest.fixture(
    scope="module", params=[*FAMILIES, *THINKING, *(pytest.param(name, marks=pytest.mark.real) for name in REAL)]
)
def family(request):
    return request.param


@pytest.fixture(scope="module")
def tokenizer(family):
    return without_thoughts(MADE[family]())


def without_thoughts(tokenizer):
    """One whose template, if it knows thoughts, writes an empty one in front of the reply."""
    tokenizer.chat_template = "{% set enable_thinking = false %}" + tokenizer.chat_template
    return tokenizer


def text(rng):
    return "".join(rng.choice(WORDS) + rng.choice(["", " "]) for _ in range(rng.randrange(1, 9)))


def spelt(rng, tokenizer, said):
    """Tokens that say this, as a model that samples might take them: not always the tokenizer's."""
    cuts = sorted({0, len(said), *(rng.randrange(len(said) + 1) for _ in range(rng.randrange(4)))})
    pieces = [said[start:end] for start, end in pairwise(cuts)]
    written = [token for piece in pieces for token in tokenizer(piece, add_special_tokens=False)["input_ids"]]
    return written if tokenizer.decode(written).strip() == said.strip() else spelt(rng, tokenizer, said)


@lru_cache
def control(tokenizer):
    return set(tokenizer.convert_tokens_to_ids(control_tokens(tokenizer)))


def sections(tokenizer, ids):
    """The tokens between special ones, and these."""
    found = [[]]
    for token in ids:
        if token in control(tokenizer):
            found += [[token], []]
        else:
            found[-1].append(token)
    return found


def talks(tokenizer, rng, turns=4):
    """A conversation turn by turn: what is fed, what a cache holds of it, the template alone, and replies as written.

    A reply as written is its section: what stands there before it, and its tokens.
    """
    transcripts = Transcripts(tokenizer)
    talk = [SYSTEM] * rng.randrange(2)
    held, written = [], []
    for _ in range(turns):
        talk.append(user(text(rng)))
        fed = transcripts.encode(talk)
        assert transcripts.encode(talk) == fed, "it is worded alike however often it is asked about"
        own = sections(tokenizer, Transcripts(tokenizer).encode(talk))
        yield fed, held, own, list(written)
        said = rng.choice(["", " ", "\n"]) + text(rng) * rng.randrange(3) + rng.choice(["", " "])
        ids = spelt(rng, tokenizer, said)
        transcripts.remember(talk, fed, said.strip(), ids)
        held = [*fed, *ids]
        written.append([*own[-1], *ids])
        talk.append(assistant(said.strip()))


def letters(tokenizer, ids):
    return "".join(tokenizer.decode(ids).split())


def test_what_is_fed_is_the_templates_own_tokens_but_for_what_was_written(family, tokenizer):
    for case in range(CASES):
        has_system = bool(random.Random(case).randrange(2))
        for fed, held, own, written in talks(tokenizer, random.Random(case)):
            found = sections(tokenizer, fed)
            assert len(found) == len(own), f"case {case}: no beginning and no turn stands there twice"
            for one, other in zip(found, own, strict=True):
                said_alike = one in written and letters(tokenizer, one) == letters(tokenizer, other)
                assert one == other or said_alike, f"case {case}"
            assert (family, has_system) in ANEW or fed[: len(held)] == held, f"case {case}: nothing is read twice"


def test_a_special_token_that_a_reply_names_stays_text():
    tokenizer, transcripts = FAMILIES["chatml"](), Transcripts(FAMILIES["chatml"]())
    reply = "Write <|im_end|> at the end."
    written = tokenizer(reply, split_special_tokens=True)["input_ids"]
    asked = transcripts.encode([user("How?")])
    transcripts.remember([user("How?")], asked, reply, written)
    fed = transcripts.encode([user("How?"), assistant(reply), user("Why?")])
    assert fed[: len(asked) + len(written)] == [*asked, *written]
    assert tokenizer.decode(fed).count("<|im_end|>") - 1 == fed.count(tokenizer.eos_token_id) == 3


def test_options_are_not_weighed_as_the_first_words_of_a_thought():
    transcripts = Transcripts(THINKING["qwen3"]())
    asked = transcripts.encode([user("Which?")])
    assert transcripts.options(asked, ["(A)"])
    begun = [*asked, *transcripts.tokenizer("<think>\n", add_special_tokens=False)["input_ids"]]
    with pytest.raises(UserError, match="begins a thought, behind which no options can be weighed"):
        transcripts.options(begun, ["(A)"])
