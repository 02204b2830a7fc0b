"""What the page works out beside the comparison: rounds, principles, distributions, agreement, the verdict."""

from dataclasses import replace

import pytest
from scipy import stats

from cai_lightning.report.comparison import compare_runs
from cai_lightning.report.corpora import Row, RunTexts
from cai_lightning.report.page.cards import verdict_sentence
from cai_lightning.report.page.plots import agreement, distribution, tradeoffs
from cai_lightning.report.page.rounds import by_principle, by_round
from cai_lightning.report.page.viewer import chains, known_scores
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
    return load_runs([make_run("base", {"harmless": low}), make_run("last", {"harmless": high})])


@pytest.fixture
def texts():
    base = {id: response(id, f"bad {id}") for id in IDS}
    last = {id: response(id, REFUSAL) for id in IDS}
    rows = {id: row(id, f"bad {id}", f"better {id}", REFUSAL) for id in [*IDS, "ffff"]}
    return [RunTexts("base", base, {}), RunTexts("last", last, rows)]


def words(table):
    return {line.label: dict(zip(table.headings, (bar.words for bar in line.bars), strict=True)) for line in table.rows}


def test_rounds_have_scores_where_every_text_was_scored(runs, texts):
    known = known_scores(texts, runs, compare_runs(runs, "base"))
    table = words(by_round("last", chains(texts[1]), known))
    assert [line["harmless"] for line in table.values()] == ["0.05", "-", "0.90"]
    assert [line["refuse"] for line in table.values()] == ["0 %", "0 %", "100 %"]
    assert table["revision 1"]["similarity to the answer before"] == "0.50"


def test_texts_that_happen_to_be_scored_are_no_sample(runs, texts):
    """Half of the first revisions are what some run has said: their mean would say nothing about the others."""
    said = dict(texts[0].responses) | {id: response(id, f"better {id}") for id in IDS[:10]}
    texts = [RunTexts("base", said, {}), texts[1]]
    known = known_scores(texts, runs, compare_runs(runs, "base"))
    table = words(by_round("last", chains(texts[1]), known))
    assert [line["harmless"] for line in table.values()] == ["-", "-", "0.90"]


def test_recorded_runs_score_the_answers_of_a_round(runs, texts, make_run):
    first, other = load_runs(
        [
            make_run("first", {"harmless": dict.fromkeys(IDS, 0.4)}),
            make_run("other", {"harmless": dict.fromkeys(IDS, 0.1)}, harmless={"revision": "another model"}),
        ]
    )
    said = {id: response(id, f"better {id}") for id in IDS}
    comparison = compare_runs(runs, "base")
    for recorded, mean in ((first, "0.40"), (other, "-")):
        known = known_scores(texts, runs, comparison, [replace(recorded, responses=said)])
        table = words(by_round("last", chains(texts[1]), known))
        assert [line["harmless"] for line in table.values()] == ["0.05", mean, "0.90"]


def test_principles_compare_the_run_with_the_baseline_on_their_prompts(runs, texts):
    base, last = runs
    table = words(by_principle(last, base, chains(texts[1]), ["harmless"]))
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
    assert found.rows[0][1].rho == pytest.approx(expected)
    assert found.rows[0][1].n == 20
    assert found.rows[0][2].rho is None, "a column that never varies orders nothing"


def test_agreement_leaves_out_what_was_judged_otherwise(make_run):
    up = {id: float(n) for n, id in enumerate(IDS)}
    down = {id: 1000 - value for id, value in up.items()}
    base = make_run("base", {"a": up, "b": up})
    other = make_run("other", {"a": up, "b": down}, b={"revision": "another model"})
    runs = load_runs([base, other])
    correlation = agreement(compare_runs(runs, "base"), runs).rows[0][1]
    assert (correlation.rho, correlation.n) == (pytest.approx(1.0), 20)


def test_histograms_count_every_score(make_run):
    points = {id: float(1 + n % 5) for n, id in enumerate(IDS)}
    shares = {id: n / 100 for n, id in enumerate(IDS)}
    runs = load_runs([make_run("base", {"points": points, "shares": shares})])
    (judged,) = distribution("points", runs, [0]).histograms
    assert [(bin.middle, bin.height) for bin in judged.bins] == [(str(n), 100) for n in range(1, 6)]
    spread = distribution("shares", runs, [0])
    assert (spread.scale.low, spread.scale.high) == (0.0, 1.0)
    assert sum(bin.height for bin in spread.histograms[0].bins) == pytest.approx(2000)
    assert distribution("none", runs, [0]).histograms == ()


def test_points_are_placed_with_their_intervals(make_run):
    scores = {id: n % 2 for n, id in enumerate(IDS)}
    runs = load_runs([make_run("base", {"helpfulness": scores, "harmlessness": dict.fromkeys(IDS, 1.0)})])
    (plot,) = tradeoffs(compare_runs(runs, "base"))
    (point,) = plot.points
    assert point.across.place == 50
    assert point.across.low < 50 < point.across.high
    assert point.up.place == 0, "up is from the top"


def test_the_verdict_claims_no_more_than_the_intervals(make_run):
    low = {id: n % 10 / 10 for n, id in enumerate(IDS)}
    mixed = {id: value + (0.2 if n % 2 else -0.2) for n, (id, value) in enumerate(low.items())}
    high = {id: value + 0.2 for id, value in low.items()}
    base = make_run("base", {"m": low, "k": low})
    tuned = make_run("tuned", {"m": high, "k": {id: v + 0.01 for id, v in mixed.items()}})
    sentence = verdict_sentence(compare_runs(load_runs([base, tuned]), "base"))
    assert sentence.startswith("tuned comes first by mean rank")
    assert "better than base in m, not distinguishable from it in k." in sentence
    assert "nothing to compare" in verdict_sentence(compare_runs(load_runs([base]), "base"))
