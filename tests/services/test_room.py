"""A question that a server has cut is told from one that it has read."""

import json
import os
import random
from pathlib import Path

import pytest
from transformers import AutoTokenizer

from cai_lightning.run.records import assistant, user
from cai_lightning.services.ollama import fewest_tokens, why_cut, why_too_long, why_unread

CONTEXT, ANSWER = 8192, 512


def test_what_clearly_cannot_fit_is_not_sent():
    assert why_too_long(60_000, ANSWER, CONTEXT) is None
    assert "100000 bytes" in why_too_long(100_000, ANSWER, CONTEXT)


@pytest.mark.parametrize("read", [None, 1, 700, 4098])
def test_a_short_question_fits_whatever_the_server_counts(read):
    assert why_cut(3_000, 500, read, ANSWER, CONTEXT) is None


@pytest.mark.parametrize(("size", "read"), [(20_000, 5_000), (20_000, 7_000), (30_000, 6_500)])
def test_a_long_question_that_was_read_is_no_cut_one(size, read):
    assert why_cut(size, size // 6, read, ANSWER, CONTEXT) is None


@pytest.mark.parametrize(
    ("size", "read"),
    [
        (40_000, 4_098),  # Ollama keeps half of the context, and counts what it has kept
        (20_000, 4_096),
        (60_000, 7_000),  # nine bytes a token are too many
        (30_000, 8_192),
        (36_000, 5_900),  # fewer than its 6,000 words, and six bytes a token
        (20_000, 0),  # as an Ollama that has the question in its cache may count
    ],
)
def test_a_cut_question_is_seen(size, read):
    assert f"has read {read} tokens of a request of {size} bytes" in why_cut(size, size // 6, read, ANSWER, CONTEXT)


def test_a_server_that_does_not_count_is_not_believed():
    assert "does not say" in why_cut(20_000, 3_000, None, ANSWER, CONTEXT)


SANDBOX = Path(__file__).parents[2] / "checkpoints" / "sandbox" / "chat"
REAL = os.environ.get("CAI_REAL_MODEL")
PIECES = ["a", "Bee", "9", "42", ".", "---", "=" * 70, " " * 130, "\n", "\t", "\u70e4\u9762", "\u0e01\u0e02", "\uac00"]
PIECES += ["\u00e9", "\u0301", "\U0001f600", "\u00a0", "\u2028", "\x1c", "/", "<|x|>", "haha" * 20, "'s"]


def texts(vocabulary, count=1_500):
    """Texts of up to 3,500 characters that a tokenizer makes few tokens of: its own longest ones, and repetitions."""
    chance = random.Random(0)
    longest = sorted(vocabulary, key=len)[-300:]
    for _ in range(count):
        pieces = chance.choice([PIECES, vocabulary, longest, [chance.choice([*PIECES, *longest])]])
        blank = chance.choice(["", " ", "\n"])
        yield blank.join(chance.choices(pieces, k=chance.randint(1, 800)))[:3_500]


@pytest.mark.parametrize("model", [str(SANDBOX), *([REAL] if REAL else [])])
def test_no_tokenizer_makes_fewer_tokens(model):
    tokenizer = AutoTokenizer.from_pretrained(model)
    vocabulary = [tokenizer.decode([token]) for token in range(len(tokenizer))]
    found = list(texts(vocabulary))
    for text, ids in zip(found, tokenizer(found, add_special_tokens=False)["input_ids"], strict=True):
        assert fewest_tokens([user(text)]) <= len(ids), repr(text)
        if ids:  # an empty count says nothing
            assert why_unread([user(text)], len(ids)) is None


def test_a_conversation_of_which_a_third_was_not_read_is_seen():
    """The prompts and answers of the sandbox say what words there are; a token for three quarters of each is much."""
    prompts = [json.loads(line)["prompt"] for line in (SANDBOX.parent / "prompts.jsonl").read_text().splitlines()]
    talk = [user(" ".join(prompts[:150])), assistant(" ".join(prompts[150:300])), user("Criticize that.")]
    tokens = round(1.3 * sum(len(turn["content"].split()) for turn in talk))
    assert why_unread(talk, tokens) is None
    assert f"has read {2 * tokens // 3} tokens of a conversation of at least" in why_unread(talk, 2 * tokens // 3)
    assert "num_ctx" in why_unread(talk, 1)


@pytest.mark.parametrize(
    "talk",
    [
        [user("a" * 100_000)],
        [user(" \n\t" * 100_000)],
        [user("---- **** " * 10_000)],
        [user("\u70e4\u9762\u5305" * 10_000)],
        [user("How?"), assistant(f"<think>{'I think. ' * 5_000}</think>So."), user("Why?")],
        [user("I rest. " * 128)],  # 256 words: no context is as small
    ],
)
def test_of_repeated_characters_other_scripts_and_thoughts_nothing_is_said(talk):
    assert why_unread(talk, 3) is None


def test_a_server_that_does_not_count_says_nothing():
    assert why_unread([user("I rest. " * 5_000)], 0) is None
