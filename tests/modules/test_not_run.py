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


@pytest.mark.parametrize(
    ("where", "error", "why"),
    [
        ("revision", "UserError", "the key is [bold]refused[/bold]"),
        ("load", "UserError", "the key is [bold]refused[/bold]"),
        ("load", "package", "the package no_such_package is not installed."),
        ("load", "memory", "not enough memory (MemoryError); lower its batch size, or free some."),
        ("load", "cpu", "not enough memory ("),
        ("score", "cuda", "not enough memory (CUDA out of memory); lower its batch size, or free some."),
        ("score", "UserError", "the key is [bold]refused[/bold]"),
    ],
)
def test_it_is_said_and_the_others_go_on(unable, capsys, where, error, why):
    assert unable(where=where, error=error) == 0
    metrics = unable.experiment.summary()["metrics"]
    assert metrics["unable"]["not_run"].startswith(why)
    scored = 3 if where == "score" else 0
    assert [metrics["unable"][count] for count in ("scored", "unscored", "missing")] == [scored, 0, 7 - scored]
    assert (metrics["length"]["not_run"], metrics["length"]["scored"]) == (None, 7)
    assert metrics["fragile"]["scored"] + metrics["fragile"]["unscored"] == 7
    shown = " ".join(capsys.readouterr().out.split())
    assert f"not run: {why}"[:30] in shown
    assert f"{7 - scored} not scored yet" in shown
    assert "x about bread" in shown


def test_what_it_scored_before_it_gave_up_is_kept_and_it_goes_on_from_there(unable):
    assert unable(where="score") == 0
    before = [row for row in unable.experiment.rows("scores.jsonl") if row["metric"] == "unable"]
    assert [row["score"] for row in before] == [0.25] * 3
    evaluators.scored.clear()
    assert unable(where="nowhere") == 0
    assert len(evaluators.scored) == 4
    entry = unable.experiment.summary()["metrics"]["unable"]
    assert (entry["not_run"], entry["scored"], entry["missing"], entry["mean"]) == (None, 7, 0, 0.25)


def test_while_its_revision_cannot_be_told_its_scores_stand(unable):
    assert unable(where="nowhere") == 0
    assert unable(where="revision") == 0
    entry = unable.experiment.summary()["metrics"]["unable"]
    assert (entry["not_run"], entry["scored"]) == ("the key is [bold]refused[/bold]", 7)


def test_strict_makes_it_one_error_at_the_end(unable, capsys):
    assert unable("--strict", where="load") == 1
    out, err = capsys.readouterr()
    error = [line for line in err.splitlines() if line.startswith("error:")]
    assert error == [
        "error: every other score is kept, but these evaluators did not run: unable: the key is [bold]refused[/bold]"
    ]
    assert "not run" in out
    assert unable.experiment.summary()["metrics"]["length"]["scored"] == 7


def test_on_a_full_disk_nothing_goes_on(unable, capsys):
    assert unable(where="score", error="disk") == 1
    assert "error: scores.jsonl: cannot be written (No space left on device)" in capsys.readouterr().err
    assert not (unable.experiment.run / "summary.json").exists()


def test_a_mistake_in_an_evaluator_is_no_reason_to_go_on(unable):
    with pytest.raises(RuntimeError, match="a mistake"):
        unable(where="load", error="mistake")


def test_the_summary_names_the_evaluator(unable):
    assert unable(where="nowhere") == 0
    entry = unable.experiment.summary()["metrics"]["unable"]
    assert entry["revision"] == "r1"
    assert entry["evaluator"] == {"class": "unable.Unable", "model": "unable/7b", "column": "unable"}
