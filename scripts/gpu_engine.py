"""Whether the transformers engine is right on this machine: beside plain `generate`, and where memory runs out.

found = equal(folder, conversations=12, note=print)
found = out_of_memory(model, conversations=96, tokens=64)
found = one_launch([200, 1, 37])
"""

import asyncio
import logging
import random
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import torch
from bench_model import device
from transformers import AutoModelForCausalLM, GemmaConfig, LlamaConfig, MistralConfig, PreTrainedConfig, Qwen2Config

from cai_lightning.engines import Reply, Sampling, TransformersEngine
from cai_lightning.models import attention
from cai_lightning.run.records import assistant, user

CONFIGS: dict[str, type[PreTrainedConfig]] = {"mistral": MistralConfig, "llama3": LlamaConfig, "gemma": GemmaConfig}
"""Architectures of the template families; the others are Qwen's."""

TURNS = 3
MOST = 16
"""Tokens of a reply, where they are compared."""

SCARCE = 0.4
"""The share of what was taken before that is left where memory shall run out."""

Found = dict[str, Any]


def equal(folder: Path, conversations: int, note: Callable[[Found], None]) -> Found:
    """Every reply of the engine, many conversations at once, beside `generate` on the same tokens alone, in float32.

    Args:
        folder: For the tiny models.
        conversations: Of each family of chat templates, over several turns.
        note: Is told what was found so far.

    Raises:
        SystemExit: They differ; how far the two likeliest tokens lie apart there stands beside it.
    """
    sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
    from templates import FAMILIES

    found: Found = {}
    for number, (family, make) in enumerate(FAMILIES.items()):
        _save_tiny(make(), CONFIGS.get(family, Qwen2Config), folder / family)
        for batching in ("slots", "paged") if number == 0 else ("slots",):
            found[f"{family}, {batching}"] = _beside_generate(folder / family, batching, conversations)
            note(found)
    if any(each["equal"] != each["replies"] for each in found.values()):
        raise SystemExit(f"tokens differ: {found}")
    return found


def out_of_memory(model: Path, conversations: int, tokens: int) -> Found:
    """The same conversations with enough memory and with too little of it.

    Raises:
        SystemExit: Memory did not run out.
    """
    with _engine(model, conversations, tokens, "slots") as engine:
        before = _reserved()
        plain = asyncio.run(_talk(engine, conversations))
        most = torch.cuda.max_memory_reserved() if torch.cuda.is_available() else 0
    heard = _Shortages()
    logging.getLogger("cai_lightning").addHandler(heard)
    with _engine(model, conversations, tokens, "slots") as engine, _scarcity(engine, SCARCE * (most - before)):
        short = asyncio.run(_talk(engine, conversations))
    same = sum(_texts(one) == _texts(other) for one, other in zip(plain, short, strict=True))
    found = {"asked": len(plain), "answered": len(short), "same": same, "times_out_of_memory": heard.count}
    if not heard.count:
        raise SystemExit(f"memory did not run out: {found}")
    return found


def one_launch(lengths: list[int]) -> Found:
    """How far packed attention in one launch, and its gradients, are from one conversation after the other in float32.

    Args:
        lengths: Tokens of the conversations.

    Returns:
        For each window the largest difference as a share of the largest value, of which bfloat16 makes 0.01; or none
        where this torch and this machine do not do it.

    Raises:
        SystemExit: They differ by more than 0.03.
    """
    torch.manual_seed(0)
    exact = [torch.randn(1, heads, sum(lengths), 64, device=device()) for heads in (8, 2, 2, 8)]
    if not attention._is_one_launch(exact[0].bfloat16(), dropout=0):
        return {}
    found = {str(window): _difference(exact, lengths, window) for window in (None, 16)}
    if max(found.values()) > 0.03:
        raise SystemExit(f"attention in one launch differs: {found}")
    return found


def _difference(exact: list[torch.Tensor], lengths: list[int], window: int | None) -> float:
    """Of outputs and gradients, in bfloat16 at once and in float32 apart."""
    results = []
    for dtype in (torch.bfloat16, torch.float32):
        q, k, v, wanted = (states.detach().to(dtype).requires_grad_() for states in exact)
        out, _ = attention.packed_attention(
            torch.nn.Module(), q, k, v, None, sliding_window=window, conversation_lengths=lengths
        )
        (out * wanted.transpose(1, 2)).sum().backward()
        results.append([out, *(states.grad for states in (q, k, v))])
    pairs = zip(*results, strict=True)
    return max(float(((at_once.float() - apart).abs().max() / apart.abs().max()).detach()) for at_once, apart in pairs)


def _save_tiny(tokenizer: Any, kind: type[PreTrainedConfig], folder: Path) -> None:
    """A model of random weights that speaks a family's format; Mistral's looks through a window."""
    torch.manual_seed(0)
    window = {"sliding_window": 48} if kind is MistralConfig else {}
    config = kind(
        vocab_size=len(tokenizer), hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, head_dim=16, max_position_embeddings=2048, initializer_range=0.3,
        eos_token_id=tokenizer.eos_token_id, bos_token_id=tokenizer.bos_token_id, pad_token_id=None, **window,
    )  # fmt: skip
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


@contextmanager
def _engine(model: Path, slots: int, tokens: int, batching: Literal["slots", "paged"]) -> Iterator[TransformersEngine]:
    sampling = Sampling(temperature=0, max_new_tokens=tokens)
    engine = TransformersEngine(str(model), sampling, slots, dtype="float32", batching=batching)
    engine.start(device())
    try:
        yield engine
    finally:
        engine.stop()


def _beside_generate(folder: Path, batching: Literal["slots", "paged"], conversations: int) -> Found:
    """Slots are fewer than conversations, so that each holds several, one after the other."""
    with _engine(folder, 5, MOST, batching) as engine:
        assert engine._batch is not None
        ends = sorted(engine._batch.ends)
        replies = [reply for talk in asyncio.run(_talk(engine, conversations)) for reply in talk]
    plain = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).to(device()).eval()
    margins = [_margin(plain, reply, ends) for reply in replies]
    return {"replies": len(replies), "equal": margins.count(None), "margins": [m for m in margins if m is not None]}


@torch.inference_mode()
def _margin(plain: Any, reply: Reply, ends: list[int]) -> float | None:
    """None where `generate` writes the same; else how far apart its two likeliest tokens are where they part."""
    ids, tokens = reply.prompt_ids, reply.token_ids
    assert ids is not None
    assert tokens is not None
    given = torch.tensor([ids], device=plain.device)
    out = plain.generate(
        given, attention_mask=torch.ones_like(given), do_sample=False, max_new_tokens=MOST, eos_token_id=ends,
        pad_token_id=ends[0], output_logits=True, return_dict_in_generate=True,
    )  # fmt: skip
    own = out.sequences[0, len(ids) :].tolist()
    if own == tokens:
        return None
    parted = next((n for n, (a, b) in enumerate(zip(own, tokens, strict=False)) if a != b), len(own) - 1)
    first, second = out.logits[parted][0].float().topk(2).values.tolist()
    return float(first - second)


async def _talk(engine: TransformersEngine, conversations: int) -> list[list[Reply]]:
    """The replies in conversations that begin alike, so that caches are shared, and go on at random."""
    draw = random.Random(0)
    words = ["bread", "a lock", "the car", "my neighbour", "two eggs", "an old lamp", "please"]

    async def one(number: int, said: list[str]) -> list[Reply]:
        talk, replies = [user(f"Tell me, step by step, how one goes about {words[number % 2]}")], []
        for text in said:
            replies.append(await engine.reply(talk, str(number)))
            talk = [*talk, assistant(replies[-1].text), user(text)]
        return replies

    said = [[" ".join(draw.choices(words, k=draw.randint(1, 12))) for _ in range(TURNS)] for _ in range(conversations)]
    return await asyncio.gather(*(one(number, texts) for number, texts in enumerate(said)))


def _texts(replies: list[Reply]) -> list[str]:
    return [reply.text for reply in replies]


def _reserved() -> int:
    if not torch.cuda.is_available():
        return 0
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    return int(torch.cuda.memory_reserved())


@contextmanager
def _scarcity(engine: TransformersEngine, more: float) -> Iterator[None]:
    """So many more bytes than are held now, and no others; on a CPU, errors as if there were none left."""
    assert engine._batch is not None
    if torch.cuda.is_available():
        allowed = _reserved() + more
        torch.cuda.set_per_process_memory_fraction(allowed / torch.cuda.get_device_properties(0).total_memory)
        yield
        torch.cuda.set_per_process_memory_fraction(1.0)
    else:
        policy = engine._batch.policy
        forward, calls = policy.forward, iter(range(10**9))

        def failing(*args: Any, **kwargs: Any) -> Any:
            if next(calls) in (3, 4, 9):
                raise torch.OutOfMemoryError("out of memory on purpose")
            return forward(*args, **kwargs)

        policy.forward = failing
        yield


class _Shortages(logging.Handler):
    """Counts what the engine says of memory."""

    count = 0

    def emit(self, record: logging.LogRecord) -> None:
        self.count += "out of memory" in record.getMessage()
