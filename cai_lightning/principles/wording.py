"""The only place where conversations are worded: openings, critiques, revisions, preferences.

Every turn extends the conversation before it, so that an engine's prefix cache hits. Few-shot examples are turns like
any other, put in front.
"""

from cai_lightning.principles.constitution import Principle
from cai_lightning.run.records import AboutPrompt, Conversation, assistant, user

NO_META_COMMENTARY = "Do not provide meta-commentary; respond as the assistant would."

OPTIONS = ("(A)", "(B)")
"""How the answer to a question of preference begins."""

ANSWER, REASONS, VERDICT = CUES = ("The answer is:", "Let's think step by step:", "So the answer is:")
"""The ends of questions of preference: for an answer at once, for a chain of thought, and for the answer behind it."""


def opening(prompt: AboutPrompt) -> Conversation:
    """The conversation that the model answers first: the prompt, or the transcript up to its last human turn."""
    return list(prompt.turns) if prompt.turns else [user(prompt.prompt)]


def answered(conversation: Conversation, reply: str) -> Conversation:
    """The conversation with the assistant's reply at its end."""
    return [*conversation, assistant(reply)]


def critique(conversation: Conversation, principle: Principle) -> Conversation:
    """Asks for a critique of the last response (Bai et al. 2022, section 3.1)."""
    return [*conversation, user(principle.critique_request)]


def revision(conversation: Conversation, principle: Principle, suffix: str = NO_META_COMMENTARY) -> Conversation:
    """Asks for a revision of the last response; `suffix` is put behind the principle's request."""
    return [*conversation, user(f"{principle.revision_request} {suffix}".strip())]


def question(conversation: Conversation, asked: str, first: str, second: str, reasoned: bool = False) -> str:
    """The question which of two responses is better, to the byte as the paper's files word it (section 4.1).

    Args:
        conversation: What they respond to.
        asked: By what they are compared.
        first: The response that stands as `(A)`.
        second: That which stands as `(B)`.
        reasoned: Whether a chain of thought is asked for, and not yet an answer.
    """
    head, speakers, cue = _REASONED if reasoned else _AT_ONCE
    dialogue = "".join(f"\n\n{speakers[turn['role']]}: {turn['content']}" for turn in conversation)
    return f"{head}{dialogue}\n\n\n{asked} Options:\n (A) [[[{first}]]]\n (B) [[[{second}]]]\n\n{cue}"


def preference(
    conversation: Conversation, asked: str, first: str, second: str, *, reasoned: bool = False
) -> Conversation:
    """The same as a turn of its own; the reply begins with one of the `OPTIONS`, or is a chain of thought."""
    return [user(question(conversation, asked, first, second, reasoned).strip())]


def verdict(conversation: Conversation, thought: str) -> Conversation:
    """Asks for the answer behind a chain of thought; the reply begins with one of the `OPTIONS`."""
    return [*answered(conversation, thought), user(VERDICT)]


def dialogue(conversation: Conversation) -> str:
    """The turns with their speakers, a blank line between them, as a text inside of a question."""
    return "\n\n".join(f"{_AT_ONCE[1][turn['role']]}: {turn['content']}" for turn in conversation)


def plain(conversation: Conversation) -> str:
    """The conversation without a chat template, its turns joined by blank lines, as in the original experiment.

    A reply to one of the `CUES` goes on in the same line, as in the paper's files; the blank before it is its own.
    """
    text = "".join(turn["content"] + (" " if turn["content"].endswith(CUES) else "\n\n") for turn in conversation)
    return text.removesuffix(" ") if text.removesuffix(" ").endswith(CUES) else text


def starling(conversation: Conversation) -> str:
    """The conversation as Starling-RM-7B-alpha reads it, its special tokens in the text.

    One exchange is worded as on the model card; several follow each other, each with its `<s>`, as Llama 2 words them.
    """
    text, system = "", ""
    for turn in conversation:
        if turn["role"] == "system":
            system = f"<<SYS>>\n{turn['content']}\n<</SYS>>\n\n"
        elif turn["role"] == "user":
            text += f"<s>[INST] {system}{turn['content']} </s> [/INST]"
            system = ""
        else:
            text += f" {turn['content']}</s>"
    return text if text.startswith("<s>") else f"<s>{text}"


_AT_ONCE = (
    "\n\nConsider the following conversation between a human and an assistant:",
    {"system": "System", "user": "Human", "assistant": "Assistant"},
    ANSWER,
)
_REASONED = (
    "Consider the following conversation between a human (H) and an assistant (A):",
    {"system": "System", "user": "H", "assistant": "A"},
    REASONS,
)
