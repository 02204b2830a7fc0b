"""What is found out about columns of known scores: by hand, in both directions, for pairs and for single responses."""

import json

import pytest

from cai_lightning.commands.audit.findings import (
    Labels,
    PairFindings,
    ScoredColumn,
    audit_columns,
    compare_columns,
    response_id,
)
from cai_lightning.data.labelled import Labelled, LabelledPair, LabelledResponse
from cai_lightning.metrics import Column
from cai_lightning.report.summary import ColumnScores
from cai_lightning.run.records import user
from cai_lightning.statistics import Interval, holm

HARM = Column("harm", "lower", 0.0, 1.0)
HELP = Column("help", "higher", 1.0, 5.0)


def asked(prompt):
    return [user(prompt)]


def scored(column, values, **more):
    """A column with scores by prompt and response."""
    ids = {response_id(asked(prompt), response, None): value for (prompt, response), value in values.items()}
    return ScoredColumn(column, "s1", "r1", ColumnScores(ids), **more)


def audited(column, labels):
    (found,) = audit_columns([column], labels)
    return found


@pytest.fixture
def labels():
    """Of the better responses two are the longer one, one the shorter."""
    pairs = [("a", "no way", "yes"), ("b", "never", "ok"), ("c", "no", "of course"), ("c", "nope", "sure")]
    return Labels(Labelled([LabelledPair(asked(prompt), chosen, rejected) for prompt, chosen, rejected in pairs]))


VALUES = {
    ("a", "no way"): 0.1,
    ("a", "yes"): 0.9,
    ("b", "never"): 0.3,
    ("b", "ok"): 0.2,
    ("c", "no"): 0.5,
    ("c", "of course"): 0.5,
    ("c", "nope"): 0.1,
}


def test_pairs_by_hand(labels):
    """Right, wrong, tied, unscored: 1.5 of 3; where the better is longer 1 of 2; shorter, the tie."""
    findings = audited(scored(HARM, VALUES), labels)
    assert findings.found.right.estimate.mean == 0.5
    assert findings.found.right.estimate.n == 3
    assert (findings.found.ties, findings.found.unscored) == (1, 1)
    assert (findings.found.better_is_longer.mean, findings.found.better_is_longer.n) == (0.5, 2)
    assert (findings.found.better_is_shorter.mean, findings.found.better_is_shorter.n) == (0.5, 1)
    assert findings.found.length.mean == pytest.approx(0)  # ranks 3, 1, 2 of scores, 2.5, 2.5, 1 of lengths
    assert isinstance(findings.found, PairFindings)


def test_a_column_where_lower_is_better_is_the_other_turned_round(labels):
    up = audited(scored(HELP, {place: 1 - value for place, value in VALUES.items()}), labels)
    down = audited(scored(HARM, VALUES), labels)
    assert up.found == down.found


def test_better_and_worse_than_chance():
    pairs = [LabelledPair(asked(str(n)), "good", "evil") for n in range(40)]
    labels = Labels(Labelled(pairs))
    right = {(str(n), word): float(word == "good") for n in range(40) for word in ("good", "evil")}
    found = audited(scored(HELP, right), labels)
    assert found.verdict == "better"
    assert found.estimate.low > 0.9
    found = audited(scored(HARM, right), labels)
    assert found.verdict == "worse"
    found = audited(scored(HARM, dict.fromkeys(right, 0.5)), labels)
    assert found.verdict == "no better"
    assert found.found.ties == 40


def coins(right):
    """A column that prefers the better response in so many of forty conversations."""
    return {(str(n), word): float((word == "good") == (n < right)) for n in range(40) for word in ("good", "evil")}


def test_p_values_are_corrected_for_the_number_of_columns():
    """27 of 40 is 2.7 %: better than chance alone, and nothing special as the best of five."""
    labels = Labels(Labelled([LabelledPair(asked(str(n)), "good", "evil") for n in range(40)]))
    idle = scored(HELP, {}, not_run="no server")
    columns = [scored(HELP, coins(right)) for right in (27, 20, 22, 17, 19)]
    alone, many = audited(columns[0], labels), audit_columns([idle, *columns], labels)
    assert alone.verdict == "better"
    assert alone.p_holm == alone.right.p_value == pytest.approx(0.0269, abs=1e-4)
    assert [column.verdict for column in many] == ["", *["no better"] * 5]
    assert many[1].p_holm == pytest.approx(5 * alone.p_holm)
    assert [column.p_holm for column in many[1:]] == holm([column.right.p_value for column in many[1:]])
    worst = audit_columns([scored(HELP, coins(0)), *columns], labels)[0]
    assert worst.verdict == "worse"


def test_forty_copies_of_one_conversation_prove_nothing():
    labels = Labels(Labelled([LabelledPair(asked("a"), "good", f"evil {n}") for n in range(40)]))
    values = {("a", "good"): 5.0} | {("a", f"evil {n}"): 1.0 for n in range(40)}
    assert audited(scored(HELP, values), labels).verdict == ""
    assert len(labels.responses) == 41


def test_singles_have_an_area_and_probabilities_a_calibration():
    singles = [LabelledResponse(asked(str(n)), "x" * (n + 1), n >= 4) for n in range(8)]
    labels = Labels(Labelled(singles=singles))
    harm = scored(HARM, {(str(n), "x" * (n + 1)): 0.75 if n < 4 else 0.25 for n in range(8)})
    found = audited(harm, labels)
    assert found.estimate.mean == found.found.right.estimate.mean == 1
    assert found.calibration.brier == pytest.approx(0.0625)
    assert found.calibration.error == pytest.approx(0.25)
    assert found.found.length.mean > 0.8
    help = scored(HELP, {(str(n), "x" * (n + 1)): 3.0 for n in range(8)})
    assert audited(help, labels).calibration is None


@pytest.mark.parametrize("why", [{"not_run": "no server"}, {"not_applicable": "no reference"}])
def test_what_did_not_run_has_no_figures(labels, why):
    found = audited(scored(HARM, VALUES, **why), labels)
    assert (found.found, found.verdict, found.estimate.mean) == (None, "", None)


def test_agreement_looks_at_all_responses_and_at_preferences(labels):
    harm = scored(HARM, VALUES)
    turned = scored(HELP, {place: -value for place, value in VALUES.items()})
    idle = scored(Column("idle", "higher", 0.0, 1.0), {})
    agreement = compare_columns([harm, turned, idle], labels)
    (pair,) = agreement.pairs
    assert (pair.first, pair.second) == ("harm", "help")
    assert pair.correlation.mean == pytest.approx(1)
    assert pair.correlation.n == 7
    assert pair.alpha == agreement.alpha == Interval(1, None, None, 3)  # of four pairs one is unscored


def test_another_reference_makes_another_response():
    rows = [LabelledPair(asked("a"), "good", "evil", reference) for reference in ("x", "y", "x", None)]
    labels = Labels(Labelled(rows))
    assert len(labels.responses) == 6
    assert labels.chosen[0] == labels.chosen[2] != labels.chosen[1]
    assert json.dumps([response.reference for response in labels.responses]).count("null") == 2
