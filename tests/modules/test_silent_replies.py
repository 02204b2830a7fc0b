"""A reply without words is a failed one: it is drawn anew, by this run and the next, and no draw is taken twice."""

import random
from collections import Counter
from dataclasses import replace
from types import SimpleNamespace

import pytest

from cai_lightning.callbacks.recording import RecordListener, Sink
from cai_lightning.engines import Engine, Reply, Sampling
from cai_lightning.modules import CritiqueRevision
from cai_lightning.principles.selection import RandomSelector
from cai_lightning.run import jsonl
from cai_lightning.run.records import Failure, Prompt, Revision

PROMPTS = [Prompt(f"{n:016x}", f"How do I pick lock {n}?") for n in range(12)]
STAGES = ["response", "critique0", "revision0", "critique1", "revision1"]


class Silent(Engine):
    """Says which draw it is, and nothing in some draws; its texts and thoughts depend on the seed alone.

    Args:
        share: Of draws that come to no words.
        number: Which ones these are.
    """

    concurrency = 4

    def __init__(self, share, number=0, temperature=1.0):
        self.model, self.sampling = "silent", Sampling(temperature=temperature)
        self.share, self.number, self.asked, self.talks = share, number, [], []

    def start(self, device, adapter=None):
        pass

    def stop(self):
        pass

    async def choose(self, conversation, options):
        raise NotImplementedError

    async def reply(self, conversation, seed):
        self.asked.append(seed)
        self.talks.append(conversation)
        draw = random.Random(f"{self.number}:{seed}")
        if draw.random() >= self.share:
            return Reply(f"words of {seed}", "stop", 3, 9, draw.choice([None, f"thought of {seed}"]))
        blank, thought = draw.choice([("", None), (" \n\t", None), ("", "Hm, and"), ("\u2003", None)])
        return Reply(blank, "length" if thought else "stop", 3, 9, thought)


class Ledger(RecordListener):
    def __init__(self):
        self.records = []

    def on_record(self, record):
        self.records.append(record)


def predict(run, engine, prompts, **settings):
    """The rows that a run makes, and its failures, which it leaves behind for the next one."""
    made = CritiqueRevision(engine, RandomSelector(), revisions=2, **settings)
    ledger = Ledger()
    made.sink = Sink(ledger)
    made._trainer = SimpleNamespace(training=False, default_root_dir=str(run), datamodule=SimpleNamespace(done=0))
    made.predict_step(prompts, 0)
    failed = [record for record in ledger.records if isinstance(record, Failure)]
    jsonl.write(run / "failed.jsonl", [vars(failure) for failure in failed])
    rows = [record for record in ledger.records if isinstance(record, Revision)]
    return {row.id: replace(row, created="") for row in rows}, failed


@pytest.mark.parametrize("number", range(25))
def test_rows_do_not_depend_on_how_often_a_run_was_started_again(tmp_path, number):
    share = random.Random(number).choice([0.1, 0.4, 0.7, 0.85])
    (tmp_path / "whole").mkdir()
    whole, failed = predict(tmp_path / "whole", Silent(share, number), PROMPTS, tries=1000)
    assert not failed
    made, missing, asked, runs = {}, PROMPTS, [], 0
    while missing:
        engine = Silent(share, number)
        rows, failed = predict(tmp_path, engine, missing, tries=1 + number % 4)
        asked += engine.asked
        made |= rows
        runs += 1
        assert {failure.id for failure in failed} == {prompt.id for prompt in missing} - rows.keys()
        assert all(failure.reason.startswith(("empty reply", "unfinished thought")) for failure in failed)
        missing = [prompt for prompt in missing if prompt.id not in made]
    assert made == whole
    silent = Counter(seed for seed in asked if Silent(share, number) and is_silent(seed, share, number))
    assert set(silent.values()) <= {1}, "a draw that is known to be silent was taken again"
    for row in made.values():
        assert all(text.strip() for text in [row.initial_response, *(turn.revision for turn in row.rounds)])


def is_silent(seed, share, number):
    return random.Random(f"{number}:{seed}").random() < share


def test_the_first_try_is_todays_draw_and_its_number_is_appended_to_the_next(tmp_path):
    engine = Silent(0.5, 3)
    rows, _ = predict(tmp_path, engine, PROMPTS[:1], tries=100)
    seeds = [f"42:{PROMPTS[0].id}:{stage}" for stage in STAGES]
    assert [seed for seed in engine.asked if seed.count(":") == 2] == seeds
    expected = []
    for seed in seeds:
        draws = [seed, *(f"{seed}:{number}" for number in range(1, 100))]
        first = next(n for n, draw in enumerate(draws) if not is_silent(draw, 0.5, 3))
        expected += draws[: first + 1]
    assert engine.asked == expected
    assert len(expected) > len(seeds)
    assert rows[PROMPTS[0].id].initial_response.startswith(f"words of {seeds[0]}")


def test_thoughts_have_a_field_of_their_own_and_no_part_in_what_follows(tmp_path):
    engine = Silent(0.0)
    rows, _ = predict(tmp_path, engine, PROMPTS)
    for row in rows.values():
        seeds = [f"42:{row.id}:{stage}" for stage in STAGES]
        thoughts = [random.Random(f"0:{seed}") for seed in seeds]
        [draw.random() for draw in thoughts]
        expected = [draw.choice([None, f"thought of {seed}"]) for draw, seed in zip(thoughts, seeds, strict=True)]
        assert row.thoughts == (expected if any(expected) else None)
    assert not any("thought of" in turn["content"] for talk in engine.talks for turn in talk)
    assert any(row.thoughts for row in rows.values())


def test_a_failure_says_its_stage_its_reason_and_how_many_draws_it_took(tmp_path):
    _, failed = predict(tmp_path, Silent(1.0), PROMPTS[:3])
    assert {(failure.stage, str(failure.silent_draws)) for failure in failed} == {("response", "{'response': 3}")}
    assert {failure.reason for failure in failed} <= {
        f"{why} in each of 3 draws" for why in ("empty reply", "unfinished thought")
    }
    _, failed = predict(tmp_path, Silent(1.0), PROMPTS[:3])
    assert {str(failure.silent_draws) for failure in failed} == {"{'response': 6}"}


def test_at_temperature_0_every_draw_would_be_the_same(tmp_path):
    engine = Silent(1.0, temperature=0.0)
    _, failed = predict(tmp_path, engine, PROMPTS[:3])
    assert len(engine.asked) == 3
    assert {failure.reason.rpartition(", ")[2] for failure in failed} == {"drawn once"}


def test_tries_are_a_number_from_1_on():
    with pytest.raises(ValueError, match="tries >= 1 expected, found 0"):
        CritiqueRevision(Silent(0.0), RandomSelector(), tries=0)
