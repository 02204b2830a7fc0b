"""A server that speaks Ollama's protocol, with a judge behind it that a function plays."""

import json
from contextlib import contextmanager

from servers import Answer, serving

from cai_lightning.services.judge import cut_out

DIGEST = "365c0bd3c000a25d28ddbf732fe1c6add414de7275464c4e4d1c3b5fcb5d8ad1"
PAGES = {
    "/api/tags": Answer(
        {"models": [{"name": "llama3.1:latest", "digest": DIGEST}, {"name": "other:7b", "digest": "f00d"}]}
    ),
    "/api/show": Answer({"model_info": {"llama.context_length": 131_072, "general.architecture": "llama"}}),
}


def said(content, done_reason="stop", **changes):
    """What Ollama answers; JSON is written out first, as the model would."""
    text = content if isinstance(content, str) else json.dumps(content)
    message = {"role": "assistant", "content": text}
    counts = {"prompt_eval_count": 700, "eval_count": 40}
    return {"model": "llama3.1", "message": message, "done": True, "done_reason": done_reason, **counts, **changes}


def texts(request):
    """The texts that a request asks to judge, each with its name."""
    return cut_out(request["messages"][-1]["content"])


def verdict(helpfulness=4, refusal=5, rationale="It is fine.", **changes):
    return {"rationale": rationale, "helpfulness": helpfulness, "refusal": refusal, **changes}


@contextmanager
def judging(script, **pages):
    with serving(script, {**PAGES, **pages}) as server:
        yield server
