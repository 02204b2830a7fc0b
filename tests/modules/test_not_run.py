"""An evaluator that cannot run says why, in the terminal and in the summary; the others go on."""

import pytest
import unable as evaluators


@pytest.fixture
def unable(experiment):
    """Runs validate with one evaluator that fails, between two that do not."""
    experiment.write_revisions()

    def run(*overrides, **settings):
        own = {"class_path": "unable.Unable", "init_args": settings}
        metrics = [{"class_path": "outside.Fragile"}, own, {"class_path": "outside.Length"}]
        experiment.sections["validate"]["model"]["init_args"].update(metrics=metrics, score_batch_size=3)
        experiment.save()
        return experiment("validate", *overrides)

    run.experiment = experiment
    return run


def test_it_is_said_and_the_others_go_on(unable, capsys):
    assert unable(where="score") == 0
    metrics = unable.experiment.summary()["metrics"]
    assert metrics["unable"]["not_run"] == evaluators.WHY
    assert [metrics["unable"][count] for count in ("scored", "unscored", "missing")] == [3, 0, 4]
    assert (metrics["length"]["not_run"], metrics["length"]["scored"]) == (None, 7)
    assert metrics["fragile"]["scored"] + metrics["fragile"]["unscored"] == 7
    shown = " ".join(capsys.readouterr().out.split())
    assert "not run: the key is [bold]refused" in shown
    assert "4 not scored yet" in shown
    assert "x about bread" in shown


def test_while_its_revision_cannot_be_told_its_scores_stand(unable):
    assert unable(where="nowhere") == 0
    assert unable(where="revision") == 0
    entry = unable.experiment.summary()["metrics"]["unable"]
    assert (entry["not_run"], entry["scored"]) == (evaluators.WHY, 7)


def test_on_a_full_disk_nothing_goes_on(unable, capsys):
    assert unable(where="score", error="disk") == 1
    assert "error: scores.jsonl: cannot be written (No space left on device)" in capsys.readouterr().err
    assert not (unable.experiment.run / "summary.json").exists()


def test_strict_makes_it_one_error_at_the_end(unable, capsys):
    assert unable("--strict", where="load") == 1
    out, err = capsys.readouterr()
    error = [line for line in err.splitlines() if line.startswith("error:")]
    assert error == [
        "error: every other score is kept, but these evaluators did not run: unable: the key is [bold]refused[/bold]"
    ]
    assert "not run" in out
    assert unable.experiment.summary()["metrics"]["length"]["scored"] == 7


def test_the_summary_names_the_evaluator(unable):
    assert unable(where="nowhere") == 0
    entry = unable.experiment.summary()["metrics"]["unable"]
    assert entry["revision"] == "r1"
    assert entry["evaluator"] == {"class": "unable.Unable", "model": "unable/7b", "column": "unable"}
