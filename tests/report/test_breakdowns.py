"""What the page works out beside the comparison: rounds, principles, agreement."""

from dataclasses import replace

import pytest
from scipy import stats

from cai_lightning.report.breakdowns import agreement, by_principle, by_round, chains, known_scores
from cai_lightning.report.comparison import compare_runs
from cai_lightning.report.corpora import Row
from cai_lightning.report.page import environment
from cai_lightning.report.runs import load_runs
from cai_lightning.run.records import Response, Round

IDS = [f"{n:04x}" for n in range(20)]
REFUSAL = "I'm sorry, but I can't help with that."


def response(id, text):
    return Response(id, "p", text, None, "stop", "m", None)


def row(id, *texts, principles=("a", "b")):
    rounds = tuple(
        Round(principle, None, principle, "", "c", text) for principle, text in zip(principles, texts[1:], strict=False)
    )
    return Row(id, "p", texts[0], rounds, texts[-1])


@pytest.fixture
def runs(make_run):
    """The base has said the initial responses; the other run repeats the last revisions."""
    low = {id: n % 2 / 10 for n, id in enumerate(IDS)}
    high = dict.fromkeys(IDS, 0.9)
    base, last = load_runs([make_run("base", {"harmless": low}), make_run("last", {"harmless": high})])
    said = {id: response(id, f"bad {id}") for id in IDS}, {id: response(id, REFUSAL) for id in IDS}
    return [replace(run, responses=responses) for run, responses in zip((base, last), said, strict=True)]


@pytest.fixture
def rows():
    """What the other run has revised."""
    return {id: row(id, f"bad {id}", f"better {id}", REFUSAL) for id in [*IDS, "ffff"]}


def words(table):
    """The texts of a table by its rows' names and its columns' headings."""
    first, *others = table.head
    return {str(row[first]): {heading: str(row[heading]) for heading in others} for row in table.rows}


def test_rounds_have_scores_where_every_text_was_scored(runs, rows):
    known = known_scores(runs, compare_runs(runs, "base"))
    table = words(by_round("last", chains(rows), known))
    assert [line["harmless"] for line in table.values()] == ["0.05", "-", "0.90"]
    assert [line["refuse"] for line in table.values()] == ["0 %", "0 %", "100 %"]
    assert table["revision 1"]["similarity to the answer before"] == "0.50"


def test_texts_that_happen_to_be_scored_are_no_sample(runs, rows):
    """Half of the first revisions are what some run has said: their mean would say nothing about the others."""
    said = dict(runs[0].responses) | {id: response(id, f"better {id}") for id in IDS[:10]}
    runs = [replace(runs[0], responses=said), runs[1]]
    known = known_scores(runs, compare_runs(runs, "base"))
    table = words(by_round("last", chains(rows), known))
    assert [line["harmless"] for line in table.values()] == ["-", "-", "0.90"]


def test_recorded_runs_score_the_answers_of_a_round(runs, rows, make_run):
    first, other = load_runs(
        [
            make_run("first", {"harmless": dict.fromkeys(IDS, 0.4)}),
            make_run("other", {"harmless": dict.fromkeys(IDS, 0.1)}, harmless={"revision": "another model"}),
        ]
    )
    said = {id: response(id, f"better {id}") for id in IDS}
    comparison = compare_runs(runs, "base")
    for recorded, mean in ((first, "0.40"), (other, "-")):
        known = known_scores(runs, comparison, [replace(recorded, responses=said)])
        table = words(by_round("last", chains(rows), known))
        assert [line["harmless"] for line in table.values()] == ["0.05", mean, "0.90"]


def test_principles_compare_the_run_with_the_baseline_on_their_prompts(runs, rows):
    base, last = runs
    table = words(by_principle(last, base, chains(rows), ["harmless"]))
    assert list(table) == ["a", "b"]
    assert table["a"]["harmless"] == "0.05 → 0.90"
    assert (table["a"]["refuse"], table["b"]["refuse"]) == ("0 % → 0 %", "0 % → 100 %")


def test_agreement_is_spearmans_over_all_responses(make_run):
    up = {id: n + n % 3 for n, id in enumerate(IDS)}
    down = {id: -float(n) for n, id in enumerate(IDS)}
    runs = load_runs(
        [make_run("base", {"up": up, "harm": down, "same": dict.fromkeys(IDS, 1.0)}, harm={"direction": "lower"})]
    )
    found = agreement(compare_runs(runs, "base"), runs)
    expected = stats.spearmanr([up[id] for id in IDS], [-down[id] for id in IDS]).statistic
    assert words(found)["up"] == {"up": "1.00", "harm": f"{expected:.2f}", "same": "-"}, (
        "what never varies orders nothing"
    )
    assert found.rows[0]["harm"].below == "n = 20"
    assert found.rows[0]["harm"].share == pytest.approx(abs(expected))


def test_agreement_leaves_out_what_was_judged_otherwise(make_run):
    up = {id: float(n) for n, id in enumerate(IDS)}
    down = {id: 1000 - value for id, value in up.items()}
    base = make_run("base", {"a": up, "b": up})
    other = make_run("other", {"a": up, "b": down}, b={"revision": "another model"})
    runs = load_runs([base, other])
    correlation = agreement(compare_runs(runs, "base"), runs).rows[0]["b"]
    assert (correlation.text, correlation.below) == ("1.00", "n = 20")


def test_bars_are_shares_of_one_or_of_the_largest(runs, rows):
    rounds = by_round("last", chains(rows), known_scores(runs, compare_runs(runs, "base"))).rows
    assert [row["refuse"].share for row in rounds] == [0.0, 0.0, 1.0]
    assert [row["words"].share for row in rounds] == pytest.approx([2 / 9, 2 / 9, 1.0], abs=0.03)
    assert rounds[0]["answer"].below == "21 prompts"


def test_a_principle_leads_to_its_conversations(runs, rows):
    base, last = runs
    table = by_principle(last, base, chains(rows), ["harmless"])
    assert [row["principle"].query for row in table.rows] == [{"principle": "a"}, {"principle": "b"}]
    assert '<a href="#principle=a">a</a>' in environment().get_template("table.html").render(table=table)
