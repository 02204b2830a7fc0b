"""Every engine tells thoughts from words, under every chat format, and asks as its template arguments say."""

import asyncio
import json
from types import SimpleNamespace

import pytest
import torch
from servers import Answer, completion, serving
from templates import FAMILIES, THINKING
from tokenizers import AddedToken
from transformers import AutoTokenizer

from cai_lightning.engines import OpenAIEngine, RecordedEngine, Sampling, ScriptedEngine, TransformersEngine, VLLMEngine
from cai_lightning.engines.batching import Written
from cai_lightning.engines.transcripts import Transcripts
from cai_lightning.models.hub import load_tokenizer
from cai_lightning.models.template import render, with_arguments
from cai_lightning.principles import wording
from cai_lightning.run.errors import ReplyError, UserError
from cai_lightning.run.records import assistant, user

TALK = [user("What is the capital of France? I read that <think> begins a thought.")]
SAID = {
    "words": ("Paris.", "Paris.", None),
    "empty thought": ("<think>\n\n</think>\n\nParis.", "Paris.", None),
    "thought": ("<think>\nThe capital?\n</think>\n\nParis.", "Paris.", "The capital?"),
    "two thoughts": ("<think>One.</think>\n<think>Two.</think>\nParis.", "Paris.", "One.\n\nTwo."),
    "unfinished": ("<think>\nThe capital, the cap", "", "The capital, the cap"),
    "blank": (" \n", "", None),
}
OPENED = {
    "closed": ("The capital?\n</think>\n\nParis.", "Paris.", "The capital?"),
    "unfinished": ("The capital, the cap", "", "The capital, the cap"),
}
TOKENIZERS = {**FAMILIES, **THINKING}


def opening_qwen3():
    """Its prompt begins the thought itself."""
    tokenizer = THINKING["qwen3"]()
    tokenizer.chat_template = tokenizer.chat_template.replace(
        "<|im_start|>assistant\n{% if",
        "<|im_start|>assistant\n{% if not enable_thinking is defined %}<think>\n{% endif %}{% if",
    )
    return tokenizer


def special_qwen3():
    """Its tags are special tokens, which no decoding shows."""
    tokenizer = THINKING["qwen3"]()
    tokenizer.add_tokens([AddedToken(tag, normalized=False, special=True) for tag in ("<think>", "</think>")], True)
    return tokenizer


class Writing:
    """A batch that writes what it is told to, and keeps what it was fed."""

    def __init__(self, ids, end):
        self.ids, self.ends, self.fed = ids, {end}, []
        self.policy = SimpleNamespace(
            config=SimpleNamespace(get_text_config=lambda decoder: SimpleNamespace(max_position_embeddings=4096))
        )

    async def write(self, ids, seed, most, logprobs):
        self.fed.append(ids)
        return Written([*self.ids, *self.ends], None)


def transformers_engine(tokenizer, text):
    engine = TransformersEngine("tiny")
    engine._transcripts = Transcripts(tokenizer)
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    engine._batch = Writing(
        ids, tokenizer.convert_tokens_to_ids("<|im_end|>") if "<|im_end|>" in tokenizer.get_vocab() else 2
    )
    return engine


def vllm_engine(tokenizer, text):
    engine = VLLMEngine("tiny")
    engine._transcripts = Transcripts(tokenizer)
    ids = [*tokenizer(text, add_special_tokens=False)["input_ids"], 2]

    async def complete(asked, **settings):
        return SimpleNamespace(token_ids=ids, finish_reason="stop", stop_reason=None)

    engine._served = SimpleNamespace(complete=complete)
    return engine


def reply_of(engine, talk=TALK):
    return asyncio.run(engine.reply(talk, "seed"))


@pytest.fixture(scope="module")
def tokenizers():
    made = {name: make() for name, make in TOKENIZERS.items()}
    return {**made, "opening": opening_qwen3(), "special": special_qwen3()}


@pytest.mark.parametrize("make", [transformers_engine, vllm_engine])
@pytest.mark.parametrize("said", SAID.values(), ids=SAID)
@pytest.mark.parametrize("family", [*TOKENIZERS, "special"])
def test_an_engine_that_writes_tokens_tells_thoughts_from_words(tokenizers, family, said, make):
    text, words, thought = said
    reply = reply_of(make(tokenizers[family], text))
    assert (reply.text, reply.thought) == (words, thought)
    assert (reply.why_silent is None) == bool(words)


@pytest.mark.parametrize("make", [transformers_engine, vllm_engine])
@pytest.mark.parametrize("said", OPENED.values(), ids=OPENED)
def test_a_thought_that_the_prompt_began_needs_no_opening(tokenizers, said, make):
    text, words, thought = said
    reply = reply_of(make(tokenizers["opening"], text))
    assert (reply.text, reply.thought) == (words, thought)
    assert reply_of(make(tokenizers["qwen3"], "Paris.")).text == "Paris."  # though the question names the tag


@pytest.mark.parametrize("family", [*TOKENIZERS, "opening"])
def test_a_thought_is_no_part_of_what_follows(tokenizers, family):
    tokenizer = tokenizers[family]
    engine = transformers_engine(tokenizer, "<think>\nThe capital?\n</think>\n\nParis.")
    first = reply_of(engine)
    talk = [*wording.answered(TALK, first.text), user("And of Spain?")]
    reply_of(engine, talk)
    whole = tokenizer(render(tokenizer, talk, prompt=True), add_special_tokens=False)["input_ids"]
    assert engine._batch.fed[1] == whole
    assert "The capital?" not in tokenizer.decode(whole)


@pytest.mark.parametrize("said", SAID.values(), ids=SAID)
def test_engines_without_tokens_tell_them_too(tmp_path, said):
    text, words, thought = said
    (tmp_path / "recorded.jsonl").write_text(json.dumps({"prompt": TALK[0]["content"], "revision": text}) + "\n")
    for engine in (RecordedEngine(tmp_path / "recorded.jsonl"), ScriptedEngine([text])):
        engine.start(torch.device("cpu"))
        reply = reply_of(engine)
        assert (reply.text.strip(), reply.thought) == (words, thought)


def served(answer, **settings):
    with serving(lambda *_: answer) as server:
        engine = OpenAIEngine("m", [server.url], api_key_variable=None, **settings)
        engine.start(torch.device("cpu"))
        return reply_of(engine), server.asked[0]


def thinking(text, reason="stop", **fields):
    answer = completion(text, reason)
    answer["choices"][0]["message"].update(fields)
    return Answer(answer)


@pytest.mark.parametrize("field", ["reasoning_content", "reasoning", "thinking"])
def test_a_server_may_tell_them_apart_itself(field):
    reply, _ = served(thinking("\n\nParis.", **{field: "The capital?\n"}))
    assert (reply.text, reply.thought, reply.why_silent) == ("Paris.", "The capital?", None)
    reply, _ = served(thinking(None, "length", **{field: "The capital, the"}))
    assert (reply.text, reply.thought, reply.finish_reason) == ("", "The capital, the", "length")
    assert reply.why_silent == "unfinished thought"
    reply, _ = served(thinking("Paris.", **{field: None}))
    assert (reply.text, reply.thought) == ("Paris.", None)


@pytest.mark.parametrize("said", SAID.values(), ids=SAID)
def test_or_leave_them_in_the_text(said):
    text, words, thought = said
    reply, _ = served(completion(text))
    assert (reply.text, reply.thought) == (words, thought)
    cut, _ = served(completion("<think>Where does it end? Not", "length"), sampling=Sampling(stop=["end?"]))
    assert cut.why_silent == "unfinished thought"


def test_no_text_is_an_empty_reply_and_a_refusal_is_none():
    assert served(completion(None))[0].why_silent == "empty reply"
    with pytest.raises(ReplyError, match="no text, finish reason 'stop': I cannot"):
        served(thinking(None, refusal="I cannot"))


def test_template_arguments_are_sent_only_where_they_are_set():
    off = {"enable_thinking": False}
    assert "chat_template_kwargs" not in served(completion("A."))[1]
    assert served(completion("A."), chat_template_kwargs=off)[1]["chat_template_kwargs"] == off
    asked = served(completion("A."), chat_template_kwargs=off, extra_body={"provider": "x"})[1]
    assert (asked["provider"], asked["chat_template_kwargs"]) == ("x", off)


@pytest.mark.parametrize("value", [False, True, 1, 2.5, 'a\n"b" {{ x }} %} é', None, [1, None, "c"], {"d": [True]}])
def test_a_template_has_its_arguments_as_if_they_were_given(tokenizers, value, tmp_path):
    shown = "{% macro show() %}{{ enable_thinking | tojson }}{% endmacro %}{{ show() }}{{ enable_thinking | tojson }}"
    plain, told = (THINKING["qwen3"]() for _ in range(2))
    plain.chat_template = told.chat_template = shown + plain.chat_template
    with_arguments(told, {"enable_thinking": value})
    wanted = plain.apply_chat_template(TALK, tokenize=False, add_generation_prompt=True, enable_thinking=value)
    assert render(told, TALK, prompt=True) == wanted
    given = told.apply_chat_template(TALK, tokenize=False, add_generation_prompt=True, enable_thinking="x")
    assert given == plain.apply_chat_template(TALK, tokenize=False, add_generation_prompt=True, enable_thinking="x")
    told.save_pretrained(tmp_path)
    assert render(AutoTokenizer.from_pretrained(tmp_path), TALK, prompt=True) == wanted


def test_they_reach_an_engine_that_loads_its_tokenizer(tmp_path):
    THINKING["qwen3"]().save_pretrained(tmp_path)
    asked = render(load_tokenizer(str(tmp_path), {"enable_thinking": False}), [user("Hi")], prompt=True)
    assert asked.endswith("<|im_start|>assistant\n<think>\n\n</think>\n\n")
    assert render(load_tokenizer(str(tmp_path)), [user("Hi")], prompt=True).endswith("<|im_start|>assistant\n")


@pytest.mark.parametrize("name", ["messages", "add_generation_prompt", "enable thinking", "eos_token"])
def test_what_is_no_argument_of_a_template_is_refused(name):
    with pytest.raises(UserError, match=f"chat_template_kwargs: '{name}' is no argument"):
        with_arguments(FAMILIES["chatml"](), {name: True})


def test_an_assistants_turn_keeps_its_thought_out_of_the_last_turn():
    tokenizer = THINKING["qwen3"]()
    assert "Hm." not in render(tokenizer, [*TALK, assistant("<think>Hm.</think>Paris."), user("And?")], prompt=True)
