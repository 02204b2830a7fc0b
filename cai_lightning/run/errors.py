"""The error that a user can cause and mend; the command line prints it without a traceback and exits with 1."""


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
