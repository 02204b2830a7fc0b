"""A chat: who speaks, what is remembered, and how it ends."""

import asyncio
import io
import signal

import pytest

from cai_lightning.commands.ask.command import converse
from cai_lightning.commands.ask.experiment import Experiment
from cai_lightning.engines import Engine, Reply, Sampling
from cai_lightning.modules import Evaluation
from cai_lightning.run.errors import ReplyError, UserError


class Parrot(Engine):
    """Says how many turns it was asked about, and repeats the last of them."""

    concurrency = 1

    def __init__(self):
        self.model, self.sampling, self.events = "parrot", Sampling(), []

    def start(self, device, adapter=None):
        self.events.append(adapter)

    def stop(self):
        self.events.append("stop")

    async def reply(self, conversation, seed):
        words = conversation[-1]["content"]
        if words == "fail":
            raise ReplyError("the server sleeps")
        if words == "interrupt":
            signal.raise_signal(signal.SIGINT)
            await asyncio.sleep(60)
        self.events.append(seed)
        if words.startswith("think"):
            return Reply("" if words == "think on" else "thought out", "stop", 1, thought=f"{words}\x1b " * 40)
        return Reply(f"{len(conversation)} {words}\x1b", "length" if words == "long" else "stop", 1)

    async def choose(self, conversation, options):
        raise NotImplementedError


class Keyboard(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def chatting(tmp_path, monkeypatch, capsys):
    """Chats by lines of input, and gives back the engine and what was printed."""

    def chat(lines, adapter="run", stdin=io.StringIO):
        engine = Parrot()
        monkeypatch.setattr("sys.stdin", stdin(lines))
        converse(Experiment(None, Evaluation(engine, [], adapter), tmp_path))
        return engine.events, capsys.readouterr()

    return chat


def test_turns_are_remembered_until_reset(chatting):
    events, (out, _) = chatting("one\n\n  \ntwo\n/reset\none\n/quit\nthree\n")
    said = [line for line in out.splitlines() if line.startswith("model>")]
    assert said == ["model> 1 one\\x1b", "model> 3 two\\x1b", "model> 1 one\\x1b"]
    assert events == [None, "42:chat0", "42:chat2", "42:chat0", "stop"]
    assert "you> one\nmodel> 1 one" in out


def test_a_thought_is_folded_and_no_part_of_the_talk(chatting):
    events, (out, err) = chatting("think\nthink on\nand?\n")
    lines = out.splitlines()
    said = lines.index("model> thought out")
    assert lines[said - 1].startswith("[thought of 40 words: think\\x1b think\\x1b")
    assert lines[said - 1].endswith(" ...]")
    assert "error: no reply: unfinished thought" in err
    assert "model> 3 and?\\x1b" in lines  # the turn that came to no words is forgotten
    assert events == [None, "42:chat0", "42:chat2", "42:chat2", "stop"]


def test_the_fine_tuned_model_speaks_where_there_is_one(chatting, tmp_path):
    assert f"base model: parrot\n{tmp_path}: no fine-tuned model there yet" in chatting("")[1].out
    assert chatting("", adapter=None)[1].out.startswith("base model: parrot\n/reset")
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    events, (out, _) = chatting("")
    assert out.startswith(f"fine-tuned model: parrot with {adapter}\n")
    assert events == [adapter, "stop"]


def test_a_line_without_an_end_counts_and_a_cut_reply_says_so(chatting):
    assert "model> 1 long\\x1b\n[cut at the maximum of tokens]" in chatting("long")[1].out


def test_a_reply_that_fails_is_forgotten_and_the_chat_goes_on(chatting):
    _, (out, err) = chatting("one\nfail\ntwo\n")
    assert err == "error: no reply: the server sleeps\n"
    assert "model> 3 two" in out


def test_typing_is_asked_for(chatting):
    out = chatting("one\n", stdin=Keyboard)[1].out
    assert "you> model> 1 one" in out
    assert out.endswith("you> \n")


def test_an_interrupt_leaves_cleanly(chatting):
    events, (out, err) = chatting("interrupt\nafter\n")
    assert events == [None, "stop"]
    assert "after" not in out
    assert err == ""


def test_bytes_that_are_no_text(chatting):
    with pytest.raises(UserError, match="not UTF-8"):
        chatting("\udcff\n")
    with pytest.raises(UserError, match="standard input: not UTF-8"):
        chatting(b"\xff\n", stdin=lambda data: io.TextIOWrapper(io.BytesIO(data), encoding="utf-8"))
