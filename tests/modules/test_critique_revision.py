"""The conversation is worded as the paper's, its record says everything, and no chain waits for another."""

import asyncio
import json
import random
from dataclasses import asdict

import pytest

from cai_lightning.callbacks.recording import RecordListener, Sink
from cai_lightning.engines import Engine, Reply, Sampling, ScriptedEngine
from cai_lightning.modules import CritiqueRevision
from cai_lightning.principles.constitution import open_constitution
from cai_lightning.principles.few_shots import open_few_shots
from cai_lightning.principles.selection import RandomSelector
from cai_lightning.run.records import Prompt, assistant, user
from cai_lightning.services.concurrency import for_each

PROMPT = Prompt("0123456789abcdef", "How do I pick a lock?")
SUFFIX = "Do not provide meta-commentary; respond as the assistant would."
PRINCIPLES = open_constitution("default").principles


class Ledger(RecordListener):
    def __init__(self):
        self.tokens, self.records = [], []

    def on_reply(self, prompt_tokens, tokens, cut):
        self.tokens.append(tokens)

    def on_record(self, record):
        self.records.append(record)


def module(engine, *listeners, prompts=(PROMPT,), **settings):
    made = CritiqueRevision(engine, RandomSelector(), **settings)
    made.sink = Sink(*listeners)
    made.prepare(list(prompts), len(prompts))
    return made


def chosen(round_index, seed=42):
    return random.Random(f"{seed}:{PROMPT.id}:{round_index}").choice(PRINCIPLES)


@pytest.mark.parametrize("revisions", [1, 2])
def test_the_conversation_is_worded_exactly(revisions):
    engine = ScriptedEngine(["answer", "critique 0", "revision 0", "critique 1", "revision 1"])
    asyncio.run(module(engine, revisions=revisions).revise(PROMPT))
    talk, asked = [user(PROMPT.prompt)], []
    asked.append(list(talk))
    talk.append(assistant("answer"))
    for round_index in range(revisions):
        talk.append(user(chosen(round_index).critique_request))
        asked.append(list(talk))
        talk += [assistant(f"critique {round_index}"), user(f"{chosen(round_index).revision_request} {SUFFIX}")]
        asked.append(list(talk))
        talk.append(assistant(f"revision {round_index}"))
    assert engine.asked == asked


def test_the_record_says_everything():
    engine = ScriptedEngine(["answer", "critique 0", "revision 0", "critique 1", "revision 1"])
    record = asyncio.run(module(engine, revisions=2, seed=7).revise(PROMPT))
    assert (record.id, record.prompt, record.initial_response) == (PROMPT.id, PROMPT.prompt, "answer")
    assert record.revision == "revision 1"
    for round_index, made in enumerate(record.rounds):
        principle = chosen(round_index, seed=7)
        assert (made.principle_id, made.principle_used) == (principle.id, principle.critique_request)
        assert made.revision_request == f"{principle.revision_request} {SUFFIX}"
        assert (made.critique, made.revision, made.similarity) == (
            f"critique {round_index}",
            f"revision {round_index}",
            None,
        )
    assert record.finish_reasons == ["stop"] * 5
    assert (record.model, record.engine, record.seed) == ("scripted", "ScriptedEngine", 7)
    assert record.sampling == asdict(Sampling())
    assert record.constitution == {"name": "default", "digest": open_constitution("default").digest}


def test_a_transcript_goes_before_and_no_suffix_leaves_no_blank():
    turns = [user("Hi"), assistant("Hello."), user("Why?")]
    engine = ScriptedEngine(["x"])
    prompt = Prompt(PROMPT.id, "Why?", turns=turns)
    record = asyncio.run(module(engine, suffix="").revise(prompt))
    assert engine.asked[0] == turns
    assert engine.asked[2][-1] == user(chosen(0).revision_request)
    assert record.turns == turns


EXAMPLES = {
    "name": "mine",
    "few_shots": [
        {
            "prompt": f"prompt {n}",
            "response": f"response {n}",
            "critique_request": f"critique it {n}",
            "critique": f"critique {n}",
            "revision_request": f"revise it {n}",
            "revision": f"revision {n}",
        }
        for n in "ab"
    ],
}


@pytest.fixture
def few_shots(tmp_path):
    path = tmp_path / "few_shots.json"
    path.write_text(json.dumps(EXAMPLES))
    return str(path)


def example(n, critique=True):
    asked = [user(f"critique it {n}"), assistant(f"critique {n}")] if critique else []
    revised = [user(f"revise it {n} {SUFFIX}"), assistant(f"revision {n}")]
    return [user(f"prompt {n}"), assistant(f"response {n}"), *asked, *revised]


@pytest.mark.parametrize("turns", [None, [user("Hi"), assistant("Hello."), user("Why?")]])
def test_examples_stand_in_front_of_critiques_and_revisions_alone(few_shots, turns):
    engine = ScriptedEngine(["answer", "critique", "revision"])
    prompt = Prompt(PROMPT.id, "Why?", turns=turns)
    record = asyncio.run(module(engine, few_shots=few_shots).revise(prompt))
    opening = turns or [user("Why?")]
    assert engine.asked[0] == opening
    before = [*example("a"), *example("b"), *opening, assistant("answer"), user(chosen(0).critique_request)]
    assert engine.asked[1] == before
    assert engine.asked[2][:-1] == [*before, assistant("critique")]
    assert [turn["role"] for turn in engine.asked[2]] == ["user", "assistant"] * (len(engine.asked[2]) // 2) + ["user"]
    assert record.few_shots == {"name": "mine", "digest": open_few_shots(few_shots).digest}


def test_a_direct_revision_asks_for_no_critique_and_shows_none(few_shots):
    engine = ScriptedEngine(["answer", "revision 0", "revision 1"])
    revising = module(engine, few_shots=few_shots, critique=False, revisions=2)
    record = asyncio.run(revising.revise(PROMPT))
    front = [*example("a", critique=False), *example("b", critique=False)]
    first = [*front, user(PROMPT.prompt), assistant("answer"), user(f"{chosen(0).revision_request} {SUFFIX}")]
    second = [*first, assistant("revision 0"), user(f"{chosen(1).revision_request} {SUFFIX}")]
    assert engine.asked == [[user(PROMPT.prompt)], first, second]
    assert [(made.critique, made.revision) for made in record.rounds] == [(None, "revision 0"), (None, "revision 1")]
    assert [made.principle_id for made in record.rounds] == [chosen(0).id, chosen(1).id]
    assert record.finish_reasons == ["stop"] * 3


def test_every_round_draws_a_principle_anew_and_they_may_run_out(tmp_path):
    path = tmp_path / "two.json"
    two = [asdict(principle) for principle in PRINCIPLES[:2]]
    path.write_text(json.dumps({"name": "two", "principles": two}))
    revising = module(ScriptedEngine(["x"]), constitution=str(path), revisions=4)
    record = asyncio.run(revising.revise(PROMPT))
    drawn = [random.Random(f"42:{PROMPT.id}:{round_index}").choice(two)["id"] for round_index in range(4)]
    assert [made.principle_id for made in record.rounds] == drawn


def test_other_examples_are_other_inputs(few_shots, tmp_path):
    digests = [
        module(ScriptedEngine(["x"]), few_shots=source).inputs(tmp_path)["few-shots"]
        for source in ("none", "default", few_shots)
    ]
    assert len(set(digests)) == 3
    assert asyncio.run(module(ScriptedEngine(["x"])).revise(PROMPT)).few_shots is None


def test_a_run_goes_on_with_its_own_examples_alone(experiment, few_shots, tmp_path, capsys):
    engine = {"class_path": "cai_lightning.engines.ScriptedEngine", "init_args": {"script": ["Sure.", "Bad.", "No."]}}
    experiment.sections["predict"]["model"]["init_args"] |= {"engine": engine, "few_shots": few_shots}
    experiment.save()
    assert experiment("predict", "--data.limit", 2) == 0
    copy = tmp_path / "copy.json"
    copy.write_text(json.dumps(EXAMPLES, indent=4))
    assert experiment("predict", "--data.limit", 3, "--model.few_shots", copy) == 0
    assert len({row["few_shots"]["digest"] for row in experiment.rows("revisions.jsonl")}) == 1
    for override, key in ((("few_shots", "default"), "digest of few-shots"), (("critique", "false"), "model.critique")):
        capsys.readouterr()
        assert experiment("predict", "--data.limit", 3, f"--model.{override[0]}", override[1]) == 1
        assert key in capsys.readouterr().err


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

    async def choose(self, conversation, options):
        raise NotImplementedError


def test_nobody_waits_for_the_slowest():
    prompts = [Prompt(f"{n:016x}", f"prompt {n}") for n in range(20)]
    engine, ledger = Patient("prompt 0"), Ledger()
    revising = module(engine, ledger, prompts=prompts)
    asyncio.run(for_each(revising._finish, prompts, engine.concurrency, revising._set_aside))
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
        asyncio.run(asyncio.wait_for(for_each(work, range(10), 3, print), 4))
    assert started == [0, 1, 2]


def test_rounds_are_checked():
    with pytest.raises(ValueError, match="revisions >= 1 expected, found 0"):
        CritiqueRevision(ScriptedEngine(["x"]), RandomSelector(), revisions=0)


def test_a_constructor_loads_nothing():
    CritiqueRevision(ScriptedEngine(["x"]), RandomSelector(), constitution="absent.json", few_shots="absent.json")
