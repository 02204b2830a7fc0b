"""A body that no server should send is told from an answer, and never ends a run with a traceback."""

import pytest

from cai_lightning.services.ollama import _read_answer
from cai_lightning.services.openai import read_completion, read_models, read_moderated

DEEP = b"[" * 200_000
ENDLESS = b'{"choices": [{"message": {"content": "x"}}], "usage": {"prompt_tokens": 1e999}}'


@pytest.mark.parametrize("read", [read_completion, read_moderated, _read_answer])
@pytest.mark.parametrize("body", [DEEP, b'{"a": ' * 200_000, b"[]", b"null", b'"', b"\xff\xfe", b""])
def test_a_body_that_is_no_answer_is_a_value_error(read, body):
    with pytest.raises(ValueError, match=r"^no (chat|moderation)"):
        read(body)


def test_a_count_without_end_is_no_completion():
    with pytest.raises(ValueError, match="no chat completion"):
        read_completion(ENDLESS)


def test_a_list_of_models_that_is_none_names_none():
    assert read_models(DEEP) == read_models(b"[1]") == []
