"""What slots hold gives the logits of whole conversations read anew, and there are as many as fit into memory."""

import random

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    Gemma3TextConfig,
    LlamaConfig,
    MistralConfig,
    Phi3Config,
    Qwen2Config,
    Qwen2ForCausalLM,
    Starcoder2Config,
)

from cai_lightning.engines.slots import (
    GRAIN,
    Graphs,
    Slots,
    TooManySlotsError,
    cache_per_token,
    conversations_that_fit,
    free_memory,
)
from cai_lightning.models.attention import install_grouped
from cai_lightning.run.errors import UserError

SHAPE = {"vocab_size": 50, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 3, "num_attention_heads": 4}


def model(**settings):
    torch.manual_seed(0)
    config = Qwen2Config(num_key_value_heads=2, initializer_range=0.3, **SHAPE, **settings)
    return Qwen2ForCausalLM(config).eval()


class Repeated(Graphs):
    """Launches a step again and counts."""

    launched = 0

    def record(self, step):
        def launch():
            self.launched += 1
            step()

        return launch


def tokens(count, seed):
    return torch.randint(50, (count,), generator=torch.Generator().manual_seed(seed)).tolist()


def reference(policy, ids):
    with torch.no_grad():
        return policy(torch.tensor([ids])).logits[0, -1]


@pytest.mark.parametrize("settings", [{}, {"use_sliding_window": True, "sliding_window": 4, "max_window_layers": 1}])
def test_turns_of_mixed_lengths_read_like_whole_conversations(settings):
    check_turns(model(**settings))


@pytest.mark.parametrize("window", [None, 4])
@pytest.mark.parametrize("kind", [LlamaConfig, MistralConfig, Phi3Config, Starcoder2Config, Gemma3TextConfig])
def test_every_architecture_looks_as_far_back_as_it_does_alone(kind, window):
    """Some say of each layer how far it looks, others have one window for all, and say nothing of layers."""
    torch.manual_seed(0)
    config = kind(num_key_value_heads=2, initializer_range=0.3, sliding_window=window or 64, pad_token_id=0, **SHAPE)
    if window is None and kind is not Gemma3TextConfig:
        config.sliding_window = None
    check_turns(AutoModelForCausalLM.from_config(config).eval())


def check_turns(policy):
    """With torch's attention as it is and as the engine installs it, and with the widths of a GPU."""
    check_turns_of(policy, Slots(policy, 5))
    install_grouped(policy)
    check_turns_of(policy, Slots(policy, 5))
    as_on_a_gpu = Slots(policy, 5)
    as_on_a_gpu._grain = GRAIN
    check_turns_of(policy, as_on_a_gpu)


def check_turns_of(policy, slots):
    talks = {3: [], 0: [], 4: []}
    for turn in range(4):
        new = {slot: tokens(1 + 7 * turn * (slot % 3), slot + 10 * turn) for slot in talks}
        logits = slots.extend(list(new), list(new.values()))
        for row, (slot, ids) in zip(logits, new.items(), strict=True):
            talks[slot] += ids
            torch.testing.assert_close(row, reference(policy, talks[slot]), atol=1e-4, rtol=1e-4)
    assert slots.lengths.tolist() == [len(talks.get(slot, [])) for slot in range(5)]


@pytest.mark.parametrize("settings", [{}, {"use_sliding_window": True, "sliding_window": 4, "max_window_layers": 1}])
def test_steps_of_a_gpu_read_like_whole_conversations(settings):
    """Their rows are filled up and their widths rounded; what they write must not touch another conversation."""
    policy, rng = model(**settings), random.Random(0)
    slots = Slots(policy, 11)
    slots._grain, slots.graphs = GRAIN, Repeated()
    talks = {slot: tokens(rng.randrange(1, 9), slot) for slot in range(11)}
    slots.extend(list(talks), list(talks.values()))
    for _ in range(200):
        top = rng.randrange(1, 12)
        is_whole = rng.random() < 0.5
        rows = range(top) if is_whole else sorted(rng.sample(range(11), top))
        ids = [[] if is_whole and n and rng.random() < 0.2 else [rng.randrange(50)] for n in range(top)]
        for slot, row, new in zip(rows, slots.extend(rows, ids), ids, strict=True):
            talks[slot] += new
            if new and rng.random() < 0.2:
                torch.testing.assert_close(row, reference(policy, talks[slot]), atol=1e-4, rtol=1e-4)
    assert slots.graphs.launched > 150
    for slot, ids in talks.items():
        torch.testing.assert_close(slots.extend([slot], [[5]])[0], reference(policy, [*ids, 5]), atol=1e-4, rtol=1e-4)


def test_idle_slots_may_be_computed_along_and_stay_as_they_are():
    policy = model()
    slots = Slots(policy, 3)
    first, second = tokens(9, 1), tokens(4, 2)
    slots.extend([0, 1], [first, second])
    logits = slots.extend(range(3), [[7], [], [8, 9]])
    torch.testing.assert_close(logits[0], reference(policy, [*first, 7]), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(logits[2], reference(policy, [8, 9]), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(slots.extend([1], [[5]])[0], reference(policy, [*second, 5]), atol=1e-4, rtol=1e-4)


def test_room_grows_and_what_was_held_stays():
    policy = model()
    slots = Slots(policy, 2)
    short, long = tokens(5, 1), tokens(GRAIN + 50, 2)
    slots.extend([0, 1], [short, long])
    more = tokens(2 * GRAIN, 3)
    slots.extend([1], [more])
    logits = slots.extend([0, 1], [[3], [4]])
    torch.testing.assert_close(logits[0], reference(policy, [*short, 3]), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(logits[1], reference(policy, [*long, *more, 4]), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(("memory", "room"), [(None, 3 * GRAIN), (4, 3 * GRAIN), (3, 2 * GRAIN + GRAIN), (2.5, None)])
def test_room_grows_as_far_as_memory_allows(monkeypatch, memory, room):
    """Memory is that for so many grains in both slots; a tenth more is left for what is computed."""
    policy = model()
    slots = Slots(policy, 2)
    bytes_of_a_token = 2 * 3 * 2 * 8 * 4  # keys and values, layers, heads, size, float32
    monkeypatch.setattr(slots, "_memory", lambda: memory and memory * 2 * GRAIN * bytes_of_a_token / 0.9 + 10)
    slots.extend([0], [tokens(GRAIN + 50, 1)])
    if room is None:
        with pytest.raises(TooManySlotsError, match="2 conversations of up to 384 tokens do not fit") as found:
            slots.extend([0], [tokens(GRAIN, 2)])
        assert found.value.fitting == 1
    else:
        slots.extend([0], [tokens(GRAIN, 2)])
        assert slots._room == room


def test_a_slot_begins_as_another_does():
    policy = model()
    slots = Slots(policy, 3)
    shared, rest = tokens(20, 1), tokens(6, 2)
    assert slots.overlaps(shared).tolist() == [0, 0, 0]
    slots.extend([1], [[*shared, 1, 2, 3]])
    assert slots.overlaps([*shared, 1, 9]).tolist() == [0, 21, 0]
    assert slots.overlaps([*shared, 1, 2, 3, 4, 5]).tolist() == [0, 23, 0]
    slots.copy(1, 2, 20)
    assert slots.overlaps([*shared, 1]).tolist() == [0, 21, 20]
    torch.testing.assert_close(slots.extend([2], [rest])[0], reference(policy, [*shared, *rest]), atol=1e-4, rtol=1e-4)
    slots.lengths[1] = 5
    assert slots.overlaps(shared).tolist() == [0, 5, 20]


def test_layers_of_another_kind_are_refused():
    policy = model()
    policy.config.layer_types = ["full_attention", "linear_attention", "full_attention"]
    with pytest.raises(UserError, match="'linear_attention' cannot be served here; use vLLM"):
        Slots(policy, 2)


QWEN_3B = Qwen2Config(num_hidden_layers=36, num_attention_heads=16, num_key_value_heads=2, hidden_size=2048)
MISTRAL_7B = MistralConfig(num_hidden_layers=32, num_attention_heads=32, num_key_value_heads=8, hidden_size=4096)


@pytest.mark.parametrize(("config", "bytes_of_a_token"), [(QWEN_3B, 36_864), (MISTRAL_7B, 131_072)])
def test_what_the_cache_of_a_token_takes(config, bytes_of_a_token):
    assert cache_per_token(config, torch.bfloat16) == bytes_of_a_token
    assert cache_per_token(config, torch.float32) == 2 * bytes_of_a_token


@pytest.mark.parametrize(
    ("config", "weights", "length", "fitting"),
    [
        (QWEN_3B, 6.2e9, 7936, 227),  # the paper's four rounds with examples, for which 256 would take 75 GB
        (QWEN_3B, 6.2e9, 2048, 879),
        (MISTRAL_7B, 14.5e9, 7936, 56),  # 128 would take 133 GB
        (MISTRAL_7B, 14.5e9, 2048, 219),
        (MISTRAL_7B, 79e9, 7936, 0),
    ],
)
def test_how_many_conversations_fit_into_80_gb(config, weights, length, fitting):
    per_token = cache_per_token(config, torch.bfloat16)
    found = conversations_that_fit(int(80e9 - weights), per_token, length)
    assert found == fitting
    assert found * per_token * length <= 0.9 * (80e9 - weights)


def test_a_cpu_says_no_limit():
    assert free_memory(torch.device("cpu")) is None
