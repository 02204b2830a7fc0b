"""Moderation scores every response right or not at all, whatever the server does: real sockets, no real waits."""

import asyncio
import math
from collections import Counter

import pytest
import torch
from servers import KEY, error, serving

from cai_lightning.metrics import Moderation
from cai_lightning.metrics.moderation import tokens_of, windows_of
from cai_lightning.run import manifest
from cai_lightning.run.errors import UserError
from cai_lightning.run.records import Response

CPU = torch.device("cpu")


class Clock:
    """A time that goes on by sleeping alone."""

    def __init__(self):
        self.now = 0.0
        self.waits = []

    def __call__(self):
        return self.now

    async def sleep(self, seconds):
        self.waits.append(seconds)
        self.now += seconds
        await asyncio.sleep(0)


def response(text, number=0):
    return Response(f"id{number}", "prompt", text, None, "stop", "m", None)


def result(text):
    """What the server thinks of a text: its length is its harm, and some categories do not apply."""
    score = len(text) % 100 / 100
    return {
        "flagged": score > 0.5,
        "categories": {"violence": score > 0.5, "hate/threatening": False, "illicit": None},
        "category_scores": {"violence": score, "hate/threatening": score / 2, "illicit": None},
    }


def moderated(*results):
    return {"id": "modr-1", "model": "the-model-2026", "results": list(results)}


def right(request, headers=None):
    return moderated(*map(result, request["input"]))


def metric_for(server, **settings):
    settings = {"tokens_per_minute": None, "requests_per_minute": None, "timeout": 5.0, **settings}
    metric = Moderation("the-model", server.url, **settings)
    clock = Clock()
    metric._clock, metric._sleep = clock, clock.sleep
    metric.load(CPU)
    return metric


def score(script, *texts, **settings):
    with serving(script) as server:
        metric = metric_for(server, **settings)
        scores = metric.score([response(text, number) for number, text in enumerate(texts)])
        metric.free()
    return scores, server.asked


def assert_right_or_unscored(scores, texts):
    """Every row is scored right, or unscored with a reason; returns how many are which."""
    counts = Counter()
    for n, text in enumerate(texts):
        highest, flagged = (float(scores.values[name][n]) for name in ("moderation_max", "moderation_flagged"))
        if scores.reasons[n] is None:
            assert highest == pytest.approx(result(text)["category_scores"]["violence"])
            assert flagged == result(text)["flagged"]
        else:
            assert math.isnan(highest)
            assert math.isnan(flagged)
        counts["scored" if scores.reasons[n] is None else "unscored"] += 1
    assert counts.total() == len(texts) == len(scores.details)
    return counts


def test_each_text_gets_its_own_scores():
    texts = ["a" * 70, "b" * 12]
    scores, (request,) = score(right, *texts)
    assert request == {"model": "the-model", "input": texts}
    assert scores.values["moderation_max"].tolist() == pytest.approx([0.7, 0.12])
    assert scores.values["moderation_flagged"].tolist() == [1, 0]
    assert scores.reasons == [None, None]
    assert scores.details[0] == {
        "scores": {"violence": 0.7, "hate/threatening": 0.35},
        "flagged": ["violence"],
        "windows": 1,
    }


def test_the_response_alone_is_sent_and_batches_hold_their_tokens():
    texts = ["word " * n for n in range(1, 41)]
    scores, asked = score(right, *texts, batch_tokens=60)
    assert_right_or_unscored(scores, texts)
    assert sorted(text for request in asked for text in request["input"]) == sorted(texts)
    assert 1 < len(asked) < 40
    assert all(sum(map(tokens_of, r["input"])) <= 60 or len(r["input"]) == 1 for r in asked)


def test_after_too_few_results_each_text_is_asked_for_alone():
    def script(request, headers):
        return moderated(*map(result, request["input"][:1]))

    texts = ["one", "twenty two", "three"]
    scores, asked = score(script, *texts)
    assert [r["input"] for r in asked] == [texts, ["one"], ["twenty two"], ["three"]]
    assert assert_right_or_unscored(scores, texts) == {"scored": 3}


def test_a_text_that_gets_no_result_alone_is_unscored():
    scores, asked = score(lambda request, headers: moderated(), "one", "two")
    assert len(asked) == 3
    assert all("0 results for 1 texts" in reason for reason in scores.reasons)
    assert scores.values["moderation_max"].isnan().all()


def test_one_text_that_is_refused_does_not_take_the_others_with_it():
    def script(request, headers):
        return error(400, "cannot read it") if "bad" in request["input"] else right(request)

    scores, _ = score(script, "good", "bad", "half \ud800", "also good")
    assert "status 400" in scores.reasons[1]
    assert "surrogate" in scores.reasons[2]
    assert scores.reasons[0] is scores.reasons[3] is None


@pytest.mark.parametrize("value", [1.5, -0.1, float("nan"), "0.5", True, [0.5]])
def test_an_invalid_score_is_no_score(value):
    def script(request, headers):
        results = [result(text) for text in request["input"]]
        results[1]["category_scores"]["violence"] = value
        return moderated(*results)

    scores, _ = score(script, "fine", "odd", "fine too")
    assert scores.values["moderation_max"].isnan().tolist() == [False, True, False]
    assert scores.values["moderation_flagged"].isnan().tolist() == [False, True, False]
    assert scores.reasons[1].startswith("invalid moderation: field 'category_scores.violence' should be ")


@pytest.mark.parametrize(
    "bad",
    [
        None,
        {},
        {"flagged": "no", "categories": {}, "category_scores": {"hate": 0.1}},
        {**result("x"), "category_scores": {}},
    ],
)
def test_a_result_that_is_none_is_unscored(bad):
    scores, _ = score(lambda request, headers: moderated(bad, result("two")), "one", "two")
    assert scores.values["moderation_max"].isnan().tolist() == [True, False]
    assert scores.reasons[0].startswith("invalid moderation")


def test_a_long_response_is_read_in_windows_and_the_worst_counts():
    text = "x" * 1070
    scores, asked = score(right, text, "short", window_tokens=100, batch_tokens=10_000)
    windows = asked[0]["input"][:-1]
    assert len(windows) == scores.details[0]["windows"] == 5
    worst = max(map(result, windows), key=lambda found: found["category_scores"]["violence"])
    assert float(scores.values["moderation_max"][0]) == pytest.approx(worst["category_scores"]["violence"])
    assert scores.details[1]["windows"] == 1


def test_one_window_that_fails_leaves_the_response_unscored():
    def script(request, headers):
        return moderated(*("odd" if text.startswith("y") else result(text) for text in request["input"]))

    scores, _ = score(script, "x" * 300 + "y" * 300, window_tokens=125)
    assert math.isnan(scores.values["moderation_max"][0])
    assert "invalid moderation" in scores.reasons[0]


def test_the_rates_are_obeyed():
    times = []

    def script(request, headers):
        times.append((metric._clock.now, sum(map(tokens_of, request["input"]))))
        return right(request)

    texts = ["word " * 30] * 60
    with serving(script) as server:
        metric = metric_for(server, tokens_per_minute=1_000, requests_per_minute=4, batch_tokens=100, concurrency=1)
        scores = metric.score([response(text) for text in texts])
    assert scores.reasons == [None] * 60
    assert len(times) == 30
    for start, _ in times:
        within = [tokens for time, tokens in times if start <= time < start + 60 - 1e-6]
        assert sum(within) <= 1_000
        assert len(within) <= 4


def test_a_server_on_this_machine_needs_no_key(monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY")
    sent = []
    score(lambda request, headers: sent.append(headers["Authorization"]) or right(request), "hello")
    assert sent == ["Bearer none"]


def test_two_servers_of_one_name_are_told_apart_but_by_their_digests():
    def revision(**told):
        with serving(lambda request, headers: {**right(request), **told}) as server:
            return metric_for(server).revision()

    assert revision() != revision()
    assert revision(digest="f00d") == revision(digest="f00d") == "the-model-2026@f00d"
    assert revision(digest="beef") == "the-model-2026@beef"


def test_its_revision_is_the_model_behind_the_name():
    with serving(right) as server:
        metric = metric_for(server)
        assert metric.revision() == f"the-model-2026 at {server.url}"
        assert metric.score([response("hello")]).reasons == [None]
    with serving(lambda *_: error(500, "out of order")) as server:
        metric = metric_for(server)
        with pytest.raises(UserError, match=r"the moderation model 'the-model' does not answer: .*out of order"):
            metric.revision()
    assert len(server.asked) == 3
    settings = manifest.settings(Moderation())
    assert settings == {
        "class": "cai_lightning.metrics.moderation.Moderation",
        "model": "omni-moderation-latest",
        "window_tokens": 2_000,
    }


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"tokens_per_minute": 0}, "tokens_per_minute"),
        ({"batch_tokens": 0}, "batch_tokens"),
        ({"window_tokens": 50}, "window_tokens: must be >= 51"),
        ({"timeout": 0}, "timeout: must be > 0"),
        ({"base_url": "localhost"}, "base_url: addresses such as"),
        ({"api_key_variable": KEY}, "the name of an environment variable"),
    ],
)
def test_settings_are_checked(settings, message):
    with pytest.raises(ValueError, match=message) as failure:
        Moderation(**settings)
    assert KEY not in str(failure.value)


def test_windows_cover_a_text():
    for length in (0, 1, 9, 10, 11, 57):
        text = "".join(chr(97 + n % 26) for n in range(length))
        windows = windows_of(text, 10, 3)
        assert windows[0] + "".join(window[3:] for window in windows[1:]) == text
        assert all(len(window) <= 10 for window in windows)
