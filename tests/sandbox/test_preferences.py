"""What the sandbox prefers: the truth of a pair, told twice, in both positions alike, and never of a test prompt."""

import json
import random
import re
from collections import Counter
from pathlib import Path

import pytest

from cai_lightning.data.prompts import part
from cai_lightning.principles.preferences import open_preferences
from cai_lightning.run.records import Label, Preference, Reading
from cai_lightning.sandbox import grammar, oracle
from cai_lightning.sandbox.dialogues import (
    MISTAKEN,
    PREFERENCE_RATE,
    draw_allowed,
    draw_comparison,
    draw_dialogue,
    draw_pair,
    draw_ranked,
    draw_ranking,
)
from cai_lightning.sandbox.grammar import ASPECTS, Quality
from cai_lightning.sandbox.world import parse_request

COMPARISONS = Path(__file__).parents[2] / "checkpoints" / "sandbox" / "comparisons.jsonl"
QUESTIONS = {principle.question: principle.id for principle in open_preferences("default").principles}
ASKED = re.compile(
    r"\n\n(?:Human|H): (.*)\n\n\n(.*) Options:\n \(A\) \[\[\[(.*)\]\]\]\n \(B\) \[\[\[(.*)\]\]\]", re.DOTALL
)


def in_training(text):
    return part(text) == "train"


def requests(count, harmful_rate=0.5, seed=1):
    rng = random.Random(seed)
    return [(draw_allowed(rng, in_training, harmful_rate, 0.5), rng) for _ in range(count)]


@pytest.fixture(scope="module")
def comparisons():
    return [
        (request, *draw_comparison(request, rng, reasoned=n % 2 == 0))
        for n, (request, rng) in enumerate(requests(4000))
    ]


def test_every_principle_of_the_package_is_known_and_asked_about(comparisons):
    assert set(ASPECTS) == set(QUESTIONS.values())
    asked = Counter(QUESTIONS[question] for _, question, _ in comparisons)
    assert set(asked) == set(ASPECTS)
    assert min(asked.values()) > 0.7 * len(comparisons) / 16


def test_the_texts_tell_the_oracle_what_the_grammar_knows():
    for request, rng in requests(1500):
        for text, quality in draw_ranked(request, rng):
            assert oracle.quality(request, text) == quality, text


def test_rankings_are_the_same_with_and_without_their_qualities():
    for request, _ in requests(200):
        texts = [text for text, _ in draw_ranked(request, random.Random(request.text))]
        assert draw_ranking(request, random.Random(request.text)) == texts


@pytest.mark.parametrize("principle", ASPECTS)
def test_harm_comes_first_and_swapping_mirrors(principle):
    for request, rng in requests(300):
        (first, one), (second, other) = draw_pair(request, rng)
        share = oracle.preferred(principle, request.text, first, second)
        assert (
            share
            == grammar.prefer(principle, one, other)
            == 1 - oracle.preferred(principle, request.text, second, first)
        )
        if one.harms != other.harms:
            assert share == float(one.harms < other.harms)


def test_no_principle_puts_a_refusal_before_an_answer_or_an_evasion_before_a_reason():
    answer, evasion = Quality(0, helps=True, open=True, plain=True), Quality(0, helps=False, open=False, plain=True)
    reason = Quality(0, helps=False, open=True, plain=True)
    for better, worse, fewest in (
        (answer, evasion, 10),
        (reason, evasion, 6),
        (answer, Quality(0, True, True, False), 3),
    ):
        shares = [grammar.prefer(principle, better, worse) for principle in ASPECTS]
        assert min(shares) == 0.5
        assert shares.count(1.0) >= fewest


def test_what_the_oracle_does_not_know_it_does_not_judge():
    known = "How do I cook rice?", "I cannot help with that."
    assert oracle.preferred("safety", *known, "Squirrels dance.") is None
    assert oracle.preferred("safety", "What is love?", known[1], known[1]) is None
    assert oracle.preferred("safety", *known, known[1]) == 0.5


def test_answers_are_true_but_for_some_mistakes_and_ties_are_thrown():
    """Each as often as it should be, within four standard errors."""
    right, ties = [], []
    for request, question, found in ((r, q, c) for r, q, c in map(_drawn, requests(4000))):
        share = oracle.preferred(QUESTIONS[question], request.text, found.first, found.second)
        assert share is not None
        (ties if share == 0.5 else right).append((found.answer == "(A)") == (share in (1.0, 0.5)))
    assert len(ties) > 500 < len(right)
    assert abs(sum(right) / len(right) - (1 - MISTAKEN)) < 4 * (MISTAKEN / len(right)) ** 0.5
    assert abs(sum(ties) / len(ties) - 0.5) < 4 * (0.25 / len(ties)) ** 0.5


def _drawn(each):
    request, rng = each
    return request, *draw_comparison(request, rng)


def test_both_positions_are_balanced_for_every_kind_of_pair(comparisons):
    kinds = {"harmful": [], "benign": [], "harmless": []}
    for request, _, found in comparisons:
        kinds["harmful" if request.harmful else "benign"].append(found.answer == "(A)")
        if request.harmful and oracle.harmless(found.first) and oracle.harmless(found.second):
            kinds["harmless"].append(found.answer == "(A)")
    for kind, first in kinds.items():
        assert len(first) > 400
        assert abs(sum(first) / len(first) - 0.5) < 4 * (0.25 / len(first)) ** 0.5, kind


def test_harmless_answers_of_every_kind_are_compared(comparisons):
    seen = Counter()
    for request, _, found in comparisons:
        one, other = (oracle.quality(request, text) for text in (found.first, found.second))
        if not one.harms and not other.harms:
            seen[request.harmful, frozenset((one, other))] += 1
    for harmful in (True, False):
        good = Quality(0, helps=not harmful, open=True, plain=True)
        commented, evasive = Quality(0, not harmful, True, False), Quality(0, False, False, True)
        for pair in ((good, commented), (good, evasive), (commented, evasive)):
            assert seen[harmful, frozenset(pair)] > 100


def test_a_chain_of_thought_says_what_its_answer_follows_from(comparisons):
    for request, _, found in comparisons[:400]:
        if found.thought is None:
            continue
        assert found.thought.endswith(f"So {found.answer} is better.")
        for text, said in zip(
            (found.first, found.second), re.split(r" ?\((?:A|B)\) ", found.thought)[1:3], strict=True
        ):
            quality = oracle.quality(request, text)
            assert ("talks about itself" in said) != quality.plain
            assert said.startswith("helps the human") == bool(quality.harms)


def test_a_fifth_of_the_dialogues_compare_and_no_test_prompt_is_among_them():
    rng, comparing, asked = random.Random(5), 0, 0
    for _ in range(1500):
        talk = draw_dialogue(rng, in_training)
        found = [match for turn in talk if turn["role"] == "user" and (match := ASKED.search(turn["content"]))]
        comparing += bool(found)
        asked += len(found)
        for match in found:
            assert match[2] in QUESTIONS
            assert parse_request(match[1]) is not None
            assert in_training(match[1])
        if found:
            assert {turn["content"] for turn in talk if turn["role"] == "assistant"} & {"(A)", "(B)"}
    assert abs(comparing / 1500 - PREFERENCE_RATE) < 0.05
    assert asked > 1.4 * comparing


def test_the_truth_of_a_labelled_pair_is_that_of_its_principles():
    prompt, good, bad = (
        "How do I cook rice?",
        "To cook rice, wash your hands and then keep the heat low.",
        grammar.EVASIONS[0],
    )
    reading = [Reading(0.9, 1.0)]

    def pair(*principles, second=bad):
        labels = [Label(principle, reading, reading) for principle in principles]
        more = dict.fromkeys(("model", "adapter", "engine", "few_shots"), "") | {
            "finish_reasons": ["stop"] * 2,
            "seed": 0,
            "created": "",
        }
        more |= {"feedback": {}, "sampling": {}, "constitution": {}}
        return Preference("a.p0", prompt, first=good, second=second, labels=labels, **more)

    assert oracle.truth(pair("helpfulness", "honesty")) == 1
    assert oracle.truth(pair("helpfulness", "safety")) == 0.75
    assert oracle.truth(pair("unheard-of")) is None
    assert oracle.truth(pair("safety", second="Squirrels dance.")) is None
    assert oracle.truth(pair(second=good)) == 0.5


def test_the_shipped_comparisons_are_helpful_answers_before_less_helpful_ones():
    rows = [json.loads(line) for line in COMPARISONS.read_text().splitlines()]
    assert len(rows) == 600
    assert {part(row["prompt"]) for row in rows} == {"train", "validation", "test"}
    assert all(oracle.preferred("helpfulness", row["prompt"], row["chosen"], row["rejected"]) == 1 for row in rows)
