"""A score is made once for all that it depends on, and again when any of it changes."""

import random
from dataclasses import replace

import pytest
import torch
from lightning.pytorch.strategies import SingleDeviceStrategy
from unable import Unable

from cai_lightning.metrics.base import Column, ResponseMetric, Scores, estimate_in
from cai_lightning.metrics.scoring import Scorer, metric_digest
from cai_lightning.report.summary import read_scores
from cai_lightning.run import jsonl
from cai_lightning.run.errors import UserError, WriteError
from cai_lightning.run.records import Response, assistant, user
from cai_lightning.statistics import mean_interval


class Letters(ResponseMetric):
    """Letters of a response, and of its reference; one that says `odd` has no second score."""

    NOT_FINGERPRINTED = frozenset({"batch_size"})
    uses_references = True

    def __init__(self, scale: float = 1.0, batch_size: int = 1):
        super().__init__([Column("own", "higher", 0, 100), Column("theirs", "higher", 0, 100)])
        self.scale, self.batch_size = scale, batch_size
        self.commit, self.scored = "c1", []

    def revision(self):
        if self.commit is None:
            raise UserError("no server")
        return self.commit

    def inapplicable(self, response):
        return None if response.response else "empty response"

    def load(self, device):
        pass

    def free(self):
        pass

    def score(self, responses):
        self.scored += [response.id for response in responses]
        own = torch.tensor([self.scale * len(r.response) for r in responses])
        theirs = torch.tensor([torch.nan if "odd" in r.response else float(len(r.reference or "")) for r in responses])
        return Scores({"own": own, "theirs": theirs}, [None] * len(responses))


class Alone(Letters):
    uses_references = False


def response(id, text="text", reference="ref", **more):
    return Response(id, f"prompt {id}", text, reference, "stop", "m", adapter="a1", **more)


class Journal:
    """A sink that writes scores down, and counts rows."""

    def __init__(self, writer):
        self.writer, self.stages, self.rows = writer, [], 0

    def stage(self, name, total, done):
        self.stages.append((name, total, done))

    def record(self, *records):
        for record in records:
            self.writer.append(record)

    def row(self):
        self.rows += 1


@pytest.fixture
def score(tmp_path):
    """Scores rows with a metric as one start of validate does; returns the ids that it had to score."""

    def score(metric, *rows, failed=None, adapter="a1"):
        metric.scored.clear()
        ids = {row.id: row.id for row in rows}
        with jsonl.JournalWriter(tmp_path / "scores.jsonl") as writer:
            score.sink = Journal(writer)
            scorer = Scorer(tmp_path, score.sink, SingleDeviceStrategy("cpu"), ids, batch_size=2)
            score.outcome = scorer.score(metric, rows, failed or {}, adapter)
        score.estimates = {column.name: estimate_in(metric.compute(), column.name) for column in metric.columns}
        score.rows = jsonl.read(tmp_path / "scores.jsonl")
        jsonl.merge(tmp_path / "scores.jsonl")
        return list(metric.scored)

    return score


def test_what_is_scored_costs_nothing_again(score):
    rows = response("a"), response("b", "longer text")
    assert score(Letters(), *rows) == ["a", "b"]
    first = score.rows
    metric = Letters(batch_size=7)
    assert score(metric, *rows) == []
    assert score.rows == first
    assert {name: estimate.mean for name, estimate in score.estimates.items()} == {"own": 7.5, "theirs": 3}
    assert (score.sink.stages, score.sink.rows) == ([("Letters", 2, 2)], 0)
    assert first["a", "own"]["revision"] == "c1"
    assert len(first["a", "own"]["key"]) == 16


@pytest.mark.parametrize(
    "change",
    [
        {"response": "other"},
        {"prompt": "other"},
        {"reference": "other"},
        {"turns": [user("before"), assistant("yes"), user("prompt a")]},
    ],
    ids=lambda change: next(iter(change)),
)
def test_a_row_that_changed_is_scored_again(score, change):
    rows = response("a"), response("b")
    score(Letters(), *rows)
    assert score(Letters(), replace(rows[0], **change), rows[1]) == ["a"]


def test_a_reference_that_is_not_used_may_change(score):
    score(Alone(), response("a"))
    assert score(Alone(), response("a", reference="other")) == []


def test_other_settings_and_another_revision_score_all_again(score):
    rows = response("a"), response("b")
    score(Letters(), *rows)
    assert score(Letters(scale=2.0), *rows) == ["a", "b"]
    newer = Letters(scale=2.0)
    newer.commit = "c2"
    assert score(newer, *rows) == ["a", "b"]
    assert {row["revision"] for row in score.rows.values()} == {"c2"}


def test_the_same_text_under_another_id_or_adapter_is_not_scored_again(score):
    score(Letters(), response("a"))
    again = replace(response("a"), id="a-2", adapter="a2")
    assert score(Letters(), again, adapter="a2") == []
    assert score.rows["a-2", "own"] == {**score.rows["a", "own"], "id": "a-2", "adapter": "a2"}


def test_a_row_with_one_unscored_column_is_tried_again(score):
    rows = response("a", "odd"), response("b")
    assert score(Letters(), *rows) == ["a", "b"]
    assert (score.rows["a", "own"]["score"], score.rows["a", "theirs"]["score"]) == (3, None)
    assert score.rows["a", "theirs"]["reason"] == "no reason given"
    assert score(Letters(), *rows) == ["a"]


def test_what_has_no_score_whatever_happens_is_not_asked_for(score):
    assert score(Letters(), response("a", ""), failed={"b": "cut off"}) == []
    assert {id: row["reason"] for (id, _), row in score.rows.items()} == {
        "a": "empty response",
        "b": "no response: cut off",
    }
    assert all(row["score"] is None for row in score.rows.values())


def test_a_score_out_of_range_is_unscored(score):
    metric = Letters(scale=100.0)
    score(metric, response("a"))
    assert (score.rows["a", "own"]["score"], score.rows["a", "own"]["reason"]) == (None, "own 400 is not in 0 to 100")
    assert score.rows["a", "theirs"]["score"] == 3
    assert score.estimates["own"].mean is None


def test_the_last_scores_stand_while_the_revision_cannot_be_told(score):
    score(Letters(), response("a"))
    silent = Letters()
    silent.commit = None
    assert score(silent, response("a"), response("b")) == []
    assert (score.outcome.revision, score.outcome.not_run) == ("c1", "no server")
    assert score.sink.stages == [("Letters", 2, 1)]
    assert score.estimates["own"].mean == 4


def test_a_score_of_what_stood_here_before_stands_no_more(score):
    """Where the evaluator cannot run now, neither the file nor the mean counts it."""
    score(Letters(), response("a"), response("b"))
    silent = Letters()
    silent.commit = None
    score(silent, response("a", "another"), response("b"))
    assert score.rows["a", "own"]["score"] is None
    assert score.rows["a", "own"]["reason"] == "the response has changed since it was scored"
    assert score.estimates["own"].n == 1
    assert score(Letters(), response("a", "another"), response("b")) == ["a"]


@pytest.mark.parametrize(
    ("where", "error", "why"),
    [
        ("revision", "UserError", "the key is [bold]refused[/bold]"),
        ("load", "UserError", "the key is [bold]refused[/bold]"),
        ("load", "package", "the package no_such_package is not installed."),
        ("load", "memory", "not enough memory (MemoryError); lower its batch size, or free some."),
        ("load", "cpu", "not enough memory ("),
        ("score", "cuda", "not enough memory (CUDA out of memory); lower its batch size, or free some."),
        ("score", "UserError", "the key is [bold]refused[/bold]"),
    ],
)
def test_why_an_evaluator_cannot_run_and_what_it_has_scored_is_kept(score, where, error, why):
    rows = [response(id) for id in "abcde"]
    score(Unable(where, error), *rows)
    assert score.outcome.not_run.startswith(why)
    kept = ["a", "b"] if where == "score" else []
    assert [id for id, _ in score.rows] == kept
    assert score(Unable("nowhere"), *rows) == [id for id in "abcde" if id not in kept]
    assert (score.outcome.not_run, score.estimates["unable"].mean) == (None, 0.25)
    assert score.estimates["unable"].n == 5


@pytest.mark.parametrize(("error", "kind"), [("mistake", RuntimeError), ("disk", WriteError)])
def test_a_mistake_in_an_evaluator_and_a_full_disk_end_it_all(score, error, kind):
    with pytest.raises(kind):
        score(Unable("load", error), response("a"))


class Moody(Letters):
    """Leaves scores out, gives up, or cannot be asked, by chance."""

    def __init__(self, scale: float, draw):
        super().__init__(scale)
        self.draw = draw

    def revision(self):
        if self.draw.random() < 0.2:
            raise UserError("no server")
        return self.draw.choice(["c1", "c1", "c2"])

    def load(self, device):
        if self.draw.random() < 0.2:
            raise UserError("no weights")

    def score(self, responses):
        if self.draw.random() < 0.2:
            raise UserError("gone")
        found = super().score(responses)
        for values in found.values.values():
            values[[self.draw.random() < 0.3 for _ in responses]] = torch.nan
        return found


class Settled(Moody):
    """The same, whose settings leave the chance aside."""

    NOT_FINGERPRINTED = frozenset({"draw", "batch_size"})


@pytest.mark.parametrize("number", range(30))
def test_the_metric_computes_what_stands_in_the_file_whatever_happened_before(score, tmp_path, number):
    draw = random.Random(number)
    prompts = {id: id for id in "abcdefg"}
    for _ in range(8):
        ids = sorted(draw.sample(sorted(prompts), 5))
        rows = [response(id, draw.choice(["text", "odd", "longer", ""])) for id in ids]
        metric, adapter = Settled(draw.choice([1.0, 2.0]), draw), draw.choice(["a1", "a2"])
        failed = dict.fromkeys(sorted(prompts.keys() - set(ids))[: draw.randint(0, 2)], "cut off")
        score(metric, *rows, failed=failed, adapter=adapter)
        made_by = (metric_digest(metric), score.outcome.revision)
        tried = {*ids, *failed}
        stands = read_scores(tmp_path, dict.fromkeys(("own", "theirs"), made_by), adapter, tried)
        for name, column in stands.items():
            assert score.estimates[name] == mean_interval(column.values)
