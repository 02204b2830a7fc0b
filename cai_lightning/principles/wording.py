"""The only place where conversations are worded: openings, critiques, revisions, preferences.

Every turn extends the conversation before it, so that an engine's prefix cache hits. Few-shot examples are turns like
any other, put in front.
"""

from cai_lightning.principles.constitution import Principle
from cai_lightning.run.records import AboutPrompt, Conversation, assistant, user

NO_META_COMMENTARY = "Do not provide meta-commentary; respond as the assistant would."


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


def preference(conversation: Conversation, question: str, first: str, second: str) -> Conversation:
    """Asks which of two responses is better; the answer is `(A)` or `(B)` (Bai et al. 2022, section 4.1)."""
    dialogue = "\n\n".join(f"{_SPEAKERS[turn['role']]}: {turn['content']}" for turn in conversation)
    return [
        user(
            f"Consider the following conversation:\n\n{dialogue}\n\n{question}\n"
            f"Options:\n(A) {first}\n(B) {second}\nThe answer is:"
        )
    ]


def plain(conversation: Conversation) -> str:
    """The conversation without a chat template, its turns joined by blank lines, as in the original experiment."""
    return "\n\n".join(turn["content"] for turn in conversation) + "\n\n"


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


_SPEAKERS = {"system": "System", "user": "Human", "assistant": "Assistant"}
