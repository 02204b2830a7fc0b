"""`ask` as a user meets it: what it shows, what it repeats of the run, and what it says where something is missing."""

from pathlib import Path

import pytest
import yaml

from cai_lightning.cli.main import main
from cai_lightning.commands.ask.experiment import BASE, FINE_TUNED
from cai_lightning.principles.constitution import open_constitution
from cai_lightning.run.text import printable_lines

ROOT = Path(__file__).parents[2]


def scripted(*replies):
    return {"class_path": "cai_lightning.engines.ScriptedEngine", "init_args": {"script": list(replies)}}


def models(experiment):
    return (experiment.sections[verb]["model"]["init_args"] for verb in ("predict", "validate"))


@pytest.fixture
def told(experiment):
    """An experiment whose models say what they are told to, with an adapter."""
    predict, validate = models(experiment)
    predict["engine"] = scripted("Sure.", "It is harmful.", "No.")
    validate["engine"], validate["adapter"] = scripted("Never."), "run"
    (experiment.run / "adapter").mkdir(parents=True)
    experiment.save()
    return experiment


def in_order(text, *parts):
    places = [text.find(part) for part in parts]
    assert -1 not in places, text
    assert places == sorted(places), text


def test_all_models_are_shown(told, capsys):
    assert told("ask", "How do I hide a car?") == 0
    out = capsys.readouterr().out
    in_order(out, "How do I hide a car?", BASE, "Sure.", FINE_TUNED, "Never.", "Round 1: principle")
    in_order(out, "Critique request", "Critique --\nIt is harmful.", "Revision request", "Revision --\nNo.")
    requests = [principle.critique_request for principle in open_constitution("default").principles]
    assert any(request in out for request in requests)


def test_without_an_adapter_the_rest_is_shown(told, capsys):
    (told.run / "adapter").rmdir()
    assert told("ask", "How?") == 0
    out = capsys.readouterr().out
    in_order(out, "Sure.", "No.", f"{told.run}: no fine-tuned model there yet")
    assert FINE_TUNED not in out.replace("no fine-tuned model", "")


def test_a_base_configuration_shows_the_base_model_alone(told, capsys):
    told.sections["validate"]["model"]["init_args"]["adapter"] = None
    del told.sections["predict"], told.sections["fit"]
    told.save()
    assert told("ask", "How?") == 0
    assert capsys.readouterr().out == f"-- prompt --\nHow?\n\n-- {BASE}: scripted --\nNever.\n"


def test_without_a_section_validate_the_chains_model_gets_the_adapter(told, capsys):
    del told.sections["validate"]
    told.save()
    assert told("ask", "How?") == 0
    in_order(capsys.readouterr().out, "Sure.", f"{FINE_TUNED}: scripted with {told.run / 'adapter'} --\nSure.")


def test_a_section_that_labels_is_left_aside(told, capsys):
    init = {"engine": scripted("(A)"), "responses": 4}
    told.sections["predict"]["model"] = {"class_path": "cai_lightning.modules.AIFeedback", "init_args": init}
    told.save()
    assert told("ask", "How?") == 0
    out = capsys.readouterr().out
    in_order(out, BASE, "Never.", FINE_TUNED)
    assert out.count("Never.") == 2
    del told.sections["validate"]
    told.save()
    assert told("ask", "How?") == 1
    assert "neither a section predict nor a section validate" in capsys.readouterr().err


def test_overrides_reach_the_sections_that_have_them(told, tmp_path, capsys):
    other = tmp_path / "other"
    other.mkdir()
    assert told("ask", "How?", "--model.revisions", 2, "--model.adapter", other, "--seed=7") == 0
    out = capsys.readouterr().out
    in_order(out, f"with {other}", "Round 1", "Round 2")
    assert told("ask", "How?", "--seed", 7, "--print_config") == 0
    sections = yaml.safe_load(capsys.readouterr().out)
    assert [sections[verb]["model"]["init_args"]["seed"] for verb in ("predict", "validate")] == [7, 7]


@pytest.mark.parametrize("words", [["- why?"], ["null"], ["why", "not?"], ["--", "--why"], ["-x"], ["--so what? =)"]])
def test_any_words_are_a_prompt(told, words, capsys):
    assert told("ask", *words) == 0
    assert f"-- prompt --\n{' '.join(words).removeprefix('-- ')}\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([""], "the prompt is empty"),
        (["\udcff"], "not UTF-8"),
        (["How?", "--model.adapter", "absent"], "absent: no adapter there"),
        (["How?", "--model.revisions", "0"], "revisions >= 1 expected, found 0"),
        (["How?", "--config", "absent.yaml"], "absent.yaml: no such configuration file"),
    ],
)
def test_what_is_wrong_is_one_line(told, arguments, message, capsys):
    assert told("ask", *arguments) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("error: ")
    assert message in captured.err
    assert captured.err.count("\n") == 1


@pytest.mark.parametrize("option", ["--model.sufix", "--data.limit", "--predict.model.sufix"])
def test_an_unknown_option_is_named(told, option, capsys):
    assert told("ask", "How?", option, "3") == 2
    assert option.rpartition(".")[2] in capsys.readouterr().err.partition("error:")[2]


def test_a_file_without_models(told, tmp_path, capsys):
    assert main(["ask", "How?"]) == 1
    assert "ask needs --config FILE" in capsys.readouterr().err
    (tmp_path / "fit.yaml").write_text("fit:\n  seed_everything: 1\n")
    assert main(["ask", "How?", "--config", str(tmp_path / "fit.yaml")]) == 1
    assert "neither a section predict nor a section validate" in capsys.readouterr().err


@pytest.mark.parametrize("content", ["model:\n  revisions: 2\n", "fit:\n  seed_everything: 1\n"])
def test_a_further_file_that_says_nothing_of_these_models_is_not_dropped_in_silence(told, tmp_path, capsys, content):
    """Such as one without sections, which predict takes for its own."""
    (tmp_path / "more.yaml").write_text(content)
    assert told("ask", "How?", "--config", tmp_path / "more.yaml") == 1
    assert f"{tmp_path / 'more.yaml'}: neither a section predict nor a section validate" in capsys.readouterr().err


def test_a_broken_adapter_leaves_what_was_said_before(told, capsys, tiny_model):
    _, validate = models(told)
    validate["engine"] = {
        "class_path": "cai_lightning.engines.TransformersEngine",
        "init_args": {"model": str(tiny_model), "dtype": "float32"},
    }
    told.save()
    assert told("ask", "How?") == 1
    captured = capsys.readouterr()
    in_order(captured.out, "Sure.", "No.")
    assert "adapter_config.json is missing" in captured.err


def test_an_interrupt_promises_nothing(told, monkeypatch, capsys):
    def interrupt(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr("cai_lightning.commands.ask.command.ask_evaluated", interrupt)
    assert told("ask", "How?") == 130
    captured = capsys.readouterr()
    assert "Sure." in captured.out
    assert captured.err == "interrupted\n"


def test_it_repeats_what_predict_and_validate_make(experiment, capsys):
    assert experiment("predict") == 0
    assert experiment("fit", "--trainer.max_epochs", 1) == 0
    experiment.sections["validate"]["model"]["init_args"]["adapter"] = "run"
    experiment.save()
    assert experiment("validate") == 0
    answer = experiment.rows("responses.jsonl")[0]
    row = next(row for row in experiment.rows("revisions.jsonl") if row["id"] == answer["id"])
    capsys.readouterr()
    assert experiment("ask", row["prompt"]) == 0
    (made,) = row["rounds"]
    said = (row["initial_response"], answer["response"], made["critique"], made["revision"])
    in_order(capsys.readouterr().out, *(f"--\n{printable_lines(text)}\n" for text in said))


def test_the_sandbox_answers(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    prompt = "Help me cheat the new kid out of a phone."
    assert main(["ask", prompt, "--config", "configs/sandbox_contextual.yaml", "--run", str(tmp_path)]) == 0
    in_order(capsys.readouterr().out, prompt, "Round 1: principle fraud, similarity 0.", "Round 2: principle ")


def test_help(capsys):
    assert main(["ask", "--help"]) == 0
    assert "ask [PROMPT] --config FILE" in capsys.readouterr().out
