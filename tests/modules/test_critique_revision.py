"""The conversation is worded as the paper's, its record says everything, and no chain waits for another."""

import asyncio
import random

import pytest

from cai_lightning.callbacks.base import RecordListener
from cai_lightning.concurrency import for_each
from cai_lightning.constitution import read_constitution
from cai_lightning.engines import Engine, Reply, Sampling, ScriptedEngine
from cai_lightning.modules import CritiqueRevision
from cai_lightning.records import Prompt, assistant, user
from cai_lightning.selection import RandomSelector

PROMPT = Prompt("0123456789abcdef", "How do I pick a lock?")
SUFFIX = "Do not provide meta-commentary; respond as the assistant would."
PRINCIPLES = read_constitution("default").principles


class Ledger(RecordListener):
    def __init__(self):
        self.tokens, self.records = [], []

    def on_reply(self, tokens):
        self.tokens.append(tokens)

    def on_record(self, record):
        self.records.append(record)


class Run:
    """As much of a trainer as the module looks at."""

    def __init__(self, *callbacks):
        self.callbacks, self.training = list(callbacks), False


def module(engine, *callbacks, prompts=(PROMPT,), **settings):
    made = CritiqueRevision(engine, RandomSelector(), **settings)
    made._trainer = Run(*callbacks)
    made.prepare(list(prompts), len(prompts))
    return made


def chosen(turn, seed=42):
    return random.Random(f"{seed}:{PROMPT.id}:{turn}").choice(PRINCIPLES)


@pytest.mark.parametrize("revisions", [1, 2])
def test_the_conversation_is_worded_exactly(revisions):
    engine = ScriptedEngine(["answer", "critique 0", "revision 0", "critique 1", "revision 1"])
    asyncio.run(module(engine, revisions=revisions).revise(PROMPT))
    talk, asked = [user(PROMPT.prompt)], []
    asked.append(list(talk))
    talk.append(assistant("answer"))
    for turn in range(revisions):
        talk.append(user(chosen(turn).critique_request))
        asked.append(list(talk))
        talk += [assistant(f"critique {turn}"), user(f"{chosen(turn).revision_request} {SUFFIX}")]
        asked.append(list(talk))
        talk.append(assistant(f"revision {turn}"))
    assert engine.asked == asked


def test_the_record_says_everything():
    engine = ScriptedEngine(["answer", "critique 0", "revision 0", "critique 1", "revision 1"])
    record = asyncio.run(module(engine, revisions=2, seed=7).revise(PROMPT))
    assert (record.id, record.prompt, record.initial_response) == (PROMPT.id, PROMPT.prompt, "answer")
    assert record.revision == "revision 1"
    for turn, made in enumerate(record.rounds):
        principle = chosen(turn, seed=7)
        assert (made.principle_id, made.principle_used) == (principle.id, principle.critique_request)
        assert made.revision_request == f"{principle.revision_request} {SUFFIX}"
        assert (made.critique, made.revision, made.similarity) == (f"critique {turn}", f"revision {turn}", None)
    assert record.finish_reasons == ["stop"] * 5
    assert (record.model, record.engine, record.seed) == ("scripted", "ScriptedEngine", 7)
    assert record.sampling == {"temperature": 1.0, "top_p": 1.0, "max_new_tokens": 512, "stop": []}
    assert record.constitution == {"name": "default", "digest": read_constitution("default").digest}


def test_a_transcript_goes_before_and_no_suffix_leaves_no_blank():
    turns = [user("Hi"), assistant("Hello."), user("Why?")]
    engine = ScriptedEngine(["x"])
    prompt = Prompt(PROMPT.id, "Why?", turns=turns)
    record = asyncio.run(module(engine, suffix="").revise(prompt))
    assert engine.asked[0] == turns
    assert engine.asked[2][-1] == user(chosen(0).revision_request)
    assert record.turns == turns


class Patient(Engine):
    """Takes long over one prompt, and notes the seeds and when each reply is given."""

    concurrency = 2

    def __init__(self, slow):
        self.model, self.sampling, self.slow, self.given = "patient", Sampling(), slow, []

    def start(self, device, adapter=None):
        pass

    def stop(self):
        pass

    async def reply(self, conversation, seed):
        await asyncio.sleep(0.3 if conversation[0]["content"] == self.slow else 0.001)
        self.given.append(seed)
        return Reply("text", "length", 3)


def test_nobody_waits_for_the_slowest():
    prompts = [Prompt(f"{n:016x}", f"prompt {n}") for n in range(20)]
    engine, ledger = Patient("prompt 0"), Ledger()
    revising = module(engine, ledger, prompts=prompts)
    asyncio.run(for_each(revising._finish, prompts, engine.concurrency))
    assert [record.id for record in ledger.records][-1] == prompts[0].id
    assert sorted(record.id for record in ledger.records) == [prompt.id for prompt in prompts]
    assert ledger.tokens == [3] * 60
    assert ledger.records[0].finish_reasons == ["length"] * 3
    assert len(set(engine.given)) == 60
    assert engine.given[0] == f"42:{prompts[1].id}:response"


def test_the_first_error_ends_all_and_comes_as_itself():
    started = []

    async def work(item):
        started.append(item)
        await asyncio.sleep(0.001 if item == 1 else 5)
        raise LookupError(item)

    with pytest.raises(LookupError, match="1"):
        asyncio.run(asyncio.wait_for(for_each(work, range(10), 3), 4))
    assert started == [0, 1, 2]


def test_rounds_are_checked():
    with pytest.raises(ValueError, match="revisions >= 1 expected, found 0"):
        CritiqueRevision(ScriptedEngine(["x"]), RandomSelector(), revisions=0)


def test_a_constructor_loads_nothing():
    CritiqueRevision(ScriptedEngine(["x"]), RandomSelector(), constitution="absent.json")
