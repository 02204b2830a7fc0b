"""Conversations in the words of a model's chat template: what is asked and what is trained on are worded here alike.

    text = render(tokenizer, [user("How do I pick a lock?")], prompt=True)
    around = frame(tokenizer)  # around.before, around.end: what stands around a response

No list of templates is kept. A word that stands for a response is put into a conversation of one question, and what
stands around it is read off.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import takewhile
from typing import Any

from jinja2 import TemplateError
from transformers import PreTrainedTokenizerBase

from cai_lightning.run.errors import UserError
from cai_lightning.run.records import Conversation, assistant, user
from cai_lightning.run.text import CLOSE, OPEN

FAILURES = (TemplateError, ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError)
"""What a template can raise: it is a program that came with the model."""

GIVEN = frozenset({"messages", "tools", "documents", "add_generation_prompt"})
"""What a template is always told, so that no setting can tell it."""

QUESTION = user("Lorem")
RESPONSE = "Ipsum"
"""Words that stand for a question and its response."""

_EMPTY_THOUGHT = re.compile(rf"{OPEN}\s*{CLOSE}\s*")


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
    refusal = None
    for turns in (conversation, _without_system(conversation)):
        try:
            return str(tokenizer.apply_chat_template(turns, add_generation_prompt=prompt, tokenize=False))
        except FAILURES as error:
            refusal = error
    raise UserError(f"the chat template of {tokenizer.name_or_path!r} refuses a conversation: {refusal}") from refusal


def tokens(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    """The tokens of a rendered text, which has its beginning-of-text token where the template wants one."""
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])


def control_tokens(tokenizer: PreTrainedTokenizerBase) -> tuple[str, ...]:
    """All special tokens, also those that have no role among the tokenizer's own; no word melts into them."""
    added = {token.content for token in tokenizer.added_tokens_decoder.values() if token.special}
    return tuple(sorted(added | set(tokenizer.all_special_tokens)))


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


@dataclass(frozen=True)
class Frame:
    """What stands around a response, behind the words that begin the assistant's turn.

    Args:
        before: Between them and the response, such as the blank of Mistral's `[/INST] `.
        end: Behind it, up to and including the first special token: what ends the turn. It is the tokenizer's
            `eos_token` in some templates, and another one in Llama-3's and Gemma's.
        end_of_turn: That token.
        control: All special tokens, also those that have no role among the tokenizer's own.
        length: Tokens of a conversation with hardly a word of its own.
    """

    before: str
    end: str
    end_of_turn: str
    control: tuple[str, ...]
    length: int


def frame(tokenizer: PreTrainedTokenizerBase) -> Frame:
    """What the tokenizer's chat template puts around a response.

    Raises:
        UserError: The template has no assistant's turn, does not say where it begins or does not end it, words the
            question differently once a response follows, or begins with thoughts that are not there.
    """
    return _frame(tokenizer, str(tokenizer.chat_template))


@lru_cache(maxsize=8)
def _frame(tokenizer: PreTrainedTokenizerBase, template: str) -> Frame:
    start = render(tokenizer, [QUESTION], prompt=True)
    whole = render(tokenizer, [QUESTION, assistant(RESPONSE)], prompt=False)
    if RESPONSE not in whole:
        raise _unfit(tokenizer, "has no assistant's turn: it leaves out what the assistant says")
    asked, _, behind = whole.partition(RESPONSE)
    before = _before(tokenizer, start, asked)
    control = control_tokens(tokenizer)
    found = [(behind.find(token), -len(token), token) for token in control if token in behind]
    if not found:
        raise _unfit(tokenizer, "puts no special token behind a response, so that a model would not learn to end")
    place, _, token = min(found)
    end = behind[:place] + token
    return Frame(before, end, token, control, len(tokens(tokenizer, start + before + end)))


def _before(tokenizer: PreTrainedTokenizerBase, start: str, asked: str) -> str:
    """What is written between the prompt, as a model is asked, and the response.

    A thought that is left empty, as Qwen3's template has it, is not: nobody writes it where the model is asked.
    """
    if start.rstrip().endswith(OPEN):
        raise _unfit(
            tokenizer,
            f"begins the assistant's turn with {OPEN}, and revisions have no thoughts to put there; some templates "
            "leave it out with chat_template_kwargs, such as {enable_thinking: false}",
        )
    before, more = _EMPTY_THOUGHT.sub("", _unshared(asked, start)), _unshared(start, asked)
    if not more:
        if before.strip() and start == render(tokenizer, [QUESTION], prompt=False):
            raise _unfit(tokenizer, "does not say where the assistant's turn begins: it ignores add_generation_prompt")
        return before
    if before.strip() or QUESTION["content"] in more:
        raise _unfit(tokenizer, "words the prompt differently once the response follows")
    return ""


def _unshared(text: str, other: str) -> str:
    """The text without the characters that both begin with."""
    return text[sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(text, other, strict=False))) :]


def _unfit(tokenizer: PreTrainedTokenizerBase, why: str) -> UserError:
    return UserError(f"the chat template of {tokenizer.name_or_path!r} {why}. Give it another one.")
