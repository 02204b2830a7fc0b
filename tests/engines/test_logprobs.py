"""How likely an engine says that its tokens were, and that answers are, is what a plain forward pass says."""

import asyncio

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from cai_lightning.engines import Choice, Sampling, TransformersEngine
from cai_lightning.engines.base import weigh
from cai_lightning.models.template import render
from cai_lightning.run.errors import ReplyError, UserError
from cai_lightning.run.records import assistant, user

TALKS = [
    [user("Hi")],
    [user("How do I bake bread for my neighbour, and for how long? " * 4)],
    [user("Tell me."), assistant("What?"), user("How to steal a car.")],
    [user("Which one, (A) or (B)?")],
]
OPTIONS = [["(A)", "(B)"], [" (A)", " (B)"], ["Yes", "No", "Never", "(B)"], ["A", "B"]]
SAMPLINGS = {
    "neutral": Sampling(max_new_tokens=12),
    "greedy": Sampling(temperature=0, max_new_tokens=12),
    "filtered": Sampling(0.7, 0.8, 12, [], 30, 0.01, 1.3),
}


@pytest.fixture(scope="module")
def plain(tiny_model):
    """Log-probabilities of the tokens behind some others, from one pass over both."""
    model = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float64)

    @torch.inference_mode()
    def logprobs(ids, tokens):
        scores = model(torch.tensor([[*ids, *tokens]])).logits[0, len(ids) - 1 : -1].log_softmax(-1)
        return scores.gather(1, torch.tensor(tokens)[:, None])[:, 0]

    return logprobs


@pytest.fixture
def started(tiny_model):
    def start(sampling=SAMPLINGS["neutral"], **settings):
        engines.append(TransformersEngine(str(tiny_model), sampling, **{"dtype": "float32", **settings}))
        engines[-1].start(torch.device("cpu"))
        return engines[-1]

    engines = []
    yield start
    for engine in engines:
        engine.stop()


def together(*work):
    async def every():
        return await asyncio.gather(*work)

    return asyncio.run(asyncio.wait_for(every(), 60))


async def turns(engine, talk, seed, **settings):
    """Two replies, the second to a question about the first."""
    first = await engine.reply(talk, seed, **settings)
    return first, await engine.reply([*talk, assistant(first.text), user("Why?")], seed, **settings)


def check(replies, plain):
    for reply in replies:
        assert len(reply.logprobs) == len(reply.token_ids) == reply.tokens
        assert len(reply.prompt_ids) == reply.prompt_tokens
        torch.testing.assert_close(
            torch.tensor(reply.logprobs, dtype=torch.float64),
            plain(reply.prompt_ids, reply.token_ids),
            atol=1e-4,
            rtol=0,
        )


@pytest.mark.parametrize("batch_size", [2, 8])
@pytest.mark.parametrize("sampling", SAMPLINGS.values(), ids=SAMPLINGS)
def test_log_probabilities_are_the_models_own_however_it_is_drawn(started, plain, sampling, batch_size):
    engine = started(sampling, batch_size=batch_size)
    pairs = together(*(turns(engine, talk, str(n), logprobs=True) for n, talk in enumerate(TALKS)))
    check([reply for pair in pairs for reply in pair], plain)
    for first, second in pairs:
        assert second.prompt_ids[: len(first.prompt_ids)] == first.prompt_ids


def test_who_asks_for_them_gets_the_same_reply_and_who_does_not_gets_none(started):
    engine = started()
    told, untold = together(*(turns(engine, TALKS[1], "s", logprobs=asked) for asked in (True, False)))
    assert told == untold
    assert {reply.logprobs for reply in untold} == {None}
    assert None not in {reply.logprobs and len(reply.logprobs) for reply in told}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.slow
def test_paged_batching_tells_them_where_it_draws_from_the_models_own_distribution(started, plain):
    asked = {"logprobs": True}
    check(together(*(started(batching="paged").reply(talk, "s", **asked) for talk in TALKS)), plain)
    for sampling in (SAMPLINGS["greedy"], Sampling(0.7, max_new_tokens=3)):
        assert together(started(sampling, batching="paged").reply(TALKS[0], "s", **asked))[0].logprobs is None


@pytest.fixture
def expected(tiny_model, plain):
    """A choice from the probabilities of whole answers."""
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)

    def choice(talk, options):
        ids = tokenizer(render(tokenizer, talk, prompt=True))["input_ids"]
        likely = torch.stack([plain(ids, tokenizer(option)["input_ids"]).sum() for option in options]).exp()
        return Choice((likely / likely.sum()).tolist(), float(likely.sum()))

    return choice


def equal(one, other):
    return one.shares == pytest.approx(other.shares, abs=1e-5) and one.mass == pytest.approx(other.mass, abs=1e-5)


def test_choices_at_once_and_amid_replies_are_those_of_one_after_the_other_and_of_whole_answers(started, expected):
    asked = [(talk, options) for talk in TALKS for options in OPTIONS]
    engine = started(batch_size=4)
    replies = [engine.reply(talk, str(n)) for n, talk in enumerate(TALKS)]
    found = together(*(engine.choose(*each) for each in asked), *replies)
    again = started(batch_size=1)
    for each, choice in zip(asked, found, strict=False):
        assert sum(choice.shares) == pytest.approx(1)
        assert 0 < choice.mass < 1
        assert equal(choice, expected(*each))
        assert equal(choice, together(again.choose(*each))[0])
    assert found[len(asked) :] == together(*(again.reply(talk, str(n)) for n, talk in enumerate(TALKS)))


def test_a_choice_without_room_for_its_options_fails_alone(started):
    engine = started()
    with pytest.raises(ReplyError, match=r"of \d+ tokens leaves no room in a context of 2048"):
        together(engine.choose([user("word " * 2000)], ["(A)", "(B)"]))
    together(engine.choose(TALKS[0], ["(A)", "(B)"]))


@pytest.mark.filterwarnings("ignore")
def test_paged_batching_weighs_no_options(started):
    with pytest.raises(UserError, match="`paged` tells no probabilities"):
        together(started(batching="paged").choose(TALKS[0], ["(A)", "(B)"]))


def test_what_options_begin_with_alike_is_read_once():
    likely = {(7,): -1.0, (5,): -2.0, (7, 1): -3.0, (7, 2): -4.0, (7, 1, 9): -5.0, (7, 1, 8): -6.0, (7, 2, 9): -7.0}
    asked = []

    async def ask(beginning, following):
        asked.append((beginning, following))
        return [likely[*beginning, token] for token in following]

    choice = asyncio.run(weigh([[7, 1, 9], [7, 2, 9], [5], [7, 1, 8]], ask))
    assert asked == [((), [5, 7]), ((7,), [1, 2]), ((7, 1), [8, 9]), ((7, 2), [9])]
    totals = torch.tensor([-9.0, -12.0, -2.0, -10.0], dtype=torch.float64)
    assert choice.shares == pytest.approx(totals.softmax(0).tolist())
    assert choice.mass == pytest.approx(float(totals.exp().sum()))


@pytest.mark.parametrize("options", [[[1, 2], [1]], [[1], [1]], [[], [1]], [[]]])
def test_options_of_which_one_begins_another_are_refused(options):
    with pytest.raises(ValueError, match="none of which begins another"):
        asyncio.run(weigh(options, None))


@pytest.mark.parametrize("options", [[], ["(A)", ""], ["Yes", "Yesterday"], ["(A)", "(A)"]])
def test_texts_that_are_no_options_are_refused(started, options):
    with pytest.raises(ValueError, match="none of which begins another"):
        together(started().choose(TALKS[0], options))


def test_a_conversation_is_worded_alike_however_often_it_is_asked_about(started):
    """Whatever was asked before: what the model wrote stays the tokens that it wrote."""
    engine = started(Sampling(temperature=1.0, max_new_tokens=8))
    (first,) = together(engine.reply(TALKS[0], "s"))
    talk = [*TALKS[0], assistant(first.text), user("Why?")]
    (fed,) = together(engine.reply(talk, "a"))
    choices = [together(engine.choose(talk, ["(A)", "(B)"]))[0] for _ in range(2)]
    (again,) = together(engine.reply(talk, "a"))
    assert choices[0] == choices[1]
    assert (again.prompt_ids, again.token_ids) == (fed.prompt_ids, fed.token_ids)
    assert fed.prompt_ids[: len(first.prompt_ids) + len(first.token_ids) - 1] == first.prompt_ids + first.token_ids[:-1]
