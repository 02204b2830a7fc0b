"""Whether a server has read the whole of a question: some cut one that is too long, and say nothing.

Ollama does. It then keeps half of the context and counts what it has kept, so that its count alone looks well
(ollama/ollama issues 17427 and 3427). No single sign is certain, so there are several.
"""

MOST_BYTES_PER_TOKEN = 8
"""English has 4 to 5 bytes a token, other languages fewer; a text of more than 8 has been cut, or cannot fit."""

TEMPLATE_TOKENS = 256
"""What a chat template puts around the messages, at most."""

HALF = 8
"""How far from half of the context a count may be that still looks like it."""


def why_too_long(size: int, max_tokens: int, context: int) -> str | None:
    """Why a question clearly cannot fit; None where it may.

    Args:
        size: Bytes of the messages.
        max_tokens: Tokens that the answer needs.
        context: Tokens of question and answer together.
    """
    if size / MOST_BYTES_PER_TOKEN + max_tokens <= context:
        return None
    return f"{size} bytes of question and {max_tokens} tokens of answer do not fit into {context} tokens; raise num_ctx"


def why_cut(size: int, read: int | None, max_tokens: int, context: int) -> str | None:
    """Why a server has not read the whole question, or may not have; None where it has.

    Args:
        size: Bytes of the messages.
        read: Tokens of the question that the server says it has read; None where it does not say.
        max_tokens: Tokens that the answer may have.
        context: Tokens of question and answer together.
    """
    if size + TEMPLATE_TOKENS + max_tokens <= context:
        return None
    if read is None:
        return "the server does not say how much of this long question it has read"
    if read >= context or abs(read - context // 2) <= HALF or size > MOST_BYTES_PER_TOKEN * read:
        return f"the server has read {read} tokens of a question of {size} bytes: it was cut; raise num_ctx"
    return None
