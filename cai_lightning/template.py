"""Conversations in the words of a model's chat template: what is asked and what is trained on are worded here alike.

text = render(tokenizer, [user("How do I pick a lock?")], prompt=True)
"""

import json
from collections.abc import Mapping
from typing import Any

from jinja2 import TemplateError
from transformers import PreTrainedTokenizerBase

from cai_lightning.errors import UserError
from cai_lightning.records import Conversation, user

FAILURES = (TemplateError, ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError)
"""What a template can raise: it is a program that came with the model."""

GIVEN = frozenset({"messages", "tools", "documents", "add_generation_prompt"})
"""What a template is always told, so that no setting can tell it."""


def with_arguments(tokenizer: PreTrainedTokenizerBase, arguments: Mapping[str, Any] | None) -> PreTrainedTokenizerBase:
    """Writes arguments such as `enable_thinking` into a tokenizer's chat template, which then has them wherever it is
    used, also where it is saved with what was trained on its words.

    Args:
        tokenizer: It is changed.
        arguments: Their names and values; a caller who gives the template a value of his own overrides it.

    Raises:
        UserError: A name is no argument of a template.
    """
    for name in arguments or ():
        if not name.isidentifier() or name in GIVEN or name in tokenizer.special_tokens_map:
            raise UserError(f"chat_template_kwargs: {name!r} is no argument of a chat template that can be set.")
    defaults = "".join(
        f"{{% if {name} is not defined %}}{{% set {name} = {_literal(value)} %}}{{% endif %}}"
        for name, value in (arguments or {}).items()
    )
    template = tokenizer.chat_template
    if isinstance(template, dict):
        tokenizer.chat_template = {name: defaults + text for name, text in template.items()}
    elif template:
        tokenizer.chat_template = defaults + template
    return tokenizer


def render(tokenizer: PreTrainedTokenizerBase, conversation: Conversation, prompt: bool) -> str:
    """The text of a conversation.

    Some templates, such as Gemma's, refuse a system turn; its words are then put in front of the first user turn, a
    blank line between them, which is what the makers of these models advise.

    Args:
        tokenizer: Its chat template words the turns.
        conversation: The turns.
        prompt: Ends with the words that begin the assistant's next turn.

    Raises:
        UserError: There is no chat template, or it refuses the conversation.
    """
    if not tokenizer.chat_template:
        raise UserError(
            f"tokenizer {tokenizer.name_or_path!r} has no chat template. Name a model that was tuned to chat, or put "
            "a chat_template.jinja into its folder."
        )
    try:
        return _apply(tokenizer, conversation, prompt)
    except FAILURES as error:
        folded = _without_system(conversation)
        if folded == conversation:
            raise _refused(tokenizer, error) from error
    try:
        return _apply(tokenizer, folded, prompt)
    except FAILURES as error:
        raise _refused(tokenizer, error) from error


def tokens(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    """The tokens of a rendered text, which has its beginning-of-text token where the template wants one."""
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])


def control_tokens(tokenizer: PreTrainedTokenizerBase) -> tuple[str, ...]:
    """All special tokens, also those that have no role among the tokenizer's own; no word melts into them."""
    added = {token.content for token in tokenizer.added_tokens_decoder.values() if token.special}
    return tuple(sorted(added | set(tokenizer.all_special_tokens)))


def _apply(tokenizer: PreTrainedTokenizerBase, conversation: Conversation, prompt: bool) -> str:
    return str(tokenizer.apply_chat_template(conversation, add_generation_prompt=prompt, tokenize=False))


def _literal(value: Any) -> str:
    """A value of a YAML file as Jinja writes it."""
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{_literal(key)}: {_literal(inner)}' for key, inner in value.items())}}}"
    if isinstance(value, list):
        return f"[{', '.join(map(_literal, value))}]"
    return "none" if value is None else json.dumps(value, ensure_ascii=False)


def _without_system(conversation: Conversation) -> Conversation:
    if [turn["role"] for turn in conversation[:2]] != ["system", "user"]:
        return conversation
    system, asked, *rest = conversation
    return [user(f"{system['content']}\n\n{asked['content']}"), *rest]


def _refused(tokenizer: PreTrainedTokenizerBase, error: Exception) -> UserError:
    return UserError(f"the chat template of {tokenizer.name_or_path!r} refuses a conversation: {error}")
