"""The paper's sampled answers become runs that compare as they are, and that validate scores further."""

import json
from collections import Counter

import pytest
import yaml

from cai_lightning.cli.main import main
from cai_lightning.commands.samples import read_samples
from cai_lightning.report.comparison import compare_runs
from cai_lightning.report.corpora import read_corpora
from cai_lightning.report.runs import load_runs
from cai_lightning.run.jsonl import read_lines
from cai_lightning.run.records import prompt_id
from cai_lightning.statistics import mean_interval

ANSWERS = [
    (" Take care. You are not alone.\n\nHuman:", 2.5),
    (" Ask a friend.\nHuman: And then?\n\nAssistant: Then rest.", 1.5),
    (" Bread takes an hour.<EOT>", 0.5),
    (" It was cut in the marker\n\nHuman", 0.25),
    (" Humans differ: one is\n\n", -1.0),
]
CLEAN = [
    ("Take care. You are not alone.", "stop"),
    ("Ask a friend.", "stop"),
    ("Bread takes an hour.", "stop"),
    ("It was cut in the marker", "stop"),
    ("Humans differ: one is", "unknown"),
]


def asked(prompt):
    return f"\n\nHuman: {prompt}\n\nAssistant:"


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def sampled(path, *prompts, answers=ANSWERS):
    told = [{"sampled_string": text, "pm_scores": [{"pm_score": score}]} for text, score in answers]
    return write(
        path, [{"rl_prompt": asked(p), "comparison_dataset": "PALMS", "sampled_answers": told} for p in prompts]
    )


def run_import(file, run, *options):
    return main(["import", str(file), "--run", str(run), *options])


def rows(path):
    return [row for _, row in read_lines(path)]


def test_samples_of_a_prompt_share_its_id_and_end_where_the_answer_does(tmp_path, capsys):
    run = tmp_path / "rl"
    assert run_import(sampled(tmp_path / "PALMS_X.jsonl", "Am I alone?", "What now?"), run) == 0
    shown = capsys.readouterr().out
    assert "10 responses are in" in shown
    assert "pm_score: the file's own scores of an unnamed preference model, probably not comparable" in shown
    made = rows(run / "responses.jsonl")
    assert [(row["response"], row["finish_reason"]) for row in made] == CLEAN * 2
    id = prompt_id("Am I alone?")
    assert [row["id"] for row in made[:5]] == [id, *(f"{id}.{k}" for k in range(1, 5))]
    assert [(row["prompt"], row["prompt_id"], row["sample"], row["model"]) for row in made[:5]] == [
        ("Am I alone?", id, k, "PALMS_X") for k in range(5)
    ]
    assert [row["score"] for row in rows(run / "scores.jsonl")] == [score for _, score in ANSWERS] * 2


def test_its_own_scores_are_a_column_that_does_not_compare_with_another_file(tmp_path):
    paths = []
    for name, add in (("a", 0.0), ("b", 1.0)):
        answers = [(text, score + add) for text, score in ANSWERS]
        file = sampled(tmp_path / f"PALMS_{name}.jsonl", *"xyz", answers=answers)
        paths.append(tmp_path / name)
        assert run_import(file, paths[-1]) == 0
    comparison = compare_runs(load_runs(paths), "a")
    column = comparison.columns[0]
    assert (column.name, column.direction, column.prompts) == ("pm_score", "higher", 15)
    assert [cell.estimate.mean for cell in column.cells] == pytest.approx([0.75, 1.75])
    assert all(cell.estimate.low is not None for cell in column.cells)
    assert column.cells[1].difference is None
    assert "pm_score: b does not compare with a: other file of scores." in comparison.notes
    assert any("probably not comparable between files" in note for note in comparison.notes)


def test_validate_scores_further_and_keeps_what_came_with_the_answers(tmp_path, evaluators, capsys):
    run = tmp_path / "rl"
    file = sampled(tmp_path / "PALMS_X.jsonl", "Am I alone?", "What now?")
    assert run_import(file, run) == 0
    model = {"engine": None, "metrics": [{"class_path": "outside.Length"}]}
    section = {
        "model": {"class_path": "cai_lightning.modules.Evaluation", "init_args": model},
        "data": {"class_path": "cai_lightning.data.ResponseData"},
        "trainer": {"accelerator": "cpu"},
    }
    config = tmp_path / "config.yaml"
    config.write_text(yaml.safe_dump({"validate": section}))
    assert main(["validate", "--config", str(config), "--run", str(run)]) == 0
    (found,) = load_runs([run])
    assert list(found.scores) == ["pm_score", "length"]
    assert {len(column.values) for column in found.scores.values()} == {10}
    assert run_import(file, run) == 0  # the same again loses nothing
    assert list(load_runs([run])[0].scores) == ["pm_score", "length"]
    assert main(["validate", "--config", str(config), "--run", str(run), "--data.limit", "5"]) == 0
    assert {len(column.values) for column in load_runs([run])[0].scores.values()} == {5}


def chain(prompt, rounds=2):
    made = [
        {
            "cst_key": f"harmful{n}",
            "cst_value": {
                "prompt": ["\n\nCritiqueRequest: What is wrong?\n\nCritique:"],
                "edit_request": "\n\nRevisionRequest: Do better.\n\nRevision:",
            },
            "critique": {"sample": f" Critique {n}."},
            "revision": {"sample": f" Revision {n}."},
        }
        for n in range(rounds)
    ]
    return {
        "rl_prompt": asked(prompt),
        "comparison_dataset": "PALMS",
        "cst": made,
        "initial_response": [{"sample": " No."}],
    }


def test_chains_are_revisions_for_inspect_and_their_last_are_responses(tmp_path, capsys):
    run = tmp_path / "sl"
    file = write(tmp_path / "PALMS_SL.jsonl", [chain("x"), chain("y")])
    assert run_import(file, run) == 0
    assert [row["response"] for row in rows(run / "responses.jsonl")] == ["Revision 1.", "Revision 1."]
    made = rows(run / "revisions.jsonl")[0]
    assert (made["initial_response"], made["revision"], made["prompt"]) == ("No.", "Revision 1.", "x")
    assert made["rounds"][0] == {
        "principle_id": "harmful0", "similarity": None, "principle_used": "What is wrong?",
        "revision_request": "Do better.", "critique": "Critique 0.", "revision": "Revision 0.",
    }  # fmt: skip
    assert main(["inspect", str(run)]) == 0
    assert run_import(file, run, "--fresh") == 0
    assert (run / "before-1" / "revisions.jsonl").exists()


def test_a_malformed_row_is_told_with_its_place(tmp_path, capsys):
    file = sampled(tmp_path / "PALMS_X.jsonl", "x")
    file.write_text(file.read_text() + '{"rl_prompt": "\\n\\nHuman: y\\n\\nAssistant:", "sampled_answers": []}\n')
    assert run_import(file, tmp_path / "run") == 1
    assert "PALMS_X.jsonl, line 2" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
    assert read_samples(write(tmp_path / "other.jsonl", [{"prompt": "x"}]), "m") is None


FILES = {"RLMADISON": 250, "RLMADISON_COT": 29, "HHRLHF": 12, "HRLHF": 2}
"""Answers of 680 that say "not alone"."""


@pytest.fixture(scope="module")
def papers(real_data, tmp_path_factory):
    runs = tmp_path_factory.mktemp("papers")
    for name in (*FILES, "SLMADISON"):
        assert run_import(real_data / "anthropic" / "samples" / f"PALMS_{name}.jsonl", runs / name) == 0
    return runs


@pytest.fixture(scope="module")
def compared(papers):
    return compare_runs(
        load_runs([papers / name for name in ("HHRLHF", "HRLHF", "RLMADISON", "RLMADISON_COT")]), "HHRLHF"
    )


def test_the_papers_answers_are_all_there(papers):
    for run in load_runs([papers / name for name in FILES]):
        said = run.responses.values()
        assert (len(said), set(Counter(one.prompt_id for one in said).values())) == (680, {17})
        assert sum("not alone" in one.response for one in said) == FILES[run.name]
        assert not any("Human:" in one.response or "<EOT>" in one.response for one in said)
    (corpus,) = read_corpora([papers / "SLMADISON"])
    assert (len(corpus.rows), {len(row.rounds) for row in corpus.rows}) == (40, {4})


def test_boilerplate_tells_rl_cai_from_the_others(compared):
    column = {column.name: column for column in compared.behaviours}["boilerplate"]
    cells = {cell.run: cell for cell in column.cells}
    assert cells["RLMADISON"].estimate.mean > 0.9
    assert cells["RLMADISON"].estimate.low > cells["RLMADISON_COT"].estimate.high > 0.3
    assert cells["RLMADISON"].difference.significant
    assert cells["HRLHF"].estimate.mean == 0
    assert cells["HHRLHF"].estimate.interval == pytest.approx(
        [0, 0.088], abs=0.001
    )  # of 40 prompts, not of 680 answers
    (note,) = [note for note in compared.notes if note.startswith("boilerplate: RLMADISON says")]
    assert '"you are not alone" in 36 % (2 %)' in note


def test_the_papers_scores_stand_beside_each_other(compared, papers):
    column = compared.columns[0]
    assert [cell.run for cell in column.cells if cell.compared] == ["HHRLHF"]
    (run,) = load_runs([papers / "RLMADISON"])
    prompts = {id: one.prompt_id for id, one in run.responses.items()}
    told = run.entry("pm_score")
    assert told["ci95"] == mean_interval(run.values("pm_score"), unit_scale=False, prompts=prompts).interval
    scores = list(run.values("pm_score").values())
    assert all(scores[n : n + 17] == sorted(scores[n : n + 17], reverse=True) for n in range(0, 680, 17))
