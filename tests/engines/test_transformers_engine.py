"""A reply depends on its conversation and its seed, and on nothing else that is in the batch."""

import asyncio
import json
import shutil

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from cai_lightning.engines import Sampling, TransformersEngine
from cai_lightning.models.adapters import FINGERPRINT, save_fingerprint
from cai_lightning.models.hub import load_model, load_tokenizer
from cai_lightning.run.errors import ReplyError, UserError
from cai_lightning.run.records import assistant, user

TALKS = [
    [user("Hi")],
    [user("How do I bake bread for my neighbour, and for how long? " * 4)],
    [user("Tell me."), assistant("What?"), user("How to steal a car.")],
    [user("é 😀 \u2028 " * 6)],
    [user("a")],
]
GREEDY = Sampling(temperature=0, max_new_tokens=12)
DRAWN = Sampling(temperature=1.0, max_new_tokens=12)


def replies(engine, talks=TALKS, adapter=None):
    """The replies to conversations that are asked at once; each one's seed is its place."""

    async def ask():
        return await asyncio.gather(*(engine.reply(talk, str(n)) for n, talk in enumerate(talks)))

    engine.start(torch.device("cpu"), adapter)
    answers = asyncio.run(asyncio.wait_for(ask(), 60))
    engine.stop()
    return answers


def engine(model, sampling=GREEDY, **settings):
    return TransformersEngine(str(model), sampling, **{"dtype": "float32", **settings})


@pytest.fixture(scope="module")
def reference(tiny_model):
    """Greedy decoding without any of the engine: no batch, no cache, no `generate`."""
    model, tokenizer = AutoModelForCausalLM.from_pretrained(tiny_model), AutoTokenizer.from_pretrained(tiny_model)

    def decode(text, count=12):
        ids = tokenizer(text)["input_ids"]
        start = len(ids)
        while len(ids) < start + count:
            with torch.no_grad():
                ids.append(int(model(torch.tensor([ids])).logits[0, -1].argmax()))
            if ids[-1] == tokenizer.eos_token_id:
                break
        return tokenizer.decode(ids[start:], skip_special_tokens=True).strip()

    return decode


def test_a_batch_of_mixed_lengths_says_what_each_would_alone(tiny_model, reference):
    together = replies(engine(tiny_model, batch_size=8))
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    texts = [tokenizer.apply_chat_template(t, add_generation_prompt=True, tokenize=False) for t in TALKS]
    assert [reply.text for reply in together] == [reference(text) for text in texts]
    assert len({reply.text for reply in together}) > 1


def test_a_drawn_reply_depends_on_neither_batch_size_nor_company(tiny_model):
    whole = replies(engine(tiny_model, DRAWN, batch_size=8))
    for batch_size in (1, 2, 3):
        assert replies(engine(tiny_model, DRAWN, batch_size=batch_size)) == whole
    assert replies(engine(tiny_model, DRAWN), TALKS[:2]) == whole[:2]
    assert len({reply.text for reply in replies(engine(tiny_model, DRAWN), [TALKS[0]] * 4)}) == 4


def test_the_models_own_generation_settings_do_not_count(tiny_model, tmp_path):
    plain = replies(engine(tiny_model))
    folder = tmp_path / "model"
    shutil.copytree(tiny_model, folder)
    own = {"repetition_penalty": 5.0, "no_repeat_ngram_size": 2, "do_sample": True, "top_k": 1, "max_new_tokens": 2}
    ends = json.loads((folder / "generation_config.json").read_text())
    (folder / "generation_config.json").write_text(json.dumps({**ends, **own}))
    assert replies(engine(folder)) == plain
    assert replies(engine(folder, DRAWN)) == replies(engine(tiny_model, DRAWN))


def test_a_reply_ends_at_its_end_of_turn_or_its_length(tiny_model, tmp_path):
    (reply,) = replies(engine(tiny_model), TALKS[:1])
    assert (reply.finish_reason, reply.tokens) == ("length", 12)
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    folder = tmp_path / "model"
    shutil.copytree(tiny_model, folder)
    third = first_tokens(tiny_model, tokenizer)[2]
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": [tokenizer.eos_token_id, third]}))
    (ended,) = replies(engine(folder), TALKS[:1])
    assert (ended.finish_reason, ended.tokens) == ("stop", 3)
    assert reply.text.startswith(ended.text)


def first_tokens(tiny_model, tokenizer):
    model = AutoModelForCausalLM.from_pretrained(tiny_model)
    ids = tokenizer.apply_chat_template(TALKS[0], add_generation_prompt=True, return_tensors="pt", return_dict=True)
    out = model.generate(**ids, do_sample=False, max_new_tokens=12)
    return out[0, ids["input_ids"].shape[1] :].tolist()


def test_a_stop_string_ends_a_reply_and_is_no_part_of_it(tiny_model):
    whole = replies(engine(tiny_model))
    stop = next(letter for letter in whole[0].text[3:-3] if letter.isascii() and letter.isalnum())
    stopping = Sampling(temperature=0, max_new_tokens=12, stop=["never said", stop])
    stopped = replies(engine(tiny_model, stopping))
    for short, long in zip(stopped, whole, strict=True):
        assert short.text == long.text.partition(stop)[0].strip()
        assert short.finish_reason == ("stop" if stop in long.text else "length")
        assert (short.tokens < 12) == (stop in long.text)


def test_the_plain_template_joins_turns_by_blank_lines(tiny_model, reference):
    plain = replies(engine(tiny_model, template="plain"))
    assert plain[2].text == reference("Tell me.\n\nWhat?\n\nHow to steal a car.\n\n")


def test_a_second_turn_is_that_of_a_conversation_worded_anew(tiny_model):
    """What the model has written stays its tokens; with this tokenizer they are those of its text nearly always."""

    async def chain(one, talk):
        first = await one.reply(talk, "1")
        return await one.reply([*talk, assistant(first.text), user("Why?")], "2")

    def second(talks, batch_size):
        one = engine(tiny_model, batch_size=batch_size)
        one.start(torch.device("cpu"))

        async def every():
            return await asyncio.gather(*(chain(one, talk) for talk in talks))

        return asyncio.run(asyncio.wait_for(every(), 60))

    together = second(TALKS, 8)
    assert together == [second([talk], 1)[0] for talk in TALKS]
    assert together == second(TALKS, 2)


def test_a_request_that_nobody_awaits_any_more_harms_none(tiny_model):
    one = engine(tiny_model, batch_size=8)
    one.start(torch.device("cpu"))

    async def ask():
        given_up = asyncio.ensure_future(one.reply(TALKS[1], "s"))
        kept = asyncio.ensure_future(one.reply(TALKS[0], "s"))
        await asyncio.sleep(0)
        given_up.cancel()
        return await kept

    assert asyncio.run(asyncio.wait_for(ask(), 30)).tokens == 12


@pytest.mark.filterwarnings("ignore")
@pytest.mark.slow
def test_paged_batching_says_the_same_where_nothing_is_drawn(tiny_model):
    one = engine(tiny_model, batching="paged")
    assert replies(one) == replies(engine(tiny_model))
    drawn = replies(engine(tiny_model, DRAWN, batching="paged"))
    assert len({reply.text for reply in drawn}) > 1


def test_a_conversation_without_room_for_a_reply_fails_alone(tiny_model):
    one = engine(tiny_model)
    one.start(torch.device("cpu"))
    with pytest.raises(ReplyError, match=r"of \d+ tokens leaves no room in a context of 2048"):
        asyncio.run(one.reply([user("word " * 2000)], "s"))
    asyncio.run(one.reply(TALKS[0], "s"))


@pytest.fixture(scope="module")
def adapter(tiny_model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("adapters") / "strong"
    base = load_model(str(tiny_model), "float32")
    policy = get_peft_model(base, LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM"))
    torch.manual_seed(1)
    for name, parameter in policy.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.3)
    policy.save_pretrained(folder)
    save_fingerprint(policy.get_base_model().config, folder)
    return folder


def test_an_adapter_changes_replies_alike_whether_merged_or_not(tiny_model, adapter):
    merged = replies(engine(tiny_model), adapter=adapter)
    apart = replies(engine(tiny_model, dtype="auto"), adapter=adapter)
    assert merged == apart
    assert merged != replies(engine(tiny_model))


def test_an_adapter_of_another_base_is_refused(tiny_model, adapter, tmp_path):
    folder = tmp_path / "adapter"
    shutil.copytree(adapter, folder)
    deeper = {**json.loads((folder / FINGERPRINT).read_text()), "num_hidden_layers": 7}
    (folder / FINGERPRINT).write_text(json.dumps(deeper))
    with pytest.raises(UserError, match=r"num_hidden_layers 7; .* has 2"):
        engine(tiny_model).start(torch.device("cpu"), folder)


@pytest.mark.filterwarnings("ignore:Found missing adapter keys")  # PEFT warns where it is refused here
def test_an_adapter_of_which_a_part_is_missing_or_left_over_is_refused(tiny_model, adapter, tmp_path):
    folder = shutil.copytree(adapter, tmp_path / "adapter")
    tensors = load_file(folder / "adapter_model.safetensors")
    first = min(tensors)
    save_file({name: tensor for name, tensor in tensors.items() if name != first}, folder / "adapter_model.safetensors")
    with pytest.raises(UserError, match=r"lacks 1 tensors \(such as .*lora_A"):
        engine(tiny_model).start(torch.device("cpu"), folder)
    more = {first.replace("layers.0", "layers.7"): tensors[first].clone()}
    save_file(tensors | more, folder / "adapter_model.safetensors")
    with pytest.raises(UserError, match=r"no place for 1 tensors \(such as .*layers\.7"):
        engine(tiny_model).start(torch.device("cpu"), folder)


def test_what_cannot_be_opened_is_said(tiny_model, tmp_path):
    with pytest.raises(UserError, match="no adapter there"):
        engine(tiny_model).start(torch.device("cpu"), tmp_path)
    with pytest.raises(UserError, match=r"language model .* cannot be opened"):
        engine(tmp_path / "absent").start(torch.device("cpu"))


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("tokenizer.json", "{}"),
        ("tokenizer.json", "null"),
        ("tokenizer.json", '{"added_tokens": 3}'),
        ("tokenizer.json", '{"added_tokens": []}'),
        ("tokenizer_config.json", "[]"),
        ("tokenizer_config.json", '{"eos_token": [1]}'),
        pytest.param("tokenizer_config.json", "[" * 200_000, id="deep"),
    ],
)
def test_a_tokenizer_of_another_kind_of_json_is_refused(tiny_model, tmp_path, file, content):
    folder = tmp_path / "model"
    shutil.copytree(tiny_model, folder)
    (folder / file).write_text(content)
    with pytest.raises(UserError, match=r"language model .* cannot be opened"):
        load_tokenizer(str(folder))


def test_a_model_whose_files_lack_tensors_is_refused(tiny_model, tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(tiny_model, folder)
    config = json.loads((folder / "config.json").read_text())
    layers = {"num_hidden_layers": 3, "layer_types": ["full_attention"] * 3, "max_window_layers": 3}
    (folder / "config.json").write_text(json.dumps({**config, **layers}))
    with pytest.raises(UserError, match="its files lack 12 tensors"):
        load_model(str(folder))
