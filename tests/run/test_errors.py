"""An error that says that memory ran out is told from others."""

import pytest
import torch

from cai_lightning.run.errors import is_out_of_memory


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
