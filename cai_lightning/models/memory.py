"""Memory: how much there is, what fits into it, and whether an error says that there is none left."""

import torch
from transformers import PreTrainedConfig

SIGNS = ("out of memory", "can't allocate memory", "_ALLOC_FAILED", "not enough memory: you tried to allocate")
"""What plain errors say: CUDA and its drivers, the CPU's allocator, cuBLAS and cuDNN, other allocators."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out, on whichever device and in whichever library; only some say so by their type."""
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or any(sign in str(error) for sign in SIGNS)


def free_memory(device: torch.device) -> int | None:
    """Bytes that may still be taken on a GPU, what torch keeps for itself included; null on a CPU, which can swap."""
    if device.type != "cuda":
        return None
    kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return torch.cuda.mem_get_info(device)[0] + kept


def cache_per_token(config: PreTrainedConfig, dtype: torch.dtype) -> int:
    """Bytes that the keys and values of one token take.

    Args:
        config: The language model's shapes.
        dtype: Of keys and values.
    """
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return 2 * int(config.num_hidden_layers * heads * size) * dtype.itemsize


def conversations_that_fit(memory: int, per_token: int, length: int) -> int:
    """How many conversations' caches fit, a tenth of the memory being left for what is computed.

    Args:
        memory: Bytes there are for caches and for computing.
        per_token: Bytes of a token's keys and values.
        length: Tokens of a conversation.
    """
    return memory * 9 // 10 // (per_token * length)
