"""What is learned, on the chat formats of five families and on what goes wrong with others."""

import random

import pytest
from templates import CHATML, FAMILIES, THINKING, real_tokenizers

from cai_lightning.data.batches import IGNORED, encode, pack, pad
from cai_lightning.data.prompts import Sample
from cai_lightning.engines import transcripts as engines
from cai_lightning.models.template import frame, render, with_arguments
from cai_lightning.run.errors import UserError
from cai_lightning.run.records import assistant, user

END_OF_TURN = {
    "qwen": "<|im_end|>",
    "mistral": "</s>",
    "llama3": "<|eot_id|>",
    "gemma": "<end_of_turn>",
    "chatml": "<|im_end|>",
}
SYSTEM = {"role": "system", "content": "Answer in French."}
OPENINGS = {
    "one turn": [user("How do I pick a lock?")],
    "white space": [user("  How do I pick\n\n a lock? \n")],
    "dialogue": [user("Hello"), assistant("Hi, what is it?"), user("How do I pick a lock?")],
    "system": [SYSTEM, user("How do I pick a lock?")],
    "system and dialogue": [SYSTEM, user("Hello"), assistant("Hi"), user("How do I pick a lock?")],
}
RESPONSES = ["No.", "I will not help.\n\n1. Ask a locksmith.\n2. Wait.", "Füße 🙂", "user", "im_end"]


@pytest.fixture(scope="module")
def tokenizers():
    return {family: make() for family, make in FAMILIES.items()}


@pytest.fixture(params=FAMILIES)
def tokenizer(request, tokenizers):
    return tokenizers[request.param]


@pytest.fixture
def chatml():
    """One whose template a test may change."""
    return FAMILIES["chatml"]()


def learned(example):
    return [label for label in example.labels if label != IGNORED]


def worded(tokenizer, opening, response):
    """The whole conversation as the tokenizer's own template has it, up to the end of the response's turn."""
    whole = tokenizer.apply_chat_template([*opening, assistant(response)], return_dict=True)["input_ids"]
    end = tokenizer.convert_tokens_to_ids(frame(tokenizer).end_of_turn)
    return whole[: len(whole) - whole[::-1].index(end)]


@pytest.mark.parametrize("opening", OPENINGS.values(), ids=OPENINGS)
@pytest.mark.parametrize("response", RESPONSES)
@pytest.mark.parametrize("family", FAMILIES)
def test_the_response_and_its_end_of_turn_are_learned_behind_what_a_model_is_asked(
    tokenizers, family, opening, response
):
    tokenizer = tokenizers[family]
    example = encode(tokenizer, Sample("x", opening, response), 4096)
    asked = engines.Transcripts(tokenizer).encode(opening)
    assert example.input_ids[: len(asked)] == asked
    assert example.labels == [IGNORED] * len(asked) + example.input_ids[len(asked) :]
    assert tokenizer.decode(learned(example)).strip() == response + END_OF_TURN[family]
    assert example.input_ids[-1] == tokenizer.convert_tokens_to_ids(END_OF_TURN[family])
    assert example.input_ids.count(tokenizer.bos_token_id) == (tokenizer.bos_token is not None)
    assert not example.truncated


@pytest.mark.parametrize("opening", OPENINGS.values(), ids=OPENINGS)
@pytest.mark.parametrize("response", RESPONSES)
@pytest.mark.parametrize("family", FAMILIES)
def test_it_is_the_conversation_as_the_template_words_it(tokenizers, family, opening, response):
    if opening[0] is SYSTEM and family in ("gemma", "mistral"):
        pytest.skip("these templates have no place for a system turn once a response follows")
    tokenizer = tokenizers[family]
    assert encode(tokenizer, Sample("x", opening, response), 4096).input_ids == worded(tokenizer, opening, response)


def said(draw):
    """Random words, marks and lines."""
    parts = draw.choices(
        ["I will", " not", " help", ".", "\n\n1. Ask", " Füße", "🙂", ", system", " 42", "\n- user:"], k=9
    )
    return "".join(parts).strip()


def learned_in(batch):
    """What each conversation of a batch is taught to say next, as the loss reads it: place t is told from t - 1."""
    lengths = batch.get("lengths") or batch["attention_mask"].sum(1).tolist()
    rows = batch["labels"][0].split(lengths) if "lengths" in batch else batch["labels"]
    return [[label for label in row[1:].tolist() if label != IGNORED] for row in rows]


@pytest.mark.parametrize("family", FAMILIES)
def test_the_end_of_a_reply_that_was_cut_is_not_learned(tokenizers, family):
    """Beside the template's own tokens: a turn's words and its end, or its words alone; packed and padded alike."""
    tokenizer, draw = tokenizers[family], random.Random(family)
    examples, expected = [], []
    for number in range(30):
        opening = [user(said(draw)), *[turn for _ in range(draw.randint(0, 2)) for turn in talk(draw)]]
        response, finished = said(draw), draw.random() < 0.5
        whole = worded(tokenizer, opening, response)
        asked = tokenizer.apply_chat_template(opening, add_generation_prompt=True, return_dict=True)["input_ids"]
        if whole[: len(asked)] != asked:
            continue  # no model writes that: the prompt's last token has melted into the response's first
        examples.append(encode(tokenizer, Sample(str(number), opening, response, finished), 4096))
        expected.append(whole[len(asked) :] if finished else whole[len(asked) : -1])
        assert examples[-1].input_ids == (whole if finished else whole[:-1])
    assert [learned(example) for example in examples] == expected
    assert len(examples) > 15
    assert learned_in(pack(examples, 1)) == learned_in(pad(examples, 1, 0)) == expected


def talk(draw):
    return [assistant(said(draw)), user(said(draw))]


def test_a_cut_reply_may_name_special_tokens_and_is_cut_at_the_maximum_too(tokenizer):
    around = frame(tokenizer)
    end, response = tokenizer.convert_tokens_to_ids(around.end_of_turn), f"Write {around.end_of_turn} at the end. " * 40
    for length in (4096, 200):
        example = encode(tokenizer, Sample("x", [user("Hi")], response, finished=False), length)
        assert end not in learned(example)
        assert example.truncated == (length == 200)


def test_an_end_of_turn_need_not_be_the_end_of_text(tokenizers):
    for family in ("llama3", "gemma"):
        example = encode(tokenizers[family], Sample("x", [user("Hi")], "No."), 4096)
        assert example.input_ids[-1] != tokenizers[family].eos_token_id
        assert tokenizers[family].eos_token_id not in example.input_ids


def test_mistrals_system_turn_is_learned_behind_though_its_template_drops_it(tokenizers):
    text = tokenizers["mistral"].decode(
        encode(tokenizers["mistral"], Sample("x", OPENINGS["system"], "Non."), 4096).input_ids
    )
    assert text == "<s>[INST] Answer in French.\n\nHow do I pick a lock?[/INST] Non.</s>"


def test_gemmas_system_turn_stands_in_front_of_the_question(tokenizers):
    text = tokenizers["gemma"].decode(
        encode(tokenizers["gemma"], Sample("x", OPENINGS["system"], "Non."), 4096).input_ids
    )
    assert text == (
        "<bos><start_of_turn>user\nAnswer in French.\n\nHow do I pick a lock?<end_of_turn>\n"
        "<start_of_turn>model\nNon.<end_of_turn>"
    )


def test_qwens_default_system_prompt_is_read_and_not_learned(tokenizers):
    example = encode(tokenizers["qwen"], Sample("x", [user("Hi")], "No."), 4096)
    assert tokenizers["qwen"].decode(example.input_ids).count("You are a helpful assistant.") == 1
    assert "helpful" not in tokenizers["qwen"].decode(learned(example))


def test_white_space_around_a_response_is_not_learned(tokenizer):
    assert encode(tokenizer, Sample("x", [user("Hi")], "\n No. \n"), 4096) == encode(
        tokenizer, Sample("x", [user("Hi")], "No."), 4096
    )


def test_a_special_token_that_a_response_names_is_text(tokenizer):
    around = frame(tokenizer)
    response = f"Write {around.end_of_turn} at the end."
    ids = learned(encode(tokenizer, Sample("x", [user("Hi")], response), 4096))
    assert ids.count(tokenizer.convert_tokens_to_ids(around.end_of_turn)) == 1
    assert tokenizer.decode(ids).strip() == response + around.end_of_turn


def test_a_long_prompt_loses_its_beginning_and_the_response_keeps_its_end(tokenizer):
    opening = [user("How do I pick a lock? " * 60)]
    whole = encode(tokenizer, Sample("x", opening, "I will not help."), 4096)
    cut = encode(tokenizer, Sample("x", opening, "I will not help."), 200)
    assert cut.truncated
    assert not whole.truncated
    assert len(cut.input_ids) == len(cut.labels) == 200
    assert learned(cut) == learned(whole)
    assert cut.input_ids[1:] == whole.input_ids[-199:]
    first = whole.input_ids[0] if tokenizer.bos_token else whole.input_ids[-200]
    assert cut.input_ids[0] == first


def test_a_long_response_loses_its_end_and_is_not_taught_to_end_there(tokenizer):
    opening, response = [user("Hi")], "I will not help. " * 60
    whole, cut = (encode(tokenizer, Sample("x", opening, response), length) for length in (4096, 200))
    assert cut.truncated
    assert cut.input_ids == whole.input_ids[:200]
    assert learned(cut) == learned(whole)[: cut.supervised]
    assert tokenizer.convert_tokens_to_ids(frame(tokenizer).end_of_turn) not in learned(cut)


def test_where_both_are_long_each_gets_half(tokenizer):
    cut = encode(tokenizer, Sample("x", [user("How do I pick a lock? " * 60)], "I will not help. " * 60), 200)
    assert len(cut.input_ids) == 200
    assert cut.supervised == 100


def test_what_just_fits_is_whole(tokenizer):
    whole = encode(tokenizer, Sample("x", [user("Hi")], "I will not help. " * 9), 4096)
    assert encode(tokenizer, Sample("x", [user("Hi")], "I will not help. " * 9), len(whole.input_ids)) == whole
    assert encode(tokenizer, Sample("x", [user("Hi")], "I will not help. " * 9), len(whole.input_ids) - 1).truncated


def test_no_room_for_the_template_is_an_error(tokenizer):
    with pytest.raises(
        UserError, match=r"row 00ff: none of its response is left .* of 8 tokens. Raise data.max_length"
    ):
        encode(tokenizer, Sample("00ff", [user("Hi")], "No."), 8)


def test_a_prompt_and_a_response_do_not_melt_together(chatml):
    """`: ` in front of a word is another token than the word with its blank, which no model writes here."""
    chatml.chat_template = (
        "{% for m in messages %}{{ m.role }}: {{ m.content }}{% if m.role == 'assistant' %}<|im_end|>{% endif %}\n"
        "{% endfor %}{% if add_generation_prompt %}assistant: {% endif %}"
    )
    example = encode(chatml, Sample("x", [user("Hi")], "not today."), 4096)
    asked = engines.Transcripts(chatml).encode([user("Hi")])
    assert example.input_ids != worded(chatml, [user("Hi")], "not today.")
    assert example.input_ids[: len(asked)] == asked
    assert chatml.decode(learned(example)) == "not today.<|im_end|>"


def test_thoughts_that_are_closed_are_read_and_not_learned(chatml):
    chatml.chat_template = CHATML.replace("assistant\n{% endif", "assistant\n<think>\n\n</think>\n\n{% endif")
    example = encode(chatml, Sample("x", [user("Hi")], "No."), 4096)
    assert chatml.decode(example.input_ids).endswith("assistant\n<think>\n\n</think>\n\nNo.<|im_end|>")
    assert chatml.decode(learned(example)) == "No.<|im_end|>"


def test_empty_thoughts_in_the_answer_alone_are_left_out(chatml):
    chatml.chat_template = CHATML.replace(
        "{{ m.content }}", "{% if m.role == 'assistant' %}<think>\n\n</think>\n\n{% endif %}{{ m.content }}"
    )
    example = encode(chatml, Sample("x", [user("Hi")], "No."), 4096)
    assert chatml.decode(learned(example)) == "No.<|im_end|>"
    assert "<think>" not in chatml.decode(example.input_ids)  # nobody writes it where the model is asked


@pytest.mark.parametrize("opening", OPENINGS.values(), ids=OPENINGS)
@pytest.mark.parametrize("response", RESPONSES)
@pytest.mark.parametrize("arguments", [None, {"enable_thinking": True}, {"enable_thinking": False}])
@pytest.mark.parametrize("family", THINKING)
def test_a_template_that_thinks_is_learned_behind_what_a_model_is_asked(family, arguments, response, opening):
    tokenizer, plain = with_arguments(THINKING[family](), arguments), THINKING[family]()
    example = encode(tokenizer, Sample("x", opening, response), 4096)
    asked = plain.apply_chat_template(opening, add_generation_prompt=True, return_dict=True, **(arguments or {}))[
        "input_ids"
    ]
    assert example.input_ids[: len(asked)] == asked == engines.Transcripts(tokenizer).encode(opening)
    assert example.labels == [IGNORED] * len(asked) + example.input_ids[len(asked) :]
    assert tokenizer.decode(learned(example)) == response + "<|im_end|>"
    if arguments == {"enable_thinking": False}:
        assert example.input_ids == worded(plain, opening, response)


UNFIT = {
    "has no chat template": None,
    "has no assistant's turn": "{% for m in messages %}{% if m.role == 'user' %}{{ m.content }}<|im_end|>{% endif %}"
    "{% endfor %}",
    "ignores add_generation_prompt": CHATML.replace("add_generation_prompt", "false"),
    "words the prompt differently": "{% if messages[-1].role == 'user' %}Reply: {% endif %}" + CHATML,
    "puts no special token behind a response": "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}assistant:{% endif %}",
    "begins the assistant's turn with <think>": CHATML.replace("assistant\n{% endif", "assistant\n<think>\n{% endif"),
    "refuses a conversation: no assistants": "{% for m in messages %}{% if m.role == 'assistant' %}"
    "{{ raise_exception('no assistants') }}{% endif %}{{ m.content }}{% endfor %}",
}


@pytest.mark.parametrize(("message", "template"), UNFIT.items(), ids=UNFIT)
def test_a_template_that_is_not_fit_says_why(chatml, message, template):
    chatml.chat_template = template
    with pytest.raises(UserError, match=message):
        encode(chatml, Sample("x", [user("Hi")], "No."), 4096)


@pytest.mark.real
@pytest.mark.parametrize("make", real_tokenizers().values(), ids=real_tokenizers())
@pytest.mark.parametrize("opening", OPENINGS.values(), ids=OPENINGS)
def test_real_tokenizers(make, opening):
    tokenizer = make()
    if not tokenizer.chat_template:
        pytest.skip("has no chat template")
    response = RESPONSES[1]
    example = encode(tokenizer, Sample("x", opening, response), 4096)
    asked = engines.Transcripts(tokenizer).encode(opening)
    assert example.input_ids[: len(asked)] == asked
    assert tokenizer.decode(learned(example)).strip().endswith(response + frame(tokenizer).end_of_turn)
    beginnings = str(render(tokenizer, opening, prompt=True)).count(tokenizer.bos_token or "\0")
    assert example.input_ids.count(tokenizer.bos_token_id) == beginnings  # SmolLM2's begins every turn
    if opening[0] is not SYSTEM and "think" not in tokenizer.chat_template:
        assert example.input_ids == worded(tokenizer, opening, response)
