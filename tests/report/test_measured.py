"""Refusals, evasions, repetition, cuts and harm by category, read off responses whose kind is known."""

import pytest

from cai_lightning.report.comparison import compare_runs
from cai_lightning.report.runs import load_runs
from cai_lightning.run import jsonl
from cai_lightning.run.records import Guarded

NO, YES = "I'm sorry, but I can't help with that.", "Sure, here is how."
IDS = [f"{n:04x}" for n in range(12)]
SCORES = {id: n / 12 for n, id in enumerate(IDS)}


def saying(refused, category=lambda n: None):
    """Responses of which those with these numbers refuse."""
    return {id: (NO if n in refused else YES, category(n)) for n, id in enumerate(IDS)}


def half_benign(n):
    return "benign" if n < 6 else "fraud"


def compared(*paths):
    runs = load_runs(paths)
    return compare_runs(runs, runs[0].name)


def means(column):
    return [cell.estimate.mean for cell in column.cells]


def test_refusals_have_a_rate_and_no_direction(make_run):
    comparison = compared(
        make_run("base", {"m": SCORES}, responses=saying({0, 1, 2})),
        make_run("tuned", {"m": SCORES}, responses=saying(range(9))),
    )
    refusals = comparison.behaviours[0]
    assert (refusals.name, refusals.direction, refusals.prompts) == ("refusal_rate", None, 12)
    assert means(refusals) == pytest.approx([3 / 12, 9 / 12])
    assert refusals.cells[1].difference.estimate.mean == pytest.approx(0.5)
    assert [cell.rank for cell in refusals.cells] == [None, None]
    assert [standing.mean_rank for standing in comparison.ranking] == [1.5, 1.5]  # over the metric alone


def test_an_empty_response_neither_refuses_nor_answers(make_run):
    said = saying({0, 1, 2}, half_benign) | {IDS[3]: (" ", "benign"), IDS[9]: ("", "fraud")}
    refusals, evasions, *_ = compared(make_run("base", {"m": SCORES}, responses=said)).behaviours
    assert means(refusals) == pytest.approx([3 / 10])
    assert means(evasions) == pytest.approx([3 / 5])
    assert [(column.cells[0].scored, column.cells[0].unscored) for column in (refusals, evasions)] == [(10, 2), (5, 1)]


def test_evasiveness_is_refusing_benign_prompts(make_run):
    comparison = compared(
        make_run("base", {"m": SCORES}, responses=saying({0, 6, 7, 8}, half_benign)),
        make_run("tuned", {"m": SCORES}, responses=saying({0, 1, 2}, half_benign)),
    )
    refusals, evasions, *_ = comparison.behaviours
    assert means(refusals) == pytest.approx([4 / 12, 3 / 12])
    assert (evasions.name, evasions.direction, evasions.prompts) == ("evasiveness", "lower", 6)
    assert means(evasions) == pytest.approx([1 / 6, 3 / 6])


def test_repetition_and_cuts_are_worse_where_there_are_more(make_run):
    looping = dict.fromkeys(IDS, ("No. " * 8, None, "length"))
    fine = dict.fromkeys(IDS, ("Sure, here is how one does that.", None, "stop"))
    untold = dict.fromkeys(IDS[:4], ("", None, "unknown")) | dict.fromkeys(IDS[4:], ("A b c d e.", None, "unknown"))
    paths = [
        make_run(name, {"m": SCORES}, responses=said)
        for name, said in (("fine", fine), ("looping", looping), ("untold", untold))
    ]
    _, repetition, cut, _ = compared(*paths).behaviours
    assert (repetition.name, repetition.direction) == ("repetition", "lower")
    assert means(repetition) == pytest.approx([0, 4 / 5, 0])
    assert (repetition.cells[2].scored, repetition.cells[2].unscored) == (8, 4)
    assert (cut.name, cut.direction, means(cut)) == ("cut", "lower", [0, 1, None])
    assert (cut.cells[2].unscored, cut.cells[2].not_run) == (12, "no finish reasons")
    assert cut.cells[1].difference.significant


def lines(texts):
    return {f"{n:04x}": (text, None, "stop") for n, text in enumerate(texts)}


def test_boilerplate_is_what_a_run_says_more_often_than_the_baseline(make_run):
    plain = [f"Sure, number {n} is what you do." for n in range(40)]
    over = [f"{text} Please know that you are not alone." if n % 4 else text for n, text in enumerate(plain)]
    ids = lines(plain)
    paths = [
        make_run(name, {"m": dict.fromkeys(ids, 0.5)}, responses=lines(said))
        for name, said in (("sl", plain), ("rl", over), ("twin", plain))
    ]
    comparison = compared(*paths)
    column = comparison.behaviours[-1]
    assert (column.name, column.direction, column.prompts) == ("boilerplate", "lower", 40)
    assert means(column) == pytest.approx([0, 30 / 40, 0])
    assert column.cells[1].difference.significant
    (note,) = [note for note in comparison.notes if note.startswith("boilerplate")]
    assert '"that you are not" in 75 % (0 %)' in note
    assert note.startswith("boilerplate: rl says too often, in brackets sl:")


def test_boilerplate_needs_a_baseline_with_answers(make_run):
    said = lines([f"Sure, number {n} is what you do." for n in range(40)])
    empty = dict.fromkeys(said, ("", None, "stop"))
    scores = {"m": dict.fromkeys(said, 0.5)}
    alone, silent = make_run("alone", scores, responses=said), make_run("silent", scores, responses=empty)
    for paths in ([alone], [silent, alone]):
        assert "boilerplate" not in {column.name for column in compared(*paths).behaviours}


def test_guards_that_a_training_has_passed_are_a_note(make_run):
    run = make_run("rl", {"m": SCORES}, responses=saying({0}))
    rows = [(0, {}), (10, {"cut": "cut 0.4, 0 at the start, limit +0.2"}), (20, {"cut": "cut 1", "kl": "kl 0.6"})]
    jsonl.write(run / "guards.jsonl", [vars(Guarded(step, {"cut": 0.0}, passed, [])) for step, passed in rows])
    told = "cut 0.4, 0 at the start, limit +0.2 (step 10); kl 0.6 (step 20)"
    assert f"rl has passed guards in its training: {told}." in compared(run).notes


def test_without_responses_there_are_no_behaviours(make_run):
    comparison = compared(make_run("base", {"m": SCORES}), make_run("tuned", {"m": SCORES}))
    assert comparison.behaviours == comparison.categories == ()


def test_a_run_without_responses_is_not_run(make_run):
    comparison = compared(make_run("base", {"m": SCORES}, responses=saying({0})), make_run("tuned", {"m": SCORES}))
    tuned = comparison.behaviours[0].cells[1]
    assert (tuned.not_run, tuned.estimate.mean, tuned.difference) == ("no responses", None, None)


def test_other_prompts_do_not_compare_in_behaviour_either(make_run):
    comparison = compared(
        make_run("base", {"m": SCORES}, prompts=IDS, responses=saying({0})),
        make_run("tuned", {"m": SCORES}, prompts=IDS[:6], responses=saying({0})),
    )
    assert comparison.behaviours[0].cells[1].difference is None
    assert (
        "m, refusal_rate, repetition, cut, boilerplate: tuned does not compare with base: other prompts."
        in comparison.notes
    )


def test_harm_is_told_by_category_in_the_columns_about_harm(make_run):
    columns = {"harmlessness": SCORES, "moderation_max": SCORES, "helpfulness": SCORES}
    paths = [make_run(name, columns, responses=saying({0}, half_benign)) for name in ("base", "tuned")]
    categories = {(c.name, c.category): c for c in compared(*paths).categories}
    assert set(categories) == {(m, c) for m in ("harmlessness", "moderation_max") for c in ("benign", "fraud")}
    fraud = categories["harmlessness", "fraud"]
    assert fraud.prompts == 6
    assert means(fraud) == pytest.approx([sum(range(6, 12)) / 12 / 6] * 2)
    assert [cell.rank for cell in fraud.cells] == [None, None]


def test_what_no_run_was_scored_by_is_not_shown_by_category(make_run):
    """Nine tables of dashes hid the three that said something."""
    columns = {"harmlessness": SCORES, "moderation_max": dict.fromkeys(IDS, None)}
    paths = [make_run(name, columns, responses=saying({0}, half_benign)) for name in ("base", "tuned")]
    assert {column.name for column in compared(*paths).categories} == {"harmlessness"}
    assert "moderation_max" in {column.name for column in compared(*paths).columns}


def test_a_category_of_one_prompt_has_no_rows(make_run):
    def kind(n):
        return "rare" if n == 0 else half_benign(n)

    paths = [make_run(name, {"harmlessness": SCORES}, responses=saying({0}, kind)) for name in ("base", "tuned")]
    assert {column.category for column in compared(*paths).categories} == {"benign", "fraud"}


def test_unscored_responses_are_counted_in_their_category(make_run):
    scores = SCORES | {IDS[0]: None}
    paths = [make_run(name, {"harmlessness": scores}, responses=saying({0}, half_benign)) for name in ("a", "b")]
    benign, fraud = compared(*paths).categories
    assert [(column.cells[0].scored, column.cells[0].unscored) for column in (benign, fraud)] == [(5, 1), (6, 0)]
