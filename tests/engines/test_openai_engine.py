"""The engine loses no request and mistakes none, whatever the server does: real sockets, on this machine alone."""

import asyncio
import gc
import json
import logging
import random
import socket
from collections import Counter
from datetime import UTC, datetime
from email.utils import format_datetime

import pytest
import torch
from servers import STALL, Answer, completion, error, said, serving

from cai_lightning.engines import OpenAIEngine, Sampling
from cai_lightning.run import manifest
from cai_lightning.run.errors import ReplyError, UserError
from cai_lightning.run.records import user
from cai_lightning.services.concurrency import TokenBudget
from cai_lightning.services.http import backoff, retry_after

KEY = "sk-very-secret-0123456789"


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("OPENAI_API_KEY", KEY)


class Waits(list):
    """Keeps the waits in place of waiting."""

    async def __call__(self, seconds):
        self.append(seconds)
        await asyncio.sleep(0)


def engine_for(*urls, **settings):
    engine = OpenAIEngine("the-model", list(urls), **settings)
    engine._sleep = Waits()
    engine.start(torch.device("cpu"))
    return engine


def ask(engine, *texts):
    async def together():
        window = asyncio.Semaphore(engine.concurrency)

        async def one(number, text):
            async with window:
                return await engine.reply([user(text)], f"seed {number}")

        return await asyncio.gather(*(one(number, text) for number, text in enumerate(texts)))

    return asyncio.run(asyncio.wait_for(together(), 60))


def ask_once(script, **settings):
    with serving(script) as server:
        return ask(engine_for(server.url, **settings), "hello")[0], server.asked


def dead_url():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}/v1"


def test_a_request_says_all_that_was_set():
    sampling = Sampling(temperature=0.3, top_p=0.9, max_new_tokens=11, stop=["END", "."], top_k=4, min_p=0.0)
    reply, asked = ask_once(
        lambda request, headers: completion("  one. two END ", "length"), sampling=sampling, extra_body={"provider": {}}
    )
    (request,) = asked
    seed = request.pop("seed")
    assert 0 <= seed < 2**31
    assert request == {
        "model": "the-model",
        "messages": [user("hello")],
        "temperature": 0.3,
        "top_p": 0.9,
        "max_tokens": 11,
        "stop": ["END", "."],
        "top_k": 4,
        "min_p": 0.0,
        "provider": {},
    }
    assert (reply.text, reply.finish_reason, reply.tokens, reply.prompt_tokens) == ("one", "stop", 3, 7)
    again, other = ask_once(lambda request, headers: completion("cut", "length"))
    assert other[0]["seed"] == seed
    assert "stop" not in other[0]
    assert again.finish_reason == "length"


def test_what_is_not_set_is_not_sent():
    _, (plain,) = ask_once(lambda request, headers: "yes")
    assert plain.keys() == {"model", "messages", "temperature", "top_p", "seed", "max_tokens"}
    assert (plain["temperature"], plain["top_p"]) == (1.0, 1.0)
    _, (left,) = ask_once(lambda request, headers: "yes", sampling=Sampling(repetition_penalty=1.1, preset="model"))
    assert left.keys() == {"model", "messages", "seed", "max_tokens", "repetition_penalty"}


@pytest.mark.parametrize("name", ["top_k", "repetition_penalty", "temperature", "max_tokens", "seed"])
def test_a_field_with_a_setting_of_its_own_is_refused(name):
    with pytest.raises(ValueError, match=f"extra_body: '{name}' has a setting of its own"):
        OpenAIEngine("m", ["http://127.0.0.1:1/v1"], extra_body={name: 1})


def counting(read, **details):
    return completion("yes") | {"usage": {"prompt_tokens": read, "completion_tokens": 1, **details}}


def test_a_conversation_that_a_server_has_cut_is_no_reply():
    """As Ollama does it: of what does not fit it keeps the end, and counts that."""
    long = "word " * 3_000

    def cutting(request, headers):
        return counting(min(2_048, len(said(request).split()) + 9))

    with serving(cutting) as server:
        engine = engine_for(server.url)
        assert ask(engine, "short " * 2_000)[0].prompt_tokens == 2_009
        with pytest.raises(ReplyError, match="has read 2048 tokens of a conversation of at least 3000: it was cut"):
            ask(engine, long)
        with pytest.raises(ReplyError, match="num_ctx"):
            asyncio.run(engine.choose([user(long)], ["(A)", "(B)"]))
    assert len(server.asked) == 3


@pytest.mark.parametrize(
    "usage",
    [
        counting(0),
        counting(3_000),
        counting(8, prompt_tokens_details={"cached_tokens": 3_000}),  # counted apart
        counting(3_100, prompt_tokens_details={"cached_tokens": 3_000}),  # counted with the others
        counting(3_100, prompt_tokens_details=None),
        {key: value for key, value in completion("yes").items() if key != "usage"},
    ],
)
def test_what_was_read_or_is_not_known_is_no_cut(usage):
    with serving(lambda request, headers: usage) as server:
        assert ask(engine_for(server.url), "word " * 3_000)[0].text == "yes"


OPENAI_SAYS = (
    "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead."
)
VLLM_SAYS = (
    "'max_tokens' or 'max_completion_tokens' is too large: 512. This model's maximum context length is 32 tokens"
)


def test_a_server_that_refuses_max_tokens_is_asked_otherwise_where_that_is_set():
    def thinking(request, headers):
        if "max_tokens" in request:
            return error(400, OPENAI_SAYS, param="max_tokens", code="unsupported_parameter")
        return f"{request['max_completion_tokens']}"

    with pytest.raises(UserError, match="max_tokens_field to max_completion_tokens"):
        ask_once(thinking)
    reply, _ = ask_once(thinking, max_tokens_field="max_completion_tokens", sampling=Sampling(max_new_tokens=7))
    assert reply.text == "7"


def test_too_many_tokens_are_the_fault_of_one_request():
    with pytest.raises(ReplyError, match="too large"):
        ask_once(lambda request, headers: error(400, VLLM_SAYS))


def misbehaviours(number):
    """Up to six ways of going wrong that a request meets before it is answered, some requests none."""
    draw = random.Random(number)
    whole = json.dumps(completion("a reply that nobody reads to its end")).encode()
    ways = {
        "429": error(429, "slow down", {"Retry-After": "7"}),
        "429 until": error(429, "slow down", {"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}),
        "408": error(408),
        "409": error(409),
        "500": error(500),
        "503": Answer(b"<html>Service Unavailable</html>", 503, {"Content-Type": "text/html"}),
        "stall": Answer(STALL),
        "cut": Answer(whole, cut=40),
        "half": Answer(whole[:60]),
        "page": Answer(b"<html>welcome</html>", 200, {"Content-Type": "text/html"}),
        "empty": Answer({"choices": []}),
        "null": Answer({"choices": None, "usage": None}),
        "late error": Answer({"error": {"code": 502, "message": "provider is down"}}),
        "late end": Answer(completion("half a rep", "error")),
        "odd": Answer({"choices": [{"message": "hello"}]}),
    }
    return draw.choices(list(ways), k=draw.choice([0, 1, 2, 3, 6])), ways


def test_no_row_is_lost_and_none_is_wrong():
    texts = [f"prompt {number}" for number in range(60)]
    plans = {text: misbehaviours(number) for number, text in enumerate(texts)}
    met = Counter()
    turn = {text: iter(names) for text, (names, _) in plans.items()}

    def script(request, headers):
        text = said(request)
        name = next(turn[text], None)
        met[name] += 1
        return plans[text][1][name] if name else f"{text} seen with {request['seed']}"

    with serving(script) as server:
        engine = engine_for(server.url, concurrency=24, timeout=1.0, max_retries=20)
        replies = ask(engine, *texts)
        engine.stop()
    seeds = {said(request): request["seed"] for request in server.asked}
    assert [reply.text for reply in replies] == [f"{text} seen with {seeds[text]}" for text in texts]
    assert len(set(seeds.values())) == 60
    assert met.keys() == {*plans[texts[0]][1], None}
    assert 1 < server.most_in_flight <= 24
    waits = engine._sleep
    assert len(waits) >= met.total() - 60
    assert sum(wait >= 7 for wait in waits) >= met["429"]


def test_the_server_says_how_long_to_wait():
    now = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    later = now.replace(minute=5, second=0)
    assert retry_after(None) == 0
    assert retry_after("3") == 3
    assert retry_after("0.5") == 0.5
    assert retry_after(format_datetime(later, usegmt=True), now) == 55
    assert retry_after(format_datetime(now, usegmt=True), later) == 0
    assert retry_after("soon") == 0


def test_waits_grow_and_are_not_shared():
    for retries, longest in ((0, 1), (1, 2), (3, 8), (40, 60)):
        waits = {backoff(retries, 60.0) for _ in range(50)}
        assert len(waits) == 50
        assert longest / 2 <= min(waits) <= max(waits) <= longest


def test_the_next_server_takes_over_and_stays(caplog):
    def broken(request, headers):
        return error(500, "out of order")

    with serving(broken) as first, serving(lambda request, headers: said(request)) as second:
        engine = engine_for(first.url, second.url, max_retries=2)
        assert [reply.text for reply in ask(engine, "one")] == ["one"]
        assert (len(first.asked), len(second.asked)) == (3, 1)
        assert f"{second.url} answers in place of {first.url}" in caplog.text
        assert [reply.text for reply in ask(engine, "two", "three")] == ["two", "three"]
        assert (len(first.asked), len(second.asked)) == (3, 3)


def test_a_server_that_asks_for_too_long_a_wait_is_given_up():
    with (
        serving(lambda *_: error(429, "tomorrow", {"Retry-After": "86400"})) as first,
        serving(lambda *_: "yes") as second,
    ):
        engine = engine_for(first.url, second.url)
        assert ask(engine, "one")[0].text == "yes"
        assert (len(first.asked), engine._sleep) == (1, [])
        with pytest.raises(ReplyError, match=r"status 429, Retry-After 86400: .*tomorrow"):
            ask(engine_for(first.url), "one")


def test_a_row_fails_with_the_reason_when_every_server_stays_down():
    with serving(lambda *_: error(503, f"no room for {KEY}")) as one, serving(lambda *_: Answer(STALL)) as other:
        engine = engine_for(one.url, other.url, max_retries=1, timeout=0.2)
        with pytest.raises(ReplyError) as failure:
            ask(engine, "hello")
    assert (len(one.asked), len(other.asked)) == (2, 2)
    assert f"{one.url}: status 503" in str(failure.value)
    assert f"{other.url}: no answer within 0.2 s" in str(failure.value)
    assert KEY not in str(failure.value)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (error(400, "maximum context length is 4096"), "status 400: .*maximum context length"),
        (error(403, "flagged", metadata={"flagged_input": "hello", "reasons": ["violence"]}), "flagged"),
        (completion("half", "content_filter"), "content_filter"),
        (completion(None, "content_filter"), "no text, finish reason 'content_filter'"),
        (completion(None, "tool_calls"), "tool_calls"),
    ],
)
def test_one_request_fails_and_is_not_tried_again(answer, reason):
    with serving(lambda *_: answer) as server, pytest.raises(ReplyError, match=reason):
        ask(engine_for(server.url), "hello")
    assert len(server.asked) == 1


def test_a_prompt_that_no_request_can_hold_fails_alone():
    with serving(lambda request, headers: "yes") as server:
        engine = engine_for(server.url)
        with pytest.raises(ReplyError, match="surrogate"):
            ask(engine, "half \ud800")
        assert ask(engine, "whole \U0001f600")[0].text == "yes"


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (error(401, f"Incorrect API key provided: {KEY}"), "status 401: .*Incorrect API key provided"),
        (error(402, "no credit"), "status 402: .*no credit"),
        (error(403, "not yours"), "status 403: .*not yours"),
        (error(404, "The model `the-model` does not exist."), "status 404: .*does not exist"),
        (error(429, "You exceeded your quota", code="insufficient_quota"), "status 429: .*quota"),
    ],
)
def test_what_every_request_would_meet_is_the_users(answer, message, caplog):
    caplog.set_level(logging.DEBUG)
    with serving(lambda *_: answer) as server, pytest.raises(UserError, match=message) as failure:
        ask(engine_for(server.url), "hello")
    assert len(server.asked) == 1
    assert server.url in str(failure.value)
    assert "'the-model'" in str(failure.value)
    assert KEY not in f"{failure.value!r} {failure.getrepr(style='long', funcargs=True)} {caplog.text}"


def test_the_key_is_sent_and_written_nowhere(caplog):
    caplog.set_level(logging.DEBUG)
    sent = []
    with serving(lambda request, headers: sent.append(headers["Authorization"]) or "yes") as server:
        engine = engine_for(server.url)
        ask(engine, "hello")
    assert sent == [f"Bearer {KEY}"]
    settings = manifest.settings(engine)
    assert KEY not in f"{caplog.text} {engine!r} {settings}"
    assert server.url not in str(settings)
    assert {"model", "sampling.temperature", "adapter_model"} <= settings.keys()
    assert not settings.keys() & OpenAIEngine.NOT_FINGERPRINTED


def test_a_missing_key_is_said_before_any_work(monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY")
    sent = []
    with serving(lambda request, headers: sent.append(headers["Authorization"]) or "yes") as server:
        ask(engine_for(server.url), "hello")
        with pytest.raises(UserError, match=r"MY_KEY: this environment variable .* https://openrouter\.ai"):
            engine_for(server.url, "https://openrouter.ai/api/v1", api_key_variable="MY_KEY")
    assert sent == ["Bearer none"]
    monkeypatch.setenv("MY_KEY", "two\nlines")
    with pytest.raises(UserError, match="MY_KEY: this environment variable holds no key") as failure:
        engine_for(dead_url(), api_key_variable="MY_KEY")
    assert "lines" not in str(failure.value)


def test_a_server_that_is_not_there_is_said_before_any_work():
    url = dead_url()
    with pytest.raises(UserError, match=f"no server is there .*{url}.*Start it"):
        engine_for(url)
    with serving(lambda *_: "yes") as server:
        assert ask(engine_for(url, server.url, max_retries=0), "hello")[0].text == "yes"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"base_urls": []}, "at least one address"),
        ({"base_urls": ["localhost:8000/v1"]}, "found 'localhost:8000/v1'"),
        ({"base_urls": [f"http://me:{KEY}@127.0.0.1/v1"]}, "without credentials"),
        ({"base_urls": [f"https://127.0.0.1/v1?key={KEY}"]}, "without credentials"),
        ({"api_key_variable": KEY}, "the name of an environment variable"),
        ({"concurrency": 0}, "concurrency: must be >= 1"),
        ({"tokens_per_minute": 0}, "tokens_per_minute: must be >= 1"),
        ({"timeout": 0}, "timeout: must be > 0"),
    ],
)
def test_settings_are_checked(settings, message):
    with pytest.raises(ValueError, match=message) as failure:
        OpenAIEngine("m", **{"base_urls": ["http://127.0.0.1/v1"], **settings})
    assert KEY not in str(failure.value)


def test_an_adapter_is_asked_for_by_its_name(tmp_path):
    with serving(lambda request, headers: request["model"]) as server:
        engine = engine_for(server.url, adapter_model="tuned")
        assert ask(engine, "hello")[0].text == "the-model"
        engine.start(torch.device("cpu"), tmp_path)
        assert ask(engine, "hello")[0].text == "tuned"
        with pytest.raises(UserError, match=f"--lora-modules NAME={tmp_path}.*adapter_model"):
            engine_for(server.url).start(torch.device("cpu"), tmp_path)


def test_it_is_started_and_stopped_as_often_as_one_likes():
    with serving(lambda request, headers: said(request)) as server:
        engine = engine_for(server.url)
        for text in ("one", "two", "three"):
            assert ask(engine, text)[0].text == text
        engine.stop()
        engine.start(torch.device("cpu"))
        assert ask(engine, "four")[0].text == "four"
        engine.stop()
        gc.collect()  # a connection left open would warn now


def place(*alternatives):
    """One token of an answer with what might have stood in its place; the first is what was said."""
    top = [{"token": token, "logprob": logprob, "bytes": None} for token, logprob in alternatives]
    return {**top[0], "top_logprobs": top}


def choose(places, options=("(A)", "(B)")):
    text = "".join(p["token"] for p in places)
    with serving(lambda *_: completion(text, logprobs={"content": places})) as server:
        return asyncio.run(engine_for(server.url).choose([user("which?")], list(options))), server.asked


@pytest.mark.parametrize("options", [[], ["(A)", ""], ["Yes", "Yesterday"], ["(A)", "(A)"]])
def test_texts_that_are_no_options_are_refused_before_anything_is_asked(options):
    with pytest.raises(ValueError, match="none of which begins another"):
        choose([], options)


LOG = {0.6: -0.5108256, 0.3: -1.2039728, 0.2: -1.6094379, 0.1: -2.3025851}


def test_options_are_weighed_where_they_part():
    choice, (request,) = choose(
        [place((" (", LOG[0.6]), ("A", -9.0)), place(("A", LOG[0.6]), ("B", LOG[0.3]), ("C", LOG[0.1]))]
    )
    assert choice.shares == pytest.approx([2 / 3, 1 / 3])
    assert choice.mass == pytest.approx(0.6 * 0.9)
    assert (request["logprobs"], request["top_logprobs"], request["temperature"]) == (True, 20, 0.0)
    assert request["max_tokens"] >= 3


def test_several_tokens_may_begin_one_option():
    places = [place(("(A", LOG[0.2]), ("(A)", LOG[0.1]), ("(B)", LOG[0.3]), ("(", LOG[0.1]), ("I", LOG[0.3]))]
    choice, _ = choose(places)
    assert (choice.shares, choice.mass) == (pytest.approx([0.5, 0.5]), pytest.approx(0.6))
    choice, _ = choose([place(("\n", 0.0)), place(("Yes", LOG[0.6]), (" No", LOG[0.2]))], ("Yes", "No"))
    assert (choice.shares, choice.mass) == (pytest.approx([0.75, 0.25]), pytest.approx(0.8))


@pytest.mark.parametrize("places", [[place(("I", -0.1), ("We", -3.0))], [place(("(", 0.0))]])
def test_an_answer_that_is_no_option_is_said(places):
    with pytest.raises(ReplyError, match=r"the model says '[I(]', which begins with none of \(A\), \(B\)"):
        choose(places)


@pytest.mark.parametrize(
    "logprobs", [None, {"content": None}, {"content": [{"token": "(", "logprob": 0.0, "top_logprobs": []}]}]
)
def test_a_server_without_probabilities_is_said(logprobs):
    refusal = pytest.raises(UserError, match="does not tell probabilities")
    with serving(lambda *_: completion("(A)", logprobs=logprobs)) as server, refusal as failure:
        asyncio.run(engine_for(server.url).choose([user("which?")], ["(A)", "(B)"]))
    assert server.url in str(failure.value)


class Clock:
    """A time that goes on by sleeping alone."""

    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now

    async def sleep(self, seconds):
        self.now += seconds


def test_a_budget_spaces_requests_out():
    clock = Clock()
    budget = TokenBudget(600, clock, clock.sleep)

    async def spend(*tokens):
        times = []
        for count in tokens:
            await budget.spend(count)
            times.append(clock.now - 100)
        return times

    assert asyncio.run(spend(100, 50, 50)) == [0, 10, 15]
    budget.correct(50, 200)
    assert asyncio.run(spend(10)) == [35]
    budget.correct(10, 0)
    clock.now += 1000
    assert asyncio.run(spend(10, 10)) == [1035, 1036]


def test_without_a_budget_nothing_waits():
    budget = TokenBudget(None, lambda: 1.0, Waits())
    asyncio.run(budget.spend(1e9))
    asyncio.run(budget.spend(1e9))
    assert budget._sleep == []


def test_the_engine_keeps_to_its_budget():
    with serving(lambda *_: "yes") as server:
        engine = engine_for(server.url, tokens_per_minute=60, sampling=Sampling(max_new_tokens=99))
        ask(engine, "four", "four", "four")
    assert engine._sleep[0] == pytest.approx(100, abs=5)
    assert len(engine._sleep) == 2
