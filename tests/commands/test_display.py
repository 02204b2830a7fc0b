"""What a model says is shown and never obeyed, in a terminal and in a pipe."""

import pytest

from cai_lightning.commands.ask.command import CUT, show
from cai_lightning.commands.ask.experiment import Exchange, Passage, Step
from cai_lightning.run.text import printable_lines

HOSTILE = "[bold]no[/nonsense] :smile: \x1b[2J\x1b]0;title\x07 \u202eabc\u2069 \r\x00 \u2028"
EXCHANGE = Exchange(
    HOSTILE,
    [Passage("base model", HOSTILE, cut=True, model=HOSTILE), Passage("fine-tuned model", "fine", model="tuned")],
    [Step("Round 1: principle [red]x", [Passage("Critique request", "why?"), Passage("Critique", HOSTILE)])],
)


@pytest.fixture
def terminal(monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("TERM", "xterm")


def test_a_pipe_gets_plain_text(capsys):
    show(EXCHANGE, "a note")
    out = capsys.readouterr().out
    said = printable_lines(HOSTILE)
    assert out.startswith(f"-- prompt --\n{said}\n\n-- base model: {said} --\n{said}\n{CUT}\n")
    assert "== Round 1: principle [red]x ==\n\n-- Critique request --\nwhy?\n\n-- Critique --\n" in out
    assert out.endswith(f"\n{printable_lines(HOSTILE)}\n\na note\n")
    assert "\x1b" not in out


def test_a_thought_is_one_line_above_the_words(terminal, capsys):
    for passage in (
        Passage("base model", "Paris.", thought=HOSTILE),
        Passage("base model", "Paris.", thought="a " * 99),
    ):
        show(Exchange("Where?", [passage]))
    out = capsys.readouterr().out
    assert "[thought of 99 words: a a a" in out
    assert "\x1b[2J" not in out
    assert "\x1b]0" not in out


def test_a_terminal_gets_panels_side_by_side(terminal, capsys):
    show(EXCHANGE, "a note")
    out = capsys.readouterr().out
    assert "\x1b[2J" not in out
    assert "\x1b]0" not in out
    assert "[bold]no[/nonsense] :smile:" in out
    beside = next(line for line in out.splitlines() if "base model" in line)
    assert "fine-tuned model" in beside
    assert "principle [red]x" in out
    assert CUT in out


def test_one_answer_has_the_whole_width(terminal, capsys):
    show(Exchange("How?", [Passage("base model", "x" * 90)]))
    assert "x" * 90 in capsys.readouterr().out
