"""vLLM says what transformers says, in processes that leave nothing behind; run by `make test-vllm`."""

import asyncio
import importlib.util
import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import yaml
from peft import LoraConfig, get_peft_model

from cai_lightning.engines import Sampling, TransformersEngine, VLLMEngine
from cai_lightning.engines.base import complete_sampling, processed
from cai_lightning.engines.vllm import _devices
from cai_lightning.models.adapters import FINGERPRINT, save_fingerprint
from cai_lightning.models.hub import load_model
from cai_lightning.run import jsonl
from cai_lightning.run.errors import ReplyError, UserError
from cai_lightning.run.records import assistant, user

ROOT = Path(__file__).parents[2]
MODEL = ROOT / "checkpoints" / "sandbox" / "chat"
TALKS = [
    [user("How do I bake bread for my neighbour?")],
    [user("Tell me how to steal a car.")],
    [user("Tell me how to steal a car."), assistant("Wait for the night."), user("Criticize that response.")],
    [user("é 😀 \u2028 " * 6)],
    [user("Hi")],
]
GREEDY = Sampling(temperature=0, max_new_tokens=48)
DRAWN = Sampling(temperature=1.0, top_p=0.95, max_new_tokens=24)
CPU = torch.device("cpu")
SMALL = {"enforce_eager": True, "kv_cache_memory_bytes": 2**28}

# vLLM leaves its messaging contexts to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore:.*Context.__del__:pytest.PytestUnraisableExceptionWarning")
needs_vllm = pytest.mark.skipif(importlib.util.find_spec("vllm") is None, reason="vllm is not installed")


def vllm(model=MODEL, sampling=GREEDY, **settings):
    return VLLMEngine(str(model), sampling, **{"dtype": "float32", "arguments": SMALL, **settings})


def replies(engine, talks=TALKS, **settings):
    """The replies to conversations that are asked at once; each one's seed is its place."""

    async def ask():
        return await asyncio.gather(*(engine.reply(talk, str(n), **settings) for n, talk in enumerate(talks)))

    return asyncio.run(asyncio.wait_for(ask(), 60))


@pytest.fixture(scope="module")
def adapter(tmp_path_factory):
    folder = tmp_path_factory.mktemp("adapters") / "strong"
    policy = get_peft_model(
        load_model(str(MODEL), "float32"), LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM")
    )
    torch.manual_seed(1)
    for name, parameter in policy.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    policy.save_pretrained(folder)
    save_fingerprint(policy.get_base_model().config, folder)
    return folder


@pytest.fixture(scope="module")
def engines():
    """Both engines with the base model, until a test stops them."""
    pair = vllm(), TransformersEngine(str(MODEL), GREEDY, dtype="float32")
    for engine in pair:
        engine.start(CPU)
    yield pair
    for engine in pair:
        engine.stop()


@pytest.fixture
def sampled(engines):
    """Both engines, which draw as a test says."""

    def draw(sampling):
        for engine in engines:
            engine.sampling = complete_sampling(sampling, str(MODEL))
        return engines

    yield draw
    draw(GREEDY)


@needs_vllm
def test_greedy_replies_are_those_of_transformers(engines):
    ours, theirs = map(replies, engines)
    assert ours == theirs
    assert {reply.finish_reason for reply in ours} == {"stop"}
    assert len({reply.text for reply in ours}) > 2


@needs_vllm
def test_a_later_turn_continues_what_was_said(engines):
    asked = []
    for engine in engines:
        talk = TALKS[1]
        for turn in ("Criticize that.", "Rewrite it.", "Criticize that."):
            (reply,) = replies(engine, [talk])
            talk = [*talk, assistant(reply.text), user(turn)]
        asked.append(talk)
    assert asked[0] == asked[1]


@needs_vllm
def test_a_reply_is_cut_at_its_length(sampled):
    ours, theirs = map(replies, sampled(Sampling(temperature=0, max_new_tokens=3)))
    assert ours == theirs
    assert [(reply.finish_reason, reply.tokens) for reply in ours[:3]] == [("length", 3)] * 3


@needs_vllm
def test_a_penalty_for_repetition_is_that_of_transformers():
    """By vLLM's own function: prompt and reply count alike in both libraries, and a token once."""
    from vllm._custom_ops import apply_repetition_penalties_torch

    source = torch.Generator().manual_seed(0)
    for penalty in torch.linspace(0.5, 2.0, 61).tolist():
        logits = 4 * torch.randn(3, 50, generator=source)
        prompt, written = (torch.randint(50, (3, count), generator=source) for count in (20, 9))
        masks = [torch.zeros(3, 50, dtype=torch.bool).scatter_(1, tokens, True) for tokens in (prompt, written)]
        theirs = logits.clone()
        apply_repetition_penalties_torch(theirs, *masks, torch.full((3,), penalty))
        greedy = Sampling(temperature=0, repetition_penalty=penalty)
        ours = processed(logits, greedy, torch.cat([prompt, written], dim=1).tolist())
        torch.testing.assert_close(ours, theirs)


@needs_vllm
def test_a_stop_string_ends_a_reply_and_is_no_part_of_it(engines, sampled):
    whole = replies(engines[0])
    word = whole[0].text.split()[3]
    ours, theirs = map(replies, sampled(Sampling(temperature=0, max_new_tokens=48, stop=["never said", word])))
    assert ours == theirs
    assert ours[0].text == whole[0].text.partition(word)[0].strip()
    assert ours[0].finish_reason == "stop"
    assert ours[0].tokens < whole[0].tokens


@needs_vllm
def test_a_drawn_reply_depends_on_its_seed_and_not_on_its_company(sampled):
    engine, _ = sampled(DRAWN)
    whole = replies(engine)
    assert replies(engine) == whole
    assert replies(engine, TALKS[:1]) == whole[:1]
    assert len({reply.text for reply in replies(engine, [TALKS[3]] * 6)}) > 1


@needs_vllm
@pytest.mark.parametrize("options", [["(A)", "(B)"], ["I cannot", "I can help", "To", "(A)"]])
def test_options_are_as_likely_as_transformers_finds_them(engines, options):
    async def every(engine):
        return await asyncio.gather(*(engine.choose(talk, options) for talk in TALKS))

    ours, theirs = (asyncio.run(every(engine)) for engine in engines)
    for talk, one, other in zip(TALKS, ours, theirs, strict=True):
        again = asyncio.run(engines[0].choose(talk, options))
        assert sum(one.shares) == pytest.approx(1)
        assert one.shares == pytest.approx(other.shares, abs=1e-3)
        assert again.shares == pytest.approx(one.shares, abs=1e-4)
        assert (again.mass, other.mass) == (pytest.approx(one.mass, rel=1e-3, abs=1e-5),) * 2


@needs_vllm
@pytest.mark.parametrize("sampling", [GREEDY, DRAWN, Sampling(0.7, 0.8, 24, [], 30, 0.01, 1.2)])
def test_log_probabilities_are_those_of_a_plain_forward_pass(sampled, sampling):
    plain = load_model(str(MODEL), "float32").eval()
    engine, _ = sampled(sampling)
    told, untold = replies(engine, logprobs=True), replies(engine)
    assert told == untold
    for reply, silent in zip(told, untold, strict=True):
        assert silent.logprobs is None
        assert len(reply.token_ids) == reply.tokens
        with torch.inference_mode():
            logits = plain(torch.tensor([[*reply.prompt_ids, *reply.token_ids]])).logits[
                0, reply.prompt_tokens - 1 : -1
            ]
        likely = logits.log_softmax(-1).gather(1, torch.tensor(reply.token_ids)[:, None])[:, 0]
        torch.testing.assert_close(torch.tensor(reply.logprobs), likely, atol=1e-4, rtol=0)


@needs_vllm
def test_a_conversation_beyond_the_context_fails_alone(engines):
    long = [user("bread " * 5000)]

    async def ask():
        talks = (long, TALKS[0])
        return await asyncio.gather(*(engines[0].reply(talk, "s") for talk in talks), return_exceptions=True)

    failed, reply = asyncio.run(ask())
    assert reply == replies(engines[0], TALKS[:1])[0]
    with pytest.raises(ReplyError, match=r"conversation of \d{4,} tokens leaves no room in a context of 4096"):
        raise failed


@needs_vllm
def test_a_request_that_nobody_awaits_any_more_harms_none(engines):
    async def ask():
        given_up = asyncio.ensure_future(engines[0].reply(TALKS[1], "s"))
        kept = asyncio.ensure_future(engines[0].reply(TALKS[0], "s"))
        await asyncio.sleep(0.01)
        given_up.cancel()
        return await kept

    assert asyncio.run(ask()) == replies(engines[1], TALKS[:1])[0]


@needs_vllm
def test_it_stops_whole_and_starts_again_with_an_adapter(engines, adapter):
    base = replies(engines[1])
    for engine in engines:
        engine.stop()
    assert processes_of_vllm() == []
    for engine in engines:
        engine.start(CPU, adapter)
    ours, theirs = map(replies, engines)
    assert ours == theirs
    assert ours != base
    chosen = [asyncio.run(engine.choose(TALKS[0], ["(A)", "(B)"])) for engine in engines]
    assert chosen[0].shares == pytest.approx(chosen[1].shares, abs=1e-3)


def processes_of_vllm():
    import psutil

    return [child for child in psutil.Process().children(recursive=True) if "VLLM" in child.name()]


@pytest.fixture
def experiment(tmp_path):
    """A predict section in the sandbox, and the command that runs it."""
    engine = {
        "class_path": "cai_lightning.engines.VLLMEngine",
        "init_args": {
            "model": str(MODEL),
            "dtype": "float32",
            "concurrency": 4,
            "arguments": SMALL,
            "sampling": {"temperature": 0.7, "max_new_tokens": 32},
        },
    }
    section = {
        "model": {
            "class_path": "cai_lightning.modules.CritiqueRevision",
            "init_args": {
                "engine": engine,
                "selector": {"class_path": "cai_lightning.principles.selection.RandomSelector"},
                "constitution": str(MODEL.parent / "constitution.json"),
            },
        },
        "data": {
            "class_path": "cai_lightning.data.PromptData",
            "init_args": {"prompts": str(MODEL.parent / "prompts.jsonl"), "limit": 48},
        },
        "trainer": {"accelerator": "cpu", "devices": 1},
    }
    config = tmp_path / "run.yaml"
    config.write_text(yaml.safe_dump({"predict": section}))
    command = [
        sys.executable,
        "-m",
        "cai_lightning",
        "predict",
        "--config",
        str(config),
        "--run",
        str(tmp_path / "run"),
    ]
    return tmp_path / "run", command


@needs_vllm
@pytest.mark.timeout(280)
def test_predict_is_killed_leaves_no_process_and_goes_on(experiment):
    import psutil

    run, command = experiment
    first = subprocess.Popen(command, cwd=ROOT)
    while not any(path.stat().st_size for path in run.glob("revisions.rank*.jsonl")):
        assert first.poll() is None, "it ended before it wrote a row"
        time.sleep(0.05)
    family = psutil.Process(first.pid).children(recursive=True)
    assert sum("VLLM" in child.name() for child in family) == 2
    first.send_signal(signal.SIGKILL)
    first.wait()
    assert psutil.wait_procs(family, timeout=60)[1] == []
    kept = {row["id"] for path in run.glob("revisions*.jsonl") for _, row in jsonl.read_lines(path)}
    assert 0 < len(kept) < 48
    subprocess.run(command, cwd=ROOT, check=True)
    rows = [row for _, row in jsonl.read_lines(run / "revisions.jsonl")]
    assert len({row["id"] for row in rows}) == len(rows) == 48
    assert {row["engine"] for row in rows} == {"VLLMEngine"}


@needs_vllm
@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"arguments": {"quantisation": "fp8"}}, "vLLM does not serve .*quantisation"),
        ({"max_model_len": 100_000}, "vLLM does not serve .*max_model_len"),
        ({"sampling": Sampling(temperature=3.0)}, "vLLM does not draw replies so: temperature"),
        ({"model": ROOT / "absent"}, r"language model .* cannot be opened"),
    ],
)
def test_what_vllm_refuses_is_said_before_it_starts(settings, message):
    with pytest.raises(UserError, match=message):
        vllm(**settings).start(CPU)


@needs_vllm
def test_an_adapter_that_does_not_fit_is_refused_before_it_starts(adapter, tmp_path):
    with pytest.raises(UserError, match="no adapter there"):
        vllm().start(CPU, tmp_path)
    deep, wide = tmp_path / "deep", tmp_path / "wide"
    for folder, name, change in (
        (deep, FINGERPRINT, {"num_hidden_layers": 7}),
        (wide, "adapter_config.json", {"r": 1000}),
    ):
        shutil.copytree(adapter, folder)
        (folder / name).write_text(json.dumps({**json.loads((folder / name).read_text()), **change}))
    with pytest.raises(UserError, match=r"num_hidden_layers 7; .* has 5"):
        vllm().start(CPU, deep)
    with pytest.raises(UserError, match=r"rank is 1000; vLLM takes 512"):
        vllm().start(CPU, wide)


def test_a_machine_without_vllm_is_told_what_to_install(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install 'cai_lightning\[vllm\]'"):
        vllm().start(CPU)


@pytest.mark.parametrize(
    ("device", "gpus", "expected"),
    [("cpu", 1, {}), ("cuda:0", 4, {}), ("cuda:3", 1, [3]), ("cuda:1", 2, [2, 3])],
)
def test_each_process_has_gpus_of_its_own(device, gpus, expected):
    assert _devices(torch.device(device), gpus) == (expected and {"device_ids": expected})


@pytest.mark.parametrize("penalty", [None, 1.2])
def test_what_is_drawn_by_is_told_to_vllm(penalty):
    sampling = Sampling(temperature=0.5, top_p=0.9, top_k=7, min_p=0.1, repetition_penalty=penalty)
    told = vllm(sampling=sampling)._drawing("1")
    names = ("temperature", "top_p", "top_k", "min_p", "repetition_penalty", "max_tokens")
    assert [told[name] for name in names] == [0.5, 0.9, 7, 0.1, penalty or 1.0, 512]
