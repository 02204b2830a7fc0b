"""What a template is told is kept with what is trained on its words, and asking otherwise is warned of."""

import logging
import shutil

import pytest
from templates import QWEN3
from transformers import AutoTokenizer

from cai_lightning.cli.main import main
from cai_lightning.run.records import user

OFF = "{enable_thinking: false}"
QUIET = "<|im_start|>assistant\n<think>\n\n</think>\n\n"


@pytest.fixture
def thinking(experiment, tiny_model, tmp_path):
    """The experiment with a model whose template thinks unless it is told not to."""
    folder = shutil.copytree(tiny_model, tmp_path / "thinking")
    (folder / "chat_template.jinja").write_text(QWEN3)
    for verb in ("predict", "validate"):
        experiment.sections[verb]["model"]["init_args"]["engine"]["init_args"]["model"] = str(folder)
    experiment.sections["fit"]["model"]["init_args"]["model"] = str(folder)
    experiment.save()
    experiment.write_revisions()
    return experiment


def prompt(tokenizer):
    return tokenizer.apply_chat_template([user("Hi")], tokenize=False, add_generation_prompt=True)


def test_an_adapter_is_asked_as_it_was_trained_or_there_is_a_warning(thinking, caplog, tmp_path):
    assert thinking("fit", "--trainer.max_epochs", 1, "--model.chat_template_kwargs", OFF) == 0
    assert prompt(AutoTokenizer.from_pretrained(thinking.run / "adapter")).endswith(QUIET)
    with caplog.at_level(logging.WARNING):
        assert thinking("validate", "--model.adapter", "run", "--model.engine.init_args.chat_template_kwargs", OFF) == 0
    assert "chat_template_kwargs" not in caplog.text
    with caplog.at_level(logging.WARNING):
        assert thinking("validate", "--model.adapter", "run", "--fresh") == 0
    assert "was trained with another chat template, or other chat_template_kwargs" in caplog.text
    assert main(["export", str(thinking.run), "--output", str(tmp_path / "exported"), "--merge"]) == 0
    assert prompt(AutoTokenizer.from_pretrained(tmp_path / "exported")).endswith(QUIET)
    assert "chat_template_kwargs.enable_thinking" in (tmp_path / "exported" / "README.md").read_text()


def test_other_arguments_make_other_rows(thinking, capsys):
    setting = "--model.engine.init_args.chat_template_kwargs"
    (thinking.run / "revisions.jsonl").unlink()
    assert thinking("predict", "--data.limit", 2, setting, OFF) == 0
    assert thinking("predict", "--data.limit", 2) == 1
    assert "chat_template_kwargs.enable_thinking = False, now it is None" in capsys.readouterr().err
