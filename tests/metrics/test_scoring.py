"""A score is made once for all that it depends on, and again when any of it changes."""

from dataclasses import replace

import pytest
import torch

from cai_lightning.metrics.base import Column, ResponseMetric, Scores
from cai_lightning.metrics.scoring import Scoring
from cai_lightning.run import jsonl
from cai_lightning.run.errors import UserError
from cai_lightning.run.records import Response, assistant, user


class Letters(ResponseMetric):
    """Letters of a response, and of its reference; one that says `odd` has no second score."""

    INCIDENTAL = frozenset({"batch_size"})
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


@pytest.fixture
def score(tmp_path):
    """Scores rows with a metric as one start of validate does; returns the ids that it had to score."""

    def score(metric, *rows, failed=None, adapter="a1"):
        metric.scored.clear()
        with jsonl.JournalWriter(tmp_path / "scores.jsonl") as writer:

            def emit(scores):
                for record in scores:
                    writer.append(record)

            scoring = Scoring(metric, dict(enumerate(rows)), failed or {}, tmp_path, adapter)
            try:
                scoring.look_up(emit)
                scoring.score(2, emit)
            finally:
                score.rows = jsonl.read(tmp_path / "scores.jsonl", jsonl.by_metric)
                score.scoring = scoring
        jsonl.merge(tmp_path / "scores.jsonl", key=jsonl.by_metric)
        return list(metric.scored)

    return score


def test_what_is_scored_costs_nothing_again(score):
    rows = response("a"), response("b", "longer text")
    assert score(Letters(), *rows) == ["a", "b"]
    first = score.rows
    metric = Letters(batch_size=7)
    assert score(metric, *rows) == []
    assert score.rows == first
    assert {name: value.item() for name, value in metric.compute().items()} == {"own": 7.5, "theirs": 3}
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
    assert metric.compute()["own"].isnan()


def test_the_last_scores_stand_while_the_revision_cannot_be_told(score):
    score(Letters(), response("a"))
    silent = Letters()
    silent.commit = None
    with pytest.raises(UserError, match="no server"):
        score(silent, response("a"), response("b"))
    assert score.scoring.revision == "c1"
    assert list(score.scoring.missing.values()) == [response("b")]
    assert silent.compute()["own"] == 4
