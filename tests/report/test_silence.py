"""A run that says nothing more often than others is warned of wherever it is compared."""

import io
import json
import random

import pytest
from rich.console import Console

from cai_lightning.report.comparable import silence_warnings
from cai_lightning.report.comparison import compare_runs
from cai_lightning.report.corpora import read_rows
from cai_lightning.report.page import render_page
from cai_lightning.report.results import silences
from cai_lightning.report.runs import arms_of, load_runs
from cai_lightning.report.table import as_json
from cai_lightning.report.words import content, document
from cai_lightning.run import jsonl
from cai_lightning.run.records import Response

IDS = [f"{n:04x}" for n in range(40)]


@pytest.fixture
def validated(make_run, tmp_path):
    """A run in which some prompts got an empty answer, some an unfinished thought, and some none."""

    def make(name, empty=0, unfinished=0, missing=0, ids=IDS):
        silent = dict.fromkeys(ids[:empty], ("", None)) | dict.fromkeys(
            ids[empty : empty + unfinished], (" ", "Hm, and")
        )
        gone = ids[len(ids) - missing :]
        scores = {id: None if id in silent or id in gone else 0.5 for id in ids}
        run = make_run(name, {"m": scores}, prompts=ids, adapter=name)
        said = {id: silent.get(id, ("Words.", "A thought.")) for id in ids if id not in gone}
        jsonl.write(
            run / "responses.jsonl",
            [
                vars(Response(id, f"prompt {id}", text, None, "stop", "m", name, thought=thought))
                for id, (text, thought) in said.items()
            ],
        )
        return run

    return make


def warnings(*paths):
    runs = load_runs(paths)
    return silence_warnings(runs, arms_of(runs))


def test_random_runs_are_warned_of_by_the_shares_alone(validated):
    draw = random.Random(1)
    met = set()
    for case in range(40):
        asked = draw.choice([8, 20, 40])
        silent = [draw.choice([0, 0, 1, 2, draw.randint(0, asked)]) for _ in range(3)]
        runs = []
        for name, count in zip("abc", silent, strict=True):
            empty = draw.randint(0, count)
            unfinished = draw.randint(0, count - empty)
            runs.append(validated(f"{case}/{name}", empty, unfinished, count - empty - unfinished, IDS[:asked]))
        found = warnings(*runs)
        assert len(found) == (max(silent) - min(silent) >= 0.05 * asked)
        for name, count in zip("abc", silent, strict=True):
            told = f"{name} {count} of {asked} (" if count else f"{name} none of {asked}"
            assert all(told in warning for warning in found)
        met.add(len(found))
    assert met == {0, 1}


def test_a_collapsed_model_is_warned_of_in_every_form(validated):
    paths = [validated("base"), validated("collapsed", empty=7, unfinished=5)]
    runs = load_runs(paths)
    comparison = compare_runs(runs, "base")
    assert comparison.columns[0].cells[1].estimate.mean == comparison.columns[0].cells[0].estimate.mean
    said = "prompts without an answer: base none of 40, collapsed 12 of 40 (30 %). They are in no mean"
    console = Console(width=300, file=io.StringIO(), color_system=None)
    console.print(document(comparison).terminal())
    assert f"Warning: {said}" in console.file.getvalue()
    assert f"**Warning: {said}" in document(comparison).markdown()
    assert json.loads(as_json(content(comparison)))["warnings"][0].startswith(said)
    page = render_page(comparison, runs, list(map(read_rows, paths)))
    assert f'<p class="warning" role="alert">Warning: {said}' in page


def test_no_form_warns_where_runs_are_alike(validated):
    paths = [validated("base", empty=2), validated("tuned", unfinished=3)]
    runs = load_runs(paths)
    comparison = compare_runs(runs, "base")
    assert comparison.warnings == ()
    page = render_page(comparison, runs, list(map(read_rows, paths)))
    assert "Warning" not in document(comparison).markdown() + page


def test_the_seeds_of_an_arm_count_together(validated):
    paths = [validated("base"), validated("arm@1", empty=20), validated("arm@2")]
    assert "base none of 40, arm 20 of 80 (25 %)" in warnings(*paths)[0]


def test_a_run_without_recorded_responses_says_nothing_about_them(validated, make_run):
    bare = make_run("bare", {"m": dict.fromkeys(IDS, 0.5)}, prompts=IDS)
    assert warnings(validated("base"), bare) == []
    (told,) = warnings(validated("base2"), bare, validated("half", missing=20))
    assert "bare" not in told


def test_silences_are_counted_by_their_reasons():
    said = [("", None), ("\n", None), ("", "Hm"), ("No.", "Hm"), ("No.", None)]
    rows = [Response("a", "p", text, None, "stop", "m", None, thought=thought) for text, thought in said]
    assert silences(rows) == {"empty responses": 2, "unfinished thoughts": 1}
