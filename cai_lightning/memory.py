"""Memory: whether an error says that there is none left."""

import torch

SIGNS = ("out of memory", "can't allocate memory", "_ALLOC_FAILED", "not enough memory: you tried to allocate")
"""What plain errors say: CUDA and its drivers, the CPU's allocator, cuBLAS and cuDNN, other allocators."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out, on whichever device and in whichever library; only some say so by their type."""
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or any(sign in str(error) for sign in SIGNS)
