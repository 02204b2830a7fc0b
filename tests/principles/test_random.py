"""Random selection: seeded by seed, prompt and round alone, and drawn from the whole constitution."""

from collections import Counter

from cai_lightning.principles.constitution import Principle, open_constitution
from cai_lightning.principles.selection import RandomSelector
from cai_lightning.run.records import Prompt

PRINCIPLES = open_constitution("default").principles
PROMPTS = [Prompt(id=f"{n:x}", prompt=f"Question {n}") for n in range(500)]


def selector(seed=0, prompts=PROMPTS):
    selector = RandomSelector()
    selector.prepare(PRINCIPLES, prompts, seed)
    return selector


def choices(selector, prompts=PROMPTS, rounds=4):
    return {(p.id, t): selector.select(p, t).principle.id for p in prompts for t in range(rounds)}


def test_a_choice_depends_on_neither_order_nor_share():
    share = PROMPTS[::-2]
    assert choices(selector(prompts=share), share).items() <= choices(selector()).items()


def test_other_seeds_choose_otherwise():
    one, other = choices(selector(seed=1)), choices(selector(seed=2))
    assert sum(one[key] == other[key] for key in one) < 0.2 * len(one)


def test_rounds_are_independent_and_every_principle_is_likely():
    drawn = choices(selector())
    counts = Counter(drawn.values())
    expected = len(drawn) / len(PRINCIPLES)
    assert all(0.5 * expected < counts[p.id] < 1.5 * expected for p in PRINCIPLES)
    repeated = sum(drawn[p.id, 0] == drawn[p.id, 1] for p in PROMPTS) / len(PROMPTS)
    assert 0 < repeated < 3 / len(PRINCIPLES)


def test_there_is_no_similarity():
    assert selector().select(PROMPTS[0], 0).similarity is None


def test_the_draws_are_the_same_in_every_release():
    selector = RandomSelector()
    selector.prepare([Principle(str(n), "?", ".") for n in range(16)], PROMPTS, seed=7)
    assert [selector.select(PROMPTS[0], round_index).principle.id for round_index in range(6)] == [
        "0",
        "2",
        "11",
        "12",
        "1",
        "8",
    ]
