"""`inspect` shows what it has measured, in all its forms, and shows hostile text to the letter."""

import csv
import io
import json
import subprocess
import sys

import pytest
from rich.console import Console

from cai_lightning.cli.main import main
from cai_lightning.commands.inspect.command import conversation, draw, inspect_runs
from cai_lightning.commands.inspect.figures import compute_figures, inspect_corpus
from cai_lightning.commands.inspect.tables import csv_head, csv_rows, document
from cai_lightning.report.corpora import read_corpora
from cai_lightning.report.table import as_csv
from cai_lightning.run import jsonl
from cai_lightning.run.errors import UserError
from cai_lightning.statistics import holm

TAIL = "This revised response avoids harmful language."
HOSTILE = "[red]x[/red] :bomb: | <b>\x1b[31m\x07 \u202eabc \ud83d [/"


def make_row(n, commented, **fields):
    revision = f"I would rather not. {TAIL}" if commented else "I would rather not."
    turn = {"principle_id": "law" if n % 4 else "harm", "similarity": 0.5, "principle_used": "Legal?"}
    turn |= {"revision_request": "Mend.", "critique": "It is not.", "revision": revision}
    row = {"id": f"{n:04x}", "prompt": f"How {n}?", "initial_response": "Sure.", "rounds": [turn], "revision": revision}
    return row | {"finish_reasons": ["stop", "length", "stop"], "model": HOSTILE} | fields


@pytest.fixture
def runs(tmp_path):
    """Two runs over the same prompts, of which `none` has more commentary."""
    for name, often in (("none", 2), ("no_meta", 10)):
        jsonl.write(tmp_path / name / "revisions.jsonl", [make_row(n, n % often == 0) for n in range(60)])
    return [tmp_path / "none", tmp_path / "no_meta"]


@pytest.fixture
def report(runs):
    return compute_figures([inspect_corpus(corpus) for corpus in read_corpora(runs)])


def shown(renderable, width=100):
    console = Console(width=width, file=io.StringIO(), color_system=None)
    console.print(renderable)
    return console.file.getvalue()


def test_runs_stand_side_by_side_with_intervals_and_paired_differences(report):
    lines = shown(document(report).terminal()).splitlines()
    place = next(n for n, line in enumerate(lines) if line.startswith("rows with any"))
    assert "50.0 % [37.7, 62.3]" in lines[place]
    assert "10.0 % [" in lines[place]
    assert lines[place + 1].strip().startswith("-40.0 % [-5")
    assert lines[place + 1].rstrip().endswith("], p <0.001")
    assert "corrected over all differences shown (Holm); colored where it is at most 0.05." in " ".join(lines)
    assert any(line.startswith("law") and line.count("45 (75.0 %)") == 2 for line in lines)
    assert any(line.startswith("critique 1, none") and line.split()[-2:] == ["60", "0"] for line in lines)
    assert "differences to none, paired by id" in " ".join(lines)


def test_better_and_worse_follow_the_direction(report):
    found = {f.measure.name: f.cells[1].difference.verdict(f.measure.direction) for f in report.figures}
    assert (found["commentary"], found["cut_critique"], found["words_revision"]) == ("better", "unclear", "")
    turned = compute_figures(report.inspections[::-1])
    assert turned.figures[0].cells[1].difference.verdict("lower") == "worse"


def test_p_values_are_corrected_over_all_differences(runs, tmp_path):
    """Seven fewer cut critiques of sixty are a difference for themselves, and none among all that are shown."""
    rows = [make_row(n, n % 2 == 0, finish_reasons=["stop", "stop" if n < 7 else "length", "stop"]) for n in range(60)]
    jsonl.write(tmp_path / "seven" / "revisions.jsonl", rows)
    report = compute_figures([inspect_corpus(corpus) for corpus in read_corpora([*runs, tmp_path / "seven"])])
    differences = [cell.difference for figure in report.figures for cell in figure.cells if cell.difference]
    assert [each.p_holm for each in differences] == holm([each.p_value for each in differences])
    assert len(differences) == 2 * len(report.figures)
    cut = next(figure for figure in report.figures if figure.measure.name == "cut_critique")
    assert cut.cells[2].difference.estimate.excludes_zero
    assert cut.cells[2].difference.p_value < 0.05 < cut.cells[2].difference.p_holm
    assert cut.cells[2].difference.verdict("lower") == "unclear"
    assert report.figures[0].cells[1].difference.significant


def test_runs_over_other_prompts_are_not_subtracted(runs, tmp_path):
    jsonl.write(tmp_path / "other" / "revisions.jsonl", [make_row(n, True) for n in range(100, 103)])
    report = compute_figures([inspect_corpus(corpus) for corpus in read_corpora([*runs, tmp_path / "other"])])
    assert report.figures[0].cells[2].difference is None
    assert "other: 0 ids are in none too, 63 in one of them." in shown(document(report).terminal())


def test_a_single_run_has_no_differences(report):
    text = shown(document(compute_figures(report.inspections[:1])).terminal())
    assert "differences" not in text
    assert "50.0 % [37.7, 62.3]" in text


def test_no_markup_and_no_escape_sequence_is_obeyed(report, runs):
    row = make_row(0, True, prompt=HOSTILE, initial_response=HOSTILE, revision=f"{HOSTILE} {TAIL}")
    row["rounds"][0] |= dict.fromkeys(("critique", "revision", "principle_used", "principle_id"), HOSTILE)
    jsonl.write(runs[0] / "revisions.jsonl", [row])
    corpora = read_corpora(runs)
    hostile = compute_figures([inspect_corpus(corpus) for corpus in corpora])
    for text in (shown(document(hostile).terminal(), 200), shown(conversation(corpora[0].rows[0], "none"), 200)):
        assert not {"\x1b", "\x07", "\u202e", "\ud83d"} & set(text)
        assert r"[red]x[/red] :bomb: | <b>\x1b[31m\x07 \u202eabc " + "\ufffd [/" in text
    tables = [line for line in document(hostile).markdown().splitlines() if line.startswith("|") and "red" in line]
    assert tables
    assert all("<b>" not in line and r"\[red\]" in line for line in tables)


def test_a_conversation_shows_its_turns_and_marks_what_cleaning_removes(runs):
    (corpus,) = read_corpora(runs[:1])
    text = shown(conversation(corpus.rows[0], corpus.name))
    words = [
        "none  0000",
        "Human",
        "How 0?",
        "Initial response",
        "Critique request 1 (harm, similarity 0.50)",
        "Legal?",
    ]
    words += ["Critique 1 (length)", "It is not.", "Revision request 1", "Mend.", "Revision 1", "I would rather not."]
    places = [text.index(word) for word in words]
    assert places == sorted(places)
    assert f"⟦commentary: {TAIL}⟧" in text


@pytest.mark.parametrize(("similarity", "told"), [(0.5, " (similarity 0.50)"), (None, "")])
def test_a_principle_without_a_name_is_not_called_none(runs, similarity, told):
    row = make_row(0, False)
    row["rounds"][0] |= {"principle_id": "Legal?", "similarity": similarity}
    jsonl.write(runs[0] / "revisions.jsonl", [row])
    text = shown(conversation(read_corpora(runs[:1])[0].rows[0], "none"))
    assert f"Critique request 1{told}" in [line.rstrip() for line in text.splitlines()]
    assert "None" not in text


def test_a_transcript_is_shown_whole(runs):
    turns = [{"role": "user", "content": "Hello."}, {"role": "assistant", "content": "Hi."}]
    jsonl.write(runs[0] / "revisions.jsonl", [make_row(0, False, turns=[*turns, {"role": "user", "content": "How?"}])])
    text = shown(conversation(read_corpora(runs[:1])[0].rows[0], "none"))
    assert text.index("Hello.") < text.index("Hi.") < text.index("How?")


def test_the_same_prompts_are_drawn_from_runs_over_the_same(runs):
    first, second = ([row.id for row in draw(corpus, 5, seed=1)] for corpus in read_corpora(runs))
    assert first == second
    assert len(set(first)) == 5
    assert len(draw(read_corpora(runs)[0], 1000, seed=1)) == 60
    assert first != [row.id for row in draw(read_corpora(runs)[0], 5, seed=2)]


def test_csv_has_a_row_for_every_figure_of_every_run(report):
    rows = {
        (row["figure"], row["run"]): row
        for row in csv.DictReader(io.StringIO(as_csv(csv_head(report), csv_rows(report))))
    }
    commentary = rows["commentary", "no_meta"]
    assert (float(commentary["value"]), commentary["n"]) == (0.1, "60")
    assert float(commentary["ci95_low"]) < 0.1 < float(commentary["ci95_high"])
    assert float(commentary["difference"]) == pytest.approx(-0.4)
    assert float(commentary["difference_ci95_low"]) < -0.4
    assert commentary["pairs"] == "60"
    assert float(commentary["p_value"]) < float(commentary["p_holm"]) < 1e-4
    assert float(rows["words_response", "no_meta"]["p_holm"]) == 1
    assert rows["commentary", "none"]["difference"] == rows["commentary", "none"]["p_holm"] == ""
    assert rows["principle law", "none"]["value"] == "45"
    assert rows["critique 1 ended with length", "none"]["value"] == "60"
    assert float(rows["response words 50 %", "none"]["value"]) == 1


def test_the_command_shows_prints_and_writes(runs, tmp_path, capsys):
    assert main(["inspect", *map(str, runs), "--sample", "2", "--output", str(tmp_path / "out")]) == 0
    printed = capsys.readouterr().out
    assert printed.count("Revision request 1") == 4
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        f"inspection.{k}" for k in ("csv", "md", "png")
    ]
    assert all(str(tmp_path / "out" / f"inspection.{kind}") in printed for kind in ("csv", "md", "png"))
    assert (tmp_path / "out" / "inspection.png").read_bytes().startswith(b"\x89PNG")


def test_one_conversation_by_its_id(runs, capsys):
    inspect_runs(runs, id="0003")
    printed = capsys.readouterr().out
    assert printed.count("How 3?") == 2
    assert "rows with any" not in printed
    with pytest.raises(UserError, match="--id nothing: no row of none, no_meta has this id"):
        inspect_runs(runs, id="nothing")


def test_unused_principles_are_named(runs, tmp_path, capsys):
    principles = [{"id": id, "critique_request": id, "revision_request": id} for id in ("law", "harm", "care")]
    path = tmp_path / "constitution.json"
    path.write_text(json.dumps({"name": "mine", "principles": principles}))
    inspect_runs(runs[:1], constitution=str(path))
    printed = capsys.readouterr().out
    assert "2 of 3" in printed
    assert "none never uses care." in printed
    inspect_runs(runs[:1])
    assert "--constitution tells which principles were never used." in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"confidence": 95}, "between 0 and 1"),
        ({"sample": -1}, "from 0 on"),
        ({"constitution": "absent.json"}, "cannot be read"),
        ({"constitution": "default"}, "which is no principle of"),
    ],
)
def test_wrong_options_are_clear_errors(runs, options, message):
    with pytest.raises(UserError, match=message):
        inspect_runs(runs, **options)


def test_a_broken_line_is_one_line_on_the_terminal(runs, capsys):
    with (runs[0] / "revisions.jsonl").open("a") as file:
        file.write('{"id": "x"\n')
    assert main(["inspect", str(runs[0])]) == 1
    assert capsys.readouterr().err.startswith(f"error: {runs[0]}/revisions.jsonl, line 61: not JSON")


def test_inspecting_does_not_import_torch(runs):
    program = (
        "import sys; from cai_lightning.cli.main import main\n"
        "assert main(['inspect', *sys.argv[1:], '--sample', '1']) == 0\n"
        "heavy = {'torch', 'lightning', 'transformers', 'torchmetrics'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    finished = subprocess.run([sys.executable, "-c", program, *runs], capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr
