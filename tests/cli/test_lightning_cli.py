"""What the command line says before a verb and at its end: of data that is not all there, of rows that failed."""

from types import SimpleNamespace

import pytest
from lightning.pytorch import LightningDataModule

from cai_lightning.cli import lightning_cli
from cai_lightning.cli.lightning_cli import CAICLI, tell_evaluation, tell_made
from cai_lightning.data.prompt_data import PromptData, ResponseData
from cai_lightning.data.revision_data import RevisionData
from cai_lightning.run import jsonl
from cai_lightning.run.errors import UserError
from cai_lightning.run.manifest import HasWarning
from cai_lightning.run.records import Revision

FAILURES = [
    {"id": id, "prompt": "How?", "stage": "response", "reason": reason, "created": "2026-01-01T00:00:00+00:00"}
    for id, reason in (("a", "timeout"), ("from before", "status 500"))
]


@pytest.fixture
def run(tmp_path):
    """A run in which one row has been made with a revision that was cut, and two have failed at some time."""
    reasons = ["stop", "stop", "length"]
    turn = {"critique": "It is.", "revision": "No."}
    row = {"id": "b", "prompt": "Why?", "initial_response": "So.", "rounds": [turn], "revision": "No."}
    jsonl.write(tmp_path / "revisions.jsonl", [row | {"finish_reasons": reasons}])
    jsonl.write(tmp_path / "failed.jsonl", FAILURES)
    return tmp_path


def tried(*ids):
    data = PromptData("prompts.jsonl")
    data.unmade = list(ids)
    return data


def test_of_failed_rows_those_count_that_were_tried(run, capsys, caplog):
    with caplog.at_level("INFO"):
        tell_made(Revision, tried("a", "b"), run)
    assert f"the revisions are in {run / 'revisions.jsonl'}" in caplog.text
    assert "none of 1 responses, none of 1 critiques, 1 of 1 revisions (100 %)" in caplog.text
    assert capsys.readouterr().err.startswith(
        f"warning: 1 of the 2 rows tried failed and are set aside in {run / 'failed.jsonl'}: 1 x timeout."
    )


def test_where_all_failed_it_is_an_error(run):
    with pytest.raises(UserError, match="1 of the 1 rows tried failed"):
        tell_made(Revision, tried("a"), run)


@pytest.mark.parametrize("data", [tried("b"), LightningDataModule()], ids=["none failed", "other data"])
def test_without_a_failed_row_nothing_is_warned_of(run, capsys, data):
    tell_made(Revision, data, run)
    assert capsys.readouterr().err == ""


def test_an_evaluator_that_could_not_run_is_an_error_where_it_is_strict(run, capsys, monkeypatch):
    monkeypatch.setattr(lightning_cli, "write_evaluation", lambda *_: None)
    monkeypatch.setattr(lightning_cli, "show_evaluation", lambda *_: None)
    outcomes = [SimpleNamespace(name=name, not_run=why) for name, why in (("reward", "no server"), ("harm", None))]
    model = SimpleNamespace(engine=None, outcomes=outcomes, unanswered=lambda: ["a"])
    tell_evaluation(model, ResponseData(), run, strict=False)
    assert "1 of the 0 test prompts have no response in" in capsys.readouterr().err
    with pytest.raises(UserError, match=r"these evaluators did not run: reward: no server$"):
        tell_evaluation(model, ResponseData(), run, strict=True)


class Unfinished:
    """Data of which more is to come."""

    def warning(self, run):
        return f"{run.name} is not finished"


def test_what_has_a_warning_is_asked_for_it(run, capsys):
    assert isinstance(RevisionData(), HasWarning)
    assert not isinstance(tried(), HasWarning)
    CAICLI._warn(SimpleNamespace(datamodule=Unfinished(), run=run))
    assert capsys.readouterr().err == f"warning: {run.name} is not finished\n"
    for quiet in (tried(), SimpleNamespace(warning=lambda run: None)):
        CAICLI._warn(SimpleNamespace(datamodule=quiet, run=run))
    assert capsys.readouterr().err == ""
