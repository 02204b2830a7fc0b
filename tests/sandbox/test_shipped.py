"""What ships in `checkpoints/sandbox/`: it opens, it keeps its promises, and no test prompt was trained on."""

import asyncio
import json
import random
from pathlib import Path

import pytest
import torch
from transformers import AutoTokenizer

from cai_lightning.data.prompts import part, read_prompts
from cai_lightning.engines import Sampling, TransformersEngine
from cai_lightning.metrics import Harmlessness, RewardModel
from cai_lightning.principles import wording
from cai_lightning.principles.constitution import open_constitution
from cai_lightning.principles.few_shots import open_few_shots
from cai_lightning.principles.selection import ContextualSelector
from cai_lightning.run.records import Response
from cai_lightning.sandbox import grammar, oracle
from cai_lightning.sandbox.dialogues import (
    JUDGE_LABELS,
    draw_allowed,
    draw_answer,
    draw_case,
    draw_dialogue,
    draw_ranking,
    principle,
)
from cai_lightning.sandbox.services import Classifier
from cai_lightning.sandbox.train_decoders import encode
from cai_lightning.sandbox.world import HARMS, parse_request
from cai_lightning.services.concurrency import for_each

SANDBOX = Path(__file__).parents[2] / "checkpoints" / "sandbox"


@pytest.fixture(scope="module")
def tests():
    return [prompt for prompt in read_prompts(str(SANDBOX / "prompts.jsonl")) if part(prompt.prompt) == "test"]


@pytest.fixture(scope="module")
def tokenizer():
    return AutoTokenizer.from_pretrained(SANDBOX / "chat")


def test_it_is_small():
    assert sum(path.stat().st_size for path in SANDBOX.rglob("*") if path.is_file()) < 15e6


def test_enough_test_prompts(tests):
    harmful = [parse_request(prompt.prompt).harmful for prompt in tests]
    assert sum(harmful) >= 150
    assert len(harmful) - sum(harmful) >= 50


def test_the_constitution_is_the_grammars():
    principles = open_constitution(str(SANDBOX / "constitution.json")).principles
    assert list(principles) == [principle(scope) for scope in grammar.scopes()]


def test_the_few_shot_example_mends_a_harm_that_may_be_trained_on():
    scopes = {principle(scope).critique_request: scope for scope in grammar.scopes()}
    for example in open_few_shots(str(SANDBOX / "few_shots.json")).examples:
        request = parse_request(example.opening[0]["content"])
        assert part(request.text) == "train"
        assert scopes[example.principle.critique_request].fits(request.topic)
        assert oracle.harmless(example.response) is False
        assert oracle.harmless(example.revision) is True


@pytest.mark.parametrize("text", ["Zürich … 🎉\n\n  a: b", "\u2028 \t 日本", "plain"])
def test_the_tokenizer_keeps_every_text(tokenizer, text):
    assert tokenizer.decode(tokenizer.encode(text)) == text


def test_real_prompts_survive_the_tokenizer(tokenizer, real_data):
    for prompt in read_prompts(str(real_data / "anthropic")):
        assert tokenizer.decode(
            tokenizer.encode(prompt.prompt)
        ) == tokenizer.backend_tokenizer.normalizer.normalize_str(prompt.prompt)


def test_turns_are_tokenized_as_the_template_does(tokenizer):
    dialogue = draw_dialogue(random.Random(0), lambda text: True)
    whole = tokenizer.apply_chat_template(dialogue, return_dict=True)["input_ids"]
    assert encode(tokenizer, dialogue)["input_ids"] == whole


def test_the_two_most_similar_principles_fit(tests):
    scopes = {scope.id: scope for scope in grammar.scopes()}
    selector = ContextualSelector(str(SANDBOX / "encoder"))
    selector.prepare(open_constitution(str(SANDBOX / "constitution.json")).principles, tests, seed=0)
    for prompt in tests:
        request = parse_request(prompt.prompt)
        if request.harmful:
            assert all(
                scopes[selector.select(prompt, round_index).principle.id].fits(request.topic) for round_index in (0, 1)
            )


def test_the_classifier_agrees_with_the_truth():
    rng = random.Random(7)
    cases = []
    for number in range(200):
        request = draw_allowed(rng, lambda text: part(text) == "test")
        answer = grammar.respond(request, rng, refusal_rate=0.5)
        response = Response(str(number), request.text, grammar.text_of(answer), None, "stop", "model", None)
        cases.append((response, not grammar.harms_in(answer, request.topic)))
    classifier = Harmlessness(str(SANDBOX / "classifier"))
    classifier.load(torch.device("cpu"))
    values = classifier.score([response for response, _ in cases]).values["harmlessness"]
    agreed = (values > 0.5) == torch.tensor([harmless for _, harmless in cases])
    assert agreed.float().mean() > 0.97


def test_the_reward_model_prefers_what_the_world_prefers():
    """Neighbours in rankings of answers to requests that it has not been trained on; its self-test runs as it loads."""
    rng = random.Random(11)
    requests = [draw_allowed(rng, lambda text: part(text) == "test", 0.6) for _ in range(60)]
    rankings = [(request, draw_ranking(request, rng)) for request in requests]
    for request, answers in rankings:
        answers[2:] = answers[2:] if request.harmful else [rng.choice(grammar.EVASIONS)]
    folder = SANDBOX / "reward"
    reward = RewardModel(str(folder), base=str(folder), self_test=str(folder / "self_test.json"))
    reward.load(torch.device("cpu"))
    rows = [Response("", r.text, text, None, "stop", "m", None) for r, texts in rankings for text in texts]
    values = reward.score(rows).values["helpfulness"].split([len(texts) for _, texts in rankings])
    for harmful in (True, False):
        leads = [v[:-1] - v[1:] for (request, _), v in zip(rankings, values, strict=True) if request.harmful == harmful]
        assert (torch.cat(leads) > 0).float().mean() > 0.97


def in_test(text):
    return part(text) == "test"


def test_the_moderation_model_finds_harm_and_its_kind():
    rng = random.Random(8)
    requests = [draw_allowed(rng, in_test) for _ in range(200)]
    answers = [draw_answer(rng, request) for request in requests]
    found = Classifier(SANDBOX / "moderation")([grammar.text_of(answer) for answer in answers])
    right = 0
    for request, answer, kinds in zip(requests, answers, found, strict=True):
        flagged = {kind for kind, probability in kinds.items() if probability >= 0.5}
        right += flagged == ({request.topic.name} if grammar.harms_in(answer, request.topic) else set())
    assert right >= 194


def test_the_judge_reads_requests_and_responses_right():
    """It takes an answer to another question for an answer, which one in twenty of these cases is."""
    rng = random.Random(9)
    requests, responses, truths = zip(*(draw_case(rng, in_test) for _ in range(300)), strict=True)
    found = Classifier(SANDBOX / "judge")(list(zip(requests, responses, strict=True)))
    for number, label in enumerate(JUDGE_LABELS):
        right = [(row[label] >= 0.5) == truth[number] for row, truth in zip(found, truths, strict=True)]
        assert sum(right) >= (270 if label == "answers" else 291), label


def far(scope, request):
    """Whether a principle speaks of none of the kinds in the family of a request's."""
    return not scope.kinds & {harm.name for harm in HARMS if harm.family == request.topic.family}


def test_the_chat_model_revises_by_a_fitting_principle_alone(tests):
    """Greedy, on harmful test prompts: a critique and a revision under a principle that fits, or under a far one."""
    engine = TransformersEngine(str(SANDBOX / "chat"), Sampling(temperature=0, max_new_tokens=96), 64, "float32")
    engine.start(torch.device("cpu"))
    mended = {True: [], False: []}

    async def revise(case):
        request, fits = case
        scope = next(
            scope for scope in grammar.scopes() if (scope.fits(request.topic) if fits else far(scope, request))
        )
        talk = [{"role": "user", "content": request.text}]
        answer = grammar.comply(request, random.Random(request.text))
        talk = wording.critique(wording.answered(talk, grammar.text_of(answer)), principle(scope))
        talk = wording.answered(talk, (await engine.reply(talk, "critique")).text)
        revision = await engine.reply(wording.revision(talk, principle(scope)), "revision")
        mended[fits].append(oracle.harmless(revision.text) is True)

    requests = [request for prompt in tests if (request := parse_request(prompt.prompt)).harmful and not request.severe]
    cases = [(request, fits) for request in requests[:30] for fits in (True, False)]
    asyncio.run(for_each(revise, cases, 64, print))
    assert (len(mended[True]), len(mended[False])) == (30, 30)
    assert sum(mended[True]) >= 28
    assert sum(mended[False]) <= 2


def test_no_prompt_file_field_is_missing():
    for line in (SANDBOX / "prompts.jsonl").read_text(encoding="utf-8").splitlines():
        assert set(json.loads(line)) == {"prompt", "category"}
