"""Responses that share a prompt are read and learned as if each conversation stood alone."""

from functools import cache
from itertools import accumulate, pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import MistralConfig, MistralForCausalLM

from cai_lightning.data.batches import IGNORED, Example, apart, pack, pad, shared
from cai_lightning.models import attention
from cai_lightning.models.attention import Keys, boundaries
from cai_lightning.modules.losses import token_logprobs
from cai_lightning.run.errors import UserError

VOCABULARY = 50
CPU = torch.device("cpu")
tokens = st.integers(0, VOCABULARY - 1)


def conversation(prompt, response):
    return Example("x", prompt + response, [IGNORED] * len(prompt) + response, truncated=False)


@st.composite
def groups(draw):
    """A prompt and 1 to 8 responses to it, as whole conversations, with the prompt's length."""
    prompt = draw(st.lists(tokens, min_size=1, max_size=12))
    responses = draw(st.lists(st.lists(tokens, min_size=1, max_size=6), min_size=1, max_size=8))
    return [conversation(prompt, response) for response in responses], len(prompt)


@cache
def model(window):
    torch.manual_seed(0)
    config = MistralConfig(
        vocab_size=VOCABULARY, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, sliding_window=window, initializer_range=0.5, attn_implementation="packed",
    )  # fmt: skip
    return MistralForCausalLM(config).eval()


def read(policy, batch):
    """The hidden states, log-probabilities and gradients of a packed batch; these of a loss that weighs each token."""
    policy.zero_grad()
    known = boundaries(batch["lengths"], "packed", CPU, batch["prefixes"])
    hidden = policy.model(batch["input_ids"], position_ids=batch["position_ids"], use_cache=False, **known)[0]
    kept = batch["labels"][:, 1:] != IGNORED
    logprobs = token_logprobs(hidden[:, :-1][kept], batch["labels"][:, 1:][kept], policy.lm_head)
    (logprobs * torch.arange(1, len(logprobs) + 1).sin()).sum().backward()
    return hidden.detach()[0], logprobs.detach(), [parameter.grad.clone() for parameter in policy.parameters()]


@pytest.mark.parametrize("window", [None, 5])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@given(st.lists(groups(), min_size=1, max_size=3))
@settings(max_examples=15, deadline=None)
def test_a_shared_prompt_is_read_and_learned_as_if_it_were_repeated(window, dtype, found):
    policy = model(window).to(dtype)
    whole = [one for group, _ in found for one in group]
    fewer = [one for group, prompt in found for one in shared(group, prompt)]
    packed, repeated = pack(fewer, 1), pack(whole, 1)
    assert packed["tokens"] == repeated["tokens"] - sum((p - 1) * (len(group) - 1) for group, p in found)
    (hidden, logprobs, gradients), (as_hidden, as_logprobs, as_gradients) = read(policy, packed), read(policy, repeated)
    own = torch.cat([rows[one.prefix :] for rows, one in zip(split(as_hidden, whole), fewer, strict=True)])
    rounding = 1e-5 if dtype == torch.float64 else 1e-4  # the norms of the model are in float32 even so
    torch.testing.assert_close(hidden, own, atol=rounding, rtol=rounding)
    torch.testing.assert_close(logprobs, as_logprobs, atol=rounding, rtol=rounding)
    for gradient, expected in zip(gradients, as_gradients, strict=True):
        assert (gradient - expected).norm() <= rounding * (1 + expected.norm())


def split(hidden, examples):
    return hidden.split([len(one.input_ids) for one in examples])


@given(st.lists(groups(), min_size=1, max_size=3))
def test_taken_apart_again_and_padded_each_has_its_whole_prompt(found):
    whole = [one for group, _ in found for one in group]
    fewer = [one for group, prompt in found for one in shared(group, prompt)]
    assert apart(fewer) == whole
    padded, plain = pad(fewer, 1, filling=0), pad(whole, 1, filling=0)
    assert padded.keys() == plain.keys()
    assert all(torch.equal(padded[name], plain[name]) for name in ("input_ids", "labels", "position_ids"))


def test_a_filling_shares_nothing_and_is_shared_by_nobody():
    group = shared([conversation([1, 2, 3], [4]), conversation([1, 2, 3], [5, 6])], 3)
    batch = pack(group, 1, grain=16)
    assert batch["prefixes"] == [0, 2, 0]
    assert batch["lengths"] == [4, 3, 9]
    assert batch["position_ids"].tolist()[0] == [0, 1, 2, 3, 2, 3, 4, *range(9)]
    assert batch["labels"].tolist()[0] == [IGNORED] * 3 + [4, IGNORED, 5, 6] + [IGNORED] * 9


def plain_varlen(q, k, v, starts, key_starts, most, longest, scale, window_size, enable_gqa):
    """Torch's attention for one launch, by its documentation: aligned at the ends of keys and queries."""
    assert (most, longest) == (int(starts.diff().max()), int(key_starts.diff().max()))
    back, ahead = window_size
    k, v = (states.repeat_interleave(q.shape[1] // k.shape[1], dim=1) for states in (k, v))
    out = torch.empty_like(q)
    for (start, end), (first, last) in zip(pairwise(starts.tolist()), pairwise(key_starts.tolist()), strict=True):
        for t in range(start, end):
            place = last - (end - t)
            seen = slice(first if back < 0 else max(first, place - back), place + ahead + 1)
            scores = torch.einsum("hd,shd->hs", q[t], k[seen]) * (scale or q.shape[-1] ** -0.5)
            out[t] = torch.einsum("hs,shd->hd", scores.softmax(-1), v[seen])
    return out


@pytest.mark.parametrize("window", [None, 5])
def test_one_launch_attends_as_one_segment_after_the_other_does(monkeypatch, window):
    """On a GPU; the kernel itself is tried by `gpu_check.sh`."""
    torch.manual_seed(0)
    lengths, prefixes = [9, 4, 2, 3, 6, 1, 5], [0, 6, 6, 0, 2, 2, 0]
    states = [torch.randn(1, heads, sum(lengths), 8) for heads in (4, 2, 2)]
    known = boundaries(lengths, "packed", CPU, prefixes) | {"scaling": 0.3, "sliding_window": window}
    apart, _ = attention.packed_attention(None, *states, None, **known)
    monkeypatch.setattr(attention, "TOLD", {"scale", "window_size", "enable_gqa"})
    monkeypatch.setattr(attention, "_is_one_launch", lambda query, dropout: True)
    monkeypatch.setattr(attention, "varlen_attn", plain_varlen)
    at_once, _ = attention.packed_attention(None, *states, None, **known)
    torch.testing.assert_close(at_once, apart, atol=1e-5, rtol=1e-5)


@given(st.lists(st.tuples(st.integers(1, 9), st.integers(0, 4), st.integers(1, 9)), min_size=1))
def test_keys_lie_where_they_should(trees):
    lengths, prefixes, expected = [], [], []
    for trunk, further, size in trees:
        begin = sum(lengths)
        lengths += [trunk] + [size] * further
        prefixes += [0] + [trunk - 1] * further
        expected.append(list(range(begin, begin + trunk)))
        for n in range(further):
            start = begin + trunk + n * size
            expected.append([*range(begin, begin + trunk - 1), *range(start, start + size)])
    keys = Keys(lengths, prefixes, CPU)
    assert keys.places.tolist() == [place for one in expected for place in one]
    assert keys.bounds.tolist() == [0, *accumulate(map(len, expected))]


def test_flash_attention_by_name_is_refused_where_a_prompt_is_shared():
    with pytest.raises(UserError, match=r"cannot share a prompt .* data\.packing to false"):
        boundaries([5, 3], "flash_attention_2", CPU, [0, 2])
    assert "cu_seq_lens_q" in boundaries([5, 3], "flash_attention_2", CPU, [0, 0])
