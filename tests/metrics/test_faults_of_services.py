"""Whatever its server does, an evaluator scores a response right or not at all: real sockets, no real waits."""

import asyncio
import json
import math
import random
from types import SimpleNamespace

import pytest
import torch
from judges import PAGES, judging, said, texts, verdict
from servers import KEY, STALL, Answer, completion, error, serving

from cai_lightning.metrics import Judge, Moderation
from cai_lightning.run.errors import UserError
from cai_lightning.run.records import Response
from cai_lightning.services.judge import JudgeModel

CPU = torch.device("cpu")
TEXTS = [f"text {number}" for number in range(50)]


def judge(base_url, **settings):
    return Judge(JudgeModel(base_url=base_url.removesuffix("/v1"), **settings))


def judge_at_openai(base_url, **settings):
    return Judge(JudgeModel(base_url=base_url, protocol="openai", **settings))


def moderation(base_url, **settings):
    return Moderation("m", base_url, tokens_per_minute=None, requests_per_minute=None, batch_tokens=4, **settings)


def rate(text):
    """What the judge gives a text, told by the number at its end."""
    number = int(text.split()[-1])
    return [1 + number % 5, 1 + number // 5 % 5]


def rated(request):
    return verdict(*rate(texts(request)[-1][1]))


def moderate(text):
    """The same of the moderation: the score, and whether the text is flagged."""
    score = int(text.split()[-1]) / 100
    return [score, float(score > 0.25)]


def moderated(request):
    results = [
        {"flagged": bool(flag), "categories": {"hate": bool(flag)}, "category_scores": {"hate": score}}
        for score, flag in map(moderate, request["input"])
    ]
    return {"id": "modr-1", "model": "m-2026", "results": results}


ASKING = {
    "judge": (judge, lambda request: said(rated(request)), rate),
    "judge at openai": (judge_at_openai, lambda request: completion(json.dumps(rated(request))), rate),
    "moderation": (moderation, moderated, moderate),
}
"""Evaluators, each with the answer of a server that does its work, and the scores that a text then gets."""


@pytest.fixture(params=ASKING)
def score(request):
    """Scores texts with a server that answers by a script, which gets the right answer, the request and its headers."""
    make, right, expected = ASKING[request.param]

    def score(script, *said, **settings):
        waits = []

        async def sleep(seconds):
            waits.append(seconds)
            await asyncio.sleep(0)

        with serving(lambda asked, headers: script(right(asked), asked, headers), PAGES) as server:
            metric = make(server.url, **{"timeout": 5.0, **settings})
            if isinstance(metric, Moderation):
                metric._sleep = sleep
            else:
                metric._client.sleep = sleep
            metric.load(CPU)
            found = metric.score([Response(text, "p", text, None, "stop", "m", None) for text in said])
            metric.free()
        rows = zip(*(column.tolist() for column in found.values.values()), strict=True)
        for text, values, reason in zip(said, rows, found.reasons, strict=True):
            assert all(map(math.isnan, values)) if reason else list(values) == pytest.approx(expected(text))
        return SimpleNamespace(reasons=found.reasons, asked=server.asked, waits=waits)

    return score


def misbehaviours(number, right):
    draw = random.Random(number)
    body = json.dumps(right).encode()
    ways = {
        "429": error(429, "slow down", {"Retry-After": "7"}),
        "500": error(500),
        "503": Answer(b"<html>Service Unavailable</html>", 503, {"Content-Type": "text/html"}),
        "400": error(400, "not this one"),
        "slow": Answer(STALL),
        "cut connection": Answer(body, cut=40),
        "half a body": Answer(body[:60]),
        "page": Answer(b"<html>welcome</html>", 200, {"Content-Type": "text/html"}),
        "list": Answer([]),
        "late error": Answer({"error": "out of memory"}),
        "no gzip": Answer(body, headers={"Content-Encoding": "gzip"}),
    }
    return iter([ways[name] for name in draw.choices(list(ways), k=draw.choice([0, 1, 2, 4]))])


def test_no_row_is_lost_and_none_is_wrong(score):
    plans = {}

    def script(right, asked, headers):
        about = str(asked.get("input") or texts(asked))
        return next(plans.setdefault(about, misbehaviours(len(plans), right)), right)

    found = score(script, *TEXTS, concurrency=8, timeout=0.3, max_retries=6)
    whys = [reason for reason in found.reasons if reason]
    assert 0 < len(whys) < 25
    assert all("status 400" in why for why in whys), whys
    assert len(found.asked) > len(plans) + 20


def test_retries_wait_as_long_as_they_are_told(score):
    answers = iter([error(429, "slow down", {"Retry-After": "20"})])
    found = score(lambda right, *_: next(answers, right), "text 1")
    assert found.reasons == [None]
    assert 20 <= found.waits[0] <= 21


def test_a_server_that_stays_down_leaves_rows_unscored_and_many_end_it(score):
    found = score(lambda *_: error(500), "text 1", max_retries=2)
    assert len(found.asked) == 3
    assert "status 500" in found.reasons[0]
    with pytest.raises(UserError, match="gave up after 16 rows"):
        score(lambda *_: error(500), *TEXTS, max_retries=0)


def test_texts_that_are_refused_one_by_one_end_nothing(score):
    assert all("not this one" in reason for reason in score(lambda *_: error(400, "not this one"), *TEXTS).reasons)


@pytest.mark.parametrize("status", [401, 403, 404])
def test_what_every_request_would_meet_is_the_users(score, status):
    with pytest.raises(UserError, match=f"status {status}") as failure:
        score(lambda right, asked, headers: error(status, f"not with {headers['Authorization']}"), "text 1")
    assert KEY not in str(failure.value)


def test_a_body_that_cannot_be_unpacked_is_no_score(score):
    garbled = Answer(b"no gzip", headers={"Content-Encoding": "gzip"})
    assert score(lambda *_: garbled, "text 1", max_retries=0).reasons != [None]


@pytest.mark.parametrize("make", [make for make, *_ in ASKING.values()])
def test_a_server_that_is_not_there_is_said_before_any_work(make):
    with judging(lambda *_: None) as server:
        url = server.url
    for start in (make(url).revision, lambda: make(url).load(CPU)):
        with pytest.raises(UserError, match=r"no .*is there \(.*Start it.* mend (judge\.|Moderation's )base_url"):
            start()


@pytest.mark.parametrize("make", [moderation, judge_at_openai])
def test_a_missing_key_is_said_before_any_work(make, monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY")
    for start in (make("https://api.openai.com/v1").revision, lambda: make("https://api.openai.com/v1").load(CPU)):
        with pytest.raises(UserError, match="OPENAI_API_KEY: this environment variable"):
            start()
