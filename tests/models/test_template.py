"""Conversations are worded by the model's own template, and what it refuses is said."""

import pytest
from transformers import AutoTokenizer

from cai_lightning.models.template import render, tokens
from cai_lightning.run.errors import UserError
from cai_lightning.run.records import assistant, user

NO_SYSTEM = (
    "{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('no system turns here') }}{% endif %}"
    "{{ m.role }}: {{ m.content }}\n{% endfor %}{% if add_generation_prompt %}assistant:{% endif %}"
)
SYSTEM = {"role": "system", "content": "Be brief."}


@pytest.fixture
def tokenizer(tiny_model):
    return AutoTokenizer.from_pretrained(tiny_model)


@pytest.mark.parametrize("prompt", [True, False])
def test_it_is_the_tokenizers_own_wording(tokenizer, prompt):
    conversation = [user("Hi"), assistant("Hello"), user("How?")]
    text = render(tokenizer, conversation, prompt)
    assert text == tokenizer.apply_chat_template(conversation, add_generation_prompt=prompt, tokenize=False)
    own = tokenizer.apply_chat_template(conversation, add_generation_prompt=prompt, return_dict=True)["input_ids"]
    assert tokens(tokenizer, text) == own


def test_a_system_turn_that_is_refused_goes_in_front_of_the_question(tokenizer):
    tokenizer.chat_template = NO_SYSTEM
    text = render(tokenizer, [SYSTEM, user("Hi"), assistant("Hello"), user("How?")], prompt=True)
    assert text == "user: Be brief.\n\nHi\nassistant: Hello\nuser: How?\nassistant:"


@pytest.mark.parametrize("conversation", [[SYSTEM], [user("Hi"), SYSTEM], [SYSTEM, user("Hi"), SYSTEM]])
def test_what_is_refused_all_the_same_is_said(tokenizer, conversation):
    tokenizer.chat_template = NO_SYSTEM
    with pytest.raises(UserError, match="refuses a conversation: no system turns here"):
        render(tokenizer, conversation, prompt=True)


@pytest.mark.parametrize("template", ["{{ 1 / 0 }}", "{{ messages + 1 }}", "{{ 10**400 / 2 }}", "{{ a() }}"])
def test_a_template_that_fails_is_named(tokenizer, template):
    tokenizer.chat_template = template
    with pytest.raises(UserError, match=r"the chat template of .* refuses a conversation: "):
        render(tokenizer, [SYSTEM, user("Hi")], prompt=True)


def test_no_template_is_said(tokenizer):
    tokenizer.chat_template = None
    with pytest.raises(UserError, match=r"has no chat template\. Name a model that was tuned to chat"):
        render(tokenizer, [user("Hi")], prompt=True)
