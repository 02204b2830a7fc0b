"""The openai engine against a real server: `transformers serve` with the sandbox's chat model."""

import asyncio
import socket
import subprocess
import sys
import time
import urllib.request
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml

from cai_lightning.cli.main import main
from cai_lightning.engines import OpenAIEngine, Sampling, TransformersEngine
from cai_lightning.run import jsonl
from cai_lightning.run.errors import ReplyError, UserError
from cai_lightning.run.records import user

ROOT = Path(__file__).parents[2]
MODEL = str(ROOT / "checkpoints" / "sandbox" / "chat")
QUESTIONS = ["How do I bake bread?", "How do I paint a fence?", "What is a good way to repair a bike?", "Hello!"]
GREEDY = Sampling(temperature=0, max_new_tokens=24)


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = tmp_path_factory.mktemp("serve") / "log"
    program = [str(Path(sys.executable).parent / "transformers"), "serve", MODEL, "--device", "cpu"]
    arguments = [*program, "--dtype", "float32", "--host", "127.0.0.1", "--port", str(port)]
    with log.open("w") as file, subprocess.Popen(arguments, stdout=file, stderr=file) as server:
        try:
            wait_for(f"http://127.0.0.1:{port}/health", server, log)
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            server.terminate()


def wait_for(health, server, log):
    while server.poll() is None:
        try:
            with urllib.request.urlopen(health, timeout=10):
                return
        except OSError:
            time.sleep(0.1)
    pytest.fail(log.read_text())


def replies(engine, texts):
    async def together():
        return await asyncio.gather(*(engine.reply([user(text)], text) for text in texts))

    engine.start(torch.device("cpu"))
    answers = asyncio.run(together())
    engine.stop()
    return answers


def test_several_replies_at_once_are_those_of_the_embedded_engine(url):
    served = replies(OpenAIEngine(MODEL, [url], GREEDY), QUESTIONS)
    embedded = replies(TransformersEngine(MODEL, GREEDY, dtype="float32"), QUESTIONS)
    assert served == [replace(reply, prompt_ids=None, token_ids=None) for reply in embedded]
    assert {reply.finish_reason for reply in served} == {"stop", "length"}


def test_a_stop_string_is_no_part_of_a_reply(url):
    (whole,) = replies(OpenAIEngine(MODEL, [url], GREEDY), QUESTIONS[:1])
    stop = whole.text.split()[3]
    (cut,) = replies(OpenAIEngine(MODEL, [url], Sampling(0, max_new_tokens=24, stop=[stop])), QUESTIONS[:1])
    assert cut.text == whole.text.partition(stop)[0].strip()
    assert (cut.finish_reason, cut.tokens < whole.tokens) == ("stop", True)


def test_it_refuses_to_choose_without_probabilities(url):
    engine = OpenAIEngine(MODEL, [url])
    engine.start(torch.device("cpu"))
    with pytest.raises(UserError, match="does not tell probabilities"):
        asyncio.run(engine.choose([user("Which one, (A) or (B)?")], ["(A)", "(B)"]))


def test_a_wrong_model_is_said(url):
    with pytest.raises(ReplyError, match=r"status 400: .*Server is pinned to"):
        replies(OpenAIEngine("another", [url]), QUESTIONS[:1])


def test_predict_revises_by_it(url, tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    sampling = {"temperature": 1.0, "top_p": 0.95, "max_new_tokens": 48}
    engine = {
        "class_path": "cai_lightning.engines.OpenAIEngine",
        "init_args": {"model": MODEL, "base_urls": [url], "sampling": sampling, "concurrency": 4},
    }
    served = {
        "extends": str(ROOT / "configs" / "sandbox_contextual.yaml"),
        "shared": {"engine": engine},
        "predict": {"model": {"init_args": {"revisions": 1}}},
    }
    (tmp_path / "served.yaml").write_text(yaml.safe_dump(served))
    command = ["predict", "--config", str(tmp_path / "served.yaml"), "--run", str(tmp_path / "run"), "--data.limit"]
    assert main([*command, "3"]) == 0
    assert main([*command, "4", "--model.engine.init_args.concurrency", "1"]) == 0
    rows = [row for _, row in jsonl.read_lines(tmp_path / "run" / "revisions.jsonl")]
    assert len({row["id"] for row in rows}) == len(rows) == 4
    assert {row["engine"] for row in rows} == {"OpenAIEngine"}
    assert all(row["initial_response"] and row["rounds"][0]["critique"] and row["revision"] for row in rows)
    assert all(len(row["finish_reasons"]) == 3 for row in rows)
