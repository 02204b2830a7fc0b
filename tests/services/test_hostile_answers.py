"""A body that no server should send is told from an answer, and never ends a run with a traceback."""

import asyncio
from types import SimpleNamespace

import pytest
from servers import Answer, serving

from cai_lightning.run.errors import ReplyError
from cai_lightning.services.http import Servers
from cai_lightning.services.ollama import read_chat
from cai_lightning.services.openai import list_models, read_completion, read_moderated

DEEP = b"[" * 200_000
ENDLESS = b'{"choices": [{"message": {"content": "x"}}], "usage": {"prompt_tokens": 1e999}}'
ONCE = SimpleNamespace(api_key_variable=None, timeout=5.0, max_retries=0, max_wait=0.0)


def ask(body, read):
    with serving(lambda *_: Answer(body)) as server:
        servers = Servers(ONCE, [server.url], "base_url")
        return asyncio.run(servers.ask("/chat/completions", {"model": "m"}, read))


@pytest.mark.parametrize("read", [read_completion, read_moderated, read_chat])
@pytest.mark.parametrize("body", [DEEP, b'{"a": ' * 200_000, b"[]", b"null", b'"', b"\xff\xfe", b"", ENDLESS])
def test_a_body_that_is_no_answer_is_none(read, body):
    with pytest.raises(ReplyError, match=r"/v1: no answer to /chat/completions, but:") as failure:
        ask(body, read)
    assert len(str(failure.value)) < 400


@pytest.mark.parametrize("body", [DEEP, b"[1]", b'{"data": null}', b'{"error": "not found"}'])
def test_a_list_of_models_that_is_none_names_none(body):
    assert list_models(SimpleNamespace(look=lambda *_: SimpleNamespace(content=body))) == []
