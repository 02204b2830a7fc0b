"""`audit` from end to end: evaluators from outside the package, labels in a file, and everything that can go wrong."""

import json
from pathlib import Path

import pytest
import torch
import yaml

from cai_lightning.cli.main import main
from cai_lightning.metrics import Column, ResponseMetric, Scores
from cai_lightning.run import files, jsonl
from cai_lightning.run.errors import UserError, WriteError

HOSTILE = "[red]x[/red] | <b>\x1b[31m"


class Words(ResponseMetric):
    """Prefers the response with more words, of which it reads two; stops after so many batches, where it is told to."""

    loads = 0
    scored = 0
    batches_left = float("inf")

    def __init__(self, scale: float = 1.0):
        super().__init__([Column("words", "higher", float("-inf"), float("inf"))])
        self.scale = scale

    def revision(self):
        return f"on {self.device.type}"

    def load(self, device):
        type(self).loads += 1

    def score(self, responses):
        if not type(self).batches_left:
            raise UserError(f"the service sleeps {HOSTILE}")
        type(self).batches_left -= 1
        type(self).scored += len(responses)
        counts = [len(response.response.split()) for response in responses]
        details = [{"truncated": count > 2} for count in counts]
        return Scores({"words": self.scale * torch.tensor(counts)}, [None] * len(responses), details)

    def free(self):
        pass


class Similar(ResponseMetric):
    """Needs a reference."""

    uses_references = True

    def __init__(self):
        super().__init__([Column("similar", "higher", 0.0, 1.0)])

    def inapplicable(self, response):
        return None if response.reference else "no reference"

    def load(self, device):
        pass

    def score(self, responses):
        return Scores({"similar": torch.tensor([float(r.response == r.reference) for r in responses])}, [None] * 99)

    def free(self):
        pass


@pytest.fixture(autouse=True)
def _afresh(monkeypatch):
    monkeypatch.setattr(Words, "loads", 0)
    monkeypatch.setattr(Words, "scored", 0)
    monkeypatch.setattr(Words, "batches_left", float("inf"))


@pytest.fixture
def audit(tmp_path, monkeypatch):
    """Runs the verb with some evaluators over some rows, and returns its exit status and what it wrote."""
    monkeypatch.chdir(tmp_path)

    def audit(rows, *options, metrics=("Words", "Similar"), batch=64):
        named = [{"class_path": f"{__name__}.{name}"} for name in metrics]
        module = {"class_path": "any.Module", "init_args": {"metrics": named, "score_batch_size": batch}}
        (tmp_path / "tiny.yaml").write_text(yaml.safe_dump({"validate": {"model": module}}))
        (tmp_path / "labels.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        status = main(["audit", "--config", "tiny.yaml", "--comparisons", "labels.jsonl", *options])
        written = tmp_path / "runs" / "tiny" / "audit" / "labels" / "audit.json"
        return status, json.loads(written.read_text()) if written.exists() else None

    return audit


def pairs(n):
    return [{"prompt": f"Why {i}?", "chosen": f"Because of {i}.", "rejected": "So."} for i in range(n)]


def test_numbers_for_what_runs_and_a_reason_for_what_does_not_apply(audit, capsys):
    status, found = audit(pairs(40))
    assert status == 0
    words = found["metrics"]["words"]
    assert (words["accuracy"], words["n"], words["ties"], words["unscored"]) == (1, 40, 0, 0)
    assert words["better_than_chance"] is True
    assert 0.9 < words["ci95"][0] < words["ci95"][1] == 1
    assert found["metrics"]["similar"]["not_applicable"] == "no reference"
    assert found["metrics"]["similar"]["accuracy"] is None
    shown = capsys.readouterr().out
    assert "better than chance, p <0.001" in shown
    assert "40 comparisons; p of chance, corrected over the 1 evaluators that have one (Holm)" in shown
    assert (words["p_holm"], found["metrics"]["similar"]["p_holm"]) == (words["p_value"], None)
    assert "not applicable" in shown
    assert words["truncated"] == 40
    assert "words: scored on a truncated text: 40 of 80." in shown


def test_a_second_audit_costs_nothing(audit):
    first = audit(pairs(5))
    Words.loads = 0
    second = audit(pairs(5))
    assert (second, Words.loads) == (first, 0)
    audit(pairs(6))
    assert (Words.loads, Words.scored) == (1, 12)


def test_an_evaluator_knows_its_device_before_it_is_loaded(audit):
    audit(pairs(5), metrics=["Words"])
    audit(pairs(5), "--device", "meta", metrics=["Words"])
    assert Words.loads == 2
    assert {row["revision"] for _, row in jsonl.read_lines(Path("runs/tiny/audit/labels/scores.jsonl"))} == {"on meta"}


def test_scores_under_other_settings_do_not_count(audit):
    audit(pairs(5), metrics=["Words"])
    _, found = audit(
        pairs(5), "--metrics", json.dumps([{"class_path": f"{__name__}.Words", "init_args": {"scale": -1}}])
    )
    assert found["metrics"]["words"]["accuracy"] == 0
    assert found["metrics"]["words"]["worse_than_chance"] is True


def test_an_evaluator_that_stops_is_not_run_and_keeps_what_it_has(audit, capsys, tmp_path):
    Words.batches_left = 2
    status, found = audit(pairs(8), batch=4)
    assert status == 0
    assert found["metrics"]["words"]["not_run"].startswith("the service sleeps")
    assert found["metrics"]["words"]["accuracy"] is None
    assert "\x1b" not in capsys.readouterr().out
    assert "<b>" not in (tmp_path / "runs/tiny/audit/labels/audit.md").read_text()
    Words.batches_left = 0
    assert audit(pairs(8), "--strict")[0] == 1
    assert "did not run: words" in capsys.readouterr().err
    Words.batches_left = float("inf")
    _, found = audit(pairs(8))
    assert (found["metrics"]["words"]["n"], Words.scored) == (8, 16)


def test_on_a_full_disk_nothing_goes_on(audit, capsys, monkeypatch):
    def full(writer, record):
        raise WriteError(f"{writer.path}: cannot be written")

    monkeypatch.setattr(jsonl.JournalWriter, "append", full)
    assert audit(pairs(2)) == (1, None)
    assert "scores.rank0.jsonl: cannot be written" in capsys.readouterr().err


def test_references_make_an_evaluator_applicable(audit):
    rows = [row | {"reference": row["chosen"]} for row in pairs(3)] + pairs(1)
    _, found = audit(rows)
    similar = found["metrics"]["similar"]
    assert (similar["accuracy"], similar["n"], similar["unscored"]) == (1, 3, 1)
    assert similar["reasons"] == {"no reference": 2}
    assert found["agreement"]["pairs"][0]["alpha"] is None  # all preferences are the same
    assert found["agreement"]["alpha_ci95"] is None


def test_single_responses_have_an_area_and_a_plot(audit, tmp_path):
    rows = [{"prompt": f"{n}?", "response": "yes " * (n % 7 + 1), "label": n % 7 > 3} for n in range(42)]
    rows = [row | {"reference": "yes " * 7} for row in rows]
    _, found = audit(rows)
    words, similar = found["metrics"]["words"], found["metrics"]["similar"]
    assert (words["auc"], words["better_than_chance"], words["calibration"]) == (1, True, None)
    assert similar["calibration"]["bins"][0]["n"] == 42
    assert (tmp_path / "runs/tiny/audit/labels/audit.png").read_bytes().startswith(b"\x89PNG")
    assert "| 0-10 % | 42 |" in (tmp_path / "runs/tiny/audit/labels/audit.md").read_text()


def test_limit_and_output(audit, tmp_path):
    status, _ = audit(pairs(9), "--limit", "4", "--output", "elsewhere")
    assert status == 0
    found = json.loads((tmp_path / "elsewhere" / "audit.json").read_text())
    assert (found["rows"], found["metrics"]["words"]["n"]) == (4, 4)
    assert {row["metric"] for _, row in jsonl.read_lines(tmp_path / "elsewhere" / "scores.jsonl")} == {"words"}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--limit", "0"], "--limit 0: expected a number of rows"),
        (["--comparisons", "absent.jsonl"], "absent.jsonl: no such file"),
        (["--config", "absent.yaml"], "absent.yaml: no such configuration file"),
        (["--device", "abacus"], "--device abacus"),
    ],
)
def test_what_is_wrong_is_said_in_one_message(audit, capsys, options, words):
    assert audit(pairs(2), *options) == (1, None)
    assert words in capsys.readouterr().err


def test_a_configuration_without_evaluators_is_refused(audit, capsys):
    assert audit(pairs(2), metrics=()) == (1, None)
    assert "no evaluators to audit; name some at validate.model.init_args.metrics" in capsys.readouterr().err


def test_no_configuration_and_no_rows(capsys, audit):
    assert main(["audit", "--comparisons", "labels.jsonl"]) == 1
    assert "audit needs --config FILE" in capsys.readouterr().err
    assert audit([]) == (1, None)
    assert "no labelled response in it" in capsys.readouterr().err


def test_another_audit_into_the_same_folder_waits(audit, capsys, tmp_path):
    folder = tmp_path / "runs/tiny/audit/labels"
    folder.mkdir(parents=True)
    with files.locked(folder / "audit.json"):
        assert audit(pairs(2)) == (1, None)
    assert "is writing to this file" in capsys.readouterr().err


def test_help_names_the_formats_and_the_settings(capsys):
    with pytest.raises(SystemExit) as exit:
        main(["audit", "--help"])
    assert exit.value.code == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "HarmfulVsEthical" in shown
    assert "--strict" in shown
    assert "--score_batch_size" in shown
