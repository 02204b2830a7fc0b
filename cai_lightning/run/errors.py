"""Errors: those that a user can mend, which the command line prints without a traceback; and memory that ran out."""

OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "_ALLOC_FAILED", "not enough memory: you tried to allocate")
"""What plain errors say: CUDA and its drivers, the CPU's allocator, cuBLAS and cuDNN, other allocators."""


class UserError(Exception):
    """Something the user can put right: a missing file, a malformed row, a model that cannot be found.

    The message names the file, the line and the value, and what to do next.
    """


class WriteError(UserError):
    """A file cannot be written, so no work can go on until that is put right."""


class ReplyError(Exception):
    """One reply could not be had, though it was tried again; its row is set aside with this reason, the others go on.

    Attributes:
        stage: The reply that failed: `response`, or `critique N` and `revision N`, rounds counted from 1.
    """

    stage: str = "response"


def first_sentence(error: BaseException) -> str:
    """The first sentence of what an error says, without its full stop, or else its type."""
    line = next(iter(str(error).strip().splitlines()), type(error).__name__)
    return line.split(". ")[0].rstrip(".")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out, on whichever device and in whichever library; only some say so by their type."""
    by_type = isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"  # torch's, without torch
    return by_type or any(sign in str(error) for sign in OUT_OF_MEMORY)
