"""What a chat template puts around a response, found by asking it.

    around = frame(tokenizer)  # around.before, around.end

No list of templates is kept. A word that stands for a response is put into a conversation of one question, and what
stands around it is read off.
"""

import re
from dataclasses import dataclass
from functools import lru_cache
from itertools import takewhile

from transformers import PreTrainedTokenizerBase

from cai_lightning.errors import UserError
from cai_lightning.records import assistant, user
from cai_lightning.template import control_tokens, render, tokens
from cai_lightning.thoughts import CLOSE, OPEN

QUESTION = user("Lorem")
RESPONSE = "Ipsum"
_EMPTY_THOUGHT = re.compile(rf"{OPEN}\s*{CLOSE}\s*")


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
