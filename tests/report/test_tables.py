"""Tables and files say what the comparison holds, and show hostile names as text."""

import io
import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from rich.console import Console

from cai_lightning.commands.compare import compare
from cai_lightning.report.comparison import compare_runs
from cai_lightning.report.corpora import read_rows
from cai_lightning.report.page import render_page
from cai_lightning.report.runs import load_runs
from cai_lightning.report.table import as_json
from cai_lightning.report.words import column_table, content, document
from cai_lightning.run import jsonl
from cai_lightning.run.errors import UserError

LOW = {f"{n:04x}": n % 10 / 10 for n in range(40)}
HIGH = {id: value + 0.2 for id, value in LOW.items()}
KINDS = ["fraud", "hate speech", "benign", "weapons"]
HOSTILE = "[red]x[/red] | <script>alert(1)</script> $x^2$ \x1b[31m"


@pytest.fixture
def runs(make_run):
    lower = {"harm": {"direction": "lower"}}
    base = make_run("base", {"helpful": LOW, "harm": LOW, "judge": {}}, judge={"not_run": f"why {HOSTILE}"}, **lower)
    tuned = make_run("tuned", {"helpful": HIGH, "harm": HIGH | {"ff": None}}, **lower)
    other = make_run("other", {"helpful": HIGH}, helpful={"settings": "s0"})
    return [base, tuned, other]


@pytest.fixture
def comparison(runs):
    return compare_runs(load_runs(runs), "base")


def shown(comparison, width=100):
    console = Console(width=width, file=io.StringIO(), color_system=None)
    console.print(document(comparison).terminal())
    return console.file.getvalue()


def row(text, name, after):
    """The line of a run in the table that begins with this title."""
    return next(line for line in text[text.index(after) :].splitlines() if line.startswith(name))


def test_terminal_shows_means_differences_and_verdicts(comparison):
    text = shown(comparison)
    assert "0.450 [0." in row(text, "base", after="helpful")
    assert "baseline" in row(text, "base", after="helpful")
    assert "+0.200 [0.200, 0.200] better" in row(text, "tuned", after="helpful")
    assert "+0.200 [0.200, 0.200] worse" in row(text, "tuned", after="harm")
    assert "harm: unscored: tuned 1 of 41." in text
    assert "not comparable" in row(text, "other", after="helpful")
    assert "not run: why [red]x[/red]" in text
    assert "other does not compare with base: other settings." in text


def test_truncated_texts_reach_every_form(make_run):
    paths = [make_run(name, {"reward": LOW, "judge": LOW}) for name in ("base", "tuned")]
    scores = list(jsonl.read(paths[1] / "scores.jsonl").values())
    jsonl.write(paths[1] / "scores.jsonl", [s | {"detail": {"truncated": n < 3}} for n, s in enumerate(scores)])
    runs = load_runs(paths)
    comparison = compare_runs(runs, "base")
    said = "reward: scored on a truncated text: tuned 3 of 40."
    assert said in shown(comparison)
    assert said in document(comparison).markdown()
    assert shown(comparison).count("truncated") == 1
    assert json.loads(as_json(content(comparison)))["metrics"]["reward"]["runs"]["tuned"]["truncated"] == 3
    page = render_page(comparison, runs, list(map(read_rows, paths)))
    assert page.count("scored on a truncated text: tuned 3 of") == 2, "beside the metric and in the notes"


def test_terminal_table_fits_eighty_columns(comparison):
    assert all(len(line) <= 80 for line in shown(comparison, width=80).splitlines())


def realistic(make_run):
    """Six metrics, four runs of which one is an arm of three seeds, categories; names as long as they are."""
    rng, ids = np.random.default_rng(0), [f"{n:016x}" for n in range(147)]
    names = ["qwen_base", "qwen_control", "qwen_random", *(f"qwen_contextual@{n}" for n in (1, 2, 3))]
    metrics = ["semantic_similarity", "helpfulness", "harmlessness", "moderation_max", "judge_helpfulness"]
    said = {id: ("I cannot help with that." if n % 3 else "Sure.", KINDS[n % 4]) for n, id in enumerate(ids)}
    paths = [
        make_run(name, {m: dict(zip(ids, rng.random(147).tolist(), strict=True)) for m in metrics}, responses=said)
        for name in names
    ]
    return compare_runs(load_runs(paths), "qwen_base")


def test_rows_of_a_whole_experiment_stay_whole_at_a_hundred_columns(make_run):
    lines = shown(realistic(make_run)).splitlines()
    rows = [line for line in lines if line.startswith(("qwen_base ", "qwen_control ", "qwen_contextual x3 "))]
    assert len(rows) == 3 * 10  # five metrics and five behaviours
    assert all(line.count("]") == (1 if "baseline" in line else 2) for line in rows)
    assert "qwen_contextual x3: qwen_contextual@1, qwen_contextual@2, qwen_contextual@3" in "\n".join(lines)


def test_categories_are_rows_and_runs_are_columns(make_run):
    comparison = realistic(make_run)
    text = shown(comparison)
    fraud = row(text, "fraud", after="harmlessness by category")
    column = next(c for c in comparison.categories if (c.name, c.category) == ("harmlessness", "fraud"))
    assert fraud.startswith("fraud (37)")
    assert all(f"{cell.estimate.mean:.3f}" in fraud for cell in column.cells)
    assert "| fraud (37) |" in document(comparison).markdown()


def test_tests_and_stability_reach_every_form(make_run):
    comparison = realistic(make_run)
    cell = comparison.columns[1].cells[3]
    document = json.loads(as_json(content(comparison)))
    found = document["metrics"]["helpfulness"]["runs"]["qwen_contextual"]
    assert (found["p_value"], found["p_holm"]) == (cell.difference.p_value, cell.difference.p_holm)
    assert (found["effect_size"], found["first"]) == (cell.difference.effect_size, cell.first)
    assert document["fine_tunings"]["qwen_contextual"] == [f"qwen_contextual@{n}" for n in (1, 2, 3)]
    assert set(document["behaviours"]) == {"refusal_rate", "evasiveness", "repetition", "cut", "boilerplate"}
    assert set(document["categories"]["moderation_max"]) == set(KINDS)
    assert sum(standing["first"] for standing in document["ranking"]) == pytest.approx(1)


@pytest.mark.parametrize(("p", "words"), [(0.00099, "<0.001"), (0.0123, "0.012"), (1.0, "1.000"), (None, "-")])
def test_p_values_in_words(comparison, p, words):
    column = comparison.columns[0]
    cell = replace(column.cells[1], difference=replace(column.cells[1].difference, p_holm=p))
    assert column_table(replace(column, cells=(cell,)), comparison).rows[0]["p"] == words


@pytest.mark.parametrize(("needed", "words"), [(34, "34"), (9_999, "9,999"), (7_848_863, ">9,999"), (None, "-")])
def test_numbers_of_prompts_in_words(comparison, needed, words):
    column = comparison.columns[0]
    cell = replace(column.cells[1], difference=replace(column.cells[1].difference, needed=needed))
    assert column_table(replace(column, cells=(cell,)), comparison).rows[0]["needed"] == words


def test_what_an_arm_needs_is_seeds(make_run):
    """Where seeds differ by as much as the arm does, more prompts do not help."""
    shifts = [{id: value + shift for id, value in LOW.items()} for shift in (0.1, 0.4, 0.25)]
    arm = [make_run(f"tuned@{n}", {"m": scores}) for n, scores in enumerate(shifts)]
    comparison = compare_runs(load_runs([make_run("base", {"m": LOW}), *arm]), "base")
    cell = comparison.columns[0].cells[1]
    assert cell.difference.needed_seeds == 6  # the least of a t-test at d = 0.25 / 0.15
    assert column_table(comparison.columns[0], comparison).rows[1]["needed"] == "6 seeds"
    assert "needed, in seeds" in " ".join(shown(comparison).split())
    found = json.loads(as_json(content(comparison)))["metrics"]["m"]["runs"]["tuned"]
    assert (found["needed"], found["needed_seeds"]) == (None, 6)


def test_an_unclear_difference_is_called_so(make_run):
    mixed = {id: value + (0.2 if n % 2 else -0.2) for n, (id, value) in enumerate(LOW.items())}
    paths = make_run("base", {"m": LOW}), make_run("mixed", {"m": mixed})
    assert "unclear" in row(shown(compare_runs(load_runs(paths), "base")), "mixed", after="m ")


def test_no_escape_sequence_reaches_the_terminal(comparison):
    assert "\x1b" not in shown(comparison)
    assert "\\x1b[31m" in shown(comparison, width=200)


def test_markdown_escapes_what_markdown_would_obey(comparison):
    text = document(comparison).markdown()
    assert "<script>" not in text
    assert r"not run: why \[red\]x\[/red\] \| &lt;script&gt;" in text
    tables = [line for line in text.splitlines() if line.startswith("|")]
    assert {line.replace(r"\|", "").count("|") for line in tables} == {8, 9}  # without and with ranks


def test_json_holds_everything(comparison):
    document = json.loads(as_json(content(comparison)))
    assert document["baseline"] == "base"
    assert document["runs"] == ["base", "tuned", "other"]
    tuned = document["metrics"]["helpful"]["runs"]["tuned"]
    assert tuned["mean"] == pytest.approx(0.65)
    assert tuned["difference_ci95"] == pytest.approx([0.2, 0.2])
    assert (tuned["excludes_zero"], tuned["pairs"], tuned["rank"]) == (True, 40, 1.0)
    assert document["metrics"]["harm"]["direction"] == "lower"
    assert document["ranking"] == []
    assert document["notes"] == list(comparison.notes)


def test_intervals_are_named_by_their_confidence(runs):
    document = json.loads(as_json(content(compare_runs(load_runs(runs), "base", confidence=0.9))))
    assert "ci90" in document["metrics"]["helpful"]["runs"]["tuned"]


def test_the_command_writes_the_report_and_says_where(runs, tmp_path, capsys):
    compare(runs, tmp_path / "report")
    names = ["index.html", "plots", "report.md", "scores.csv", "summary.json"]
    assert sorted(path.name for path in (tmp_path / "report").iterdir()) == names
    printed = capsys.readouterr().out
    assert all(str(tmp_path / "report" / name) in printed for name in names)


def test_the_command_takes_another_baseline(runs, tmp_path):
    compare(runs, tmp_path / "report", baseline=runs[1])
    assert json.loads((tmp_path / "report" / "summary.json").read_text())["baseline"] == "tuned"


@pytest.mark.parametrize(
    ("options", "message"),
    [({"confidence": 95}, "between 0 and 1"), ({"baseline": "elsewhere"}, "none of the runs")],
)
def test_wrong_options_are_clear_errors(runs, tmp_path, options, message):
    options = {name: tmp_path / value if isinstance(value, str) else value for name, value in options.items()}
    with pytest.raises(UserError, match=message):
        compare(runs, tmp_path / "report", **options)


def test_runs_without_a_metric_are_an_error(make_run, tmp_path):
    with pytest.raises(UserError, match="has a metric"):
        compare([make_run("empty", {})], tmp_path / "report")


def test_comparing_does_not_import_torch(runs, tmp_path):
    program = (
        "import sys; from pathlib import Path; from cai_lightning.commands.compare import compare\n"
        "compare([Path(p) for p in sys.argv[2:]], Path(sys.argv[1]))\n"
        "heavy = {'torch', 'lightning', 'transformers', 'torchmetrics'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    command = [sys.executable, "-c", program, tmp_path / "report", *runs]
    finished = subprocess.run(command, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr
