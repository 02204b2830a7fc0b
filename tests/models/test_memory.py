"""What fits into memory, and an error that says that it ran out, which is told from others."""

import pytest
import torch
from transformers import MistralConfig, Qwen2Config

from cai_lightning.models.memory import cache_per_token, conversations_that_fit, free_memory, is_out_of_memory

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


@pytest.mark.parametrize(
    ("error", "is_so"),
    [
        (torch.OutOfMemoryError("HIP ran dry"), True),
        (MemoryError(), True),
        (RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be reported at some other call"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), True),
        (RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"), True),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 99 bytes"), True),
        (RuntimeError("CUDA error: device-side assert triggered"), False),
        (RuntimeError("expected a tensor of 3 rows"), False),
    ],
)
def test_memory_ran_out(error, is_so):
    assert is_out_of_memory(error) == is_so


def test_what_this_machine_says_is_known():
    with pytest.raises(RuntimeError) as found:
        torch.empty(2**55)
    assert is_out_of_memory(found.value)
