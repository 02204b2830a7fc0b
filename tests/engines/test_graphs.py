"""A step whose shape comes again is launched as it was recorded; CUDA's own recording is tried by `gpu_check.sh`."""

import random

import torch
from transformers import DeepseekV3Config, Gemma3TextConfig, LlamaConfig, MixtralConfig, Qwen2Config, Qwen3MoeConfig

from cai_lightning.engines import slots
from cai_lightning.engines.slots import Graphs, is_recordable

CPU = torch.device("cpu")


class Counted(Graphs):
    """Repeats a step as a graph does: from what stands in its memory."""

    def __init__(self):
        super().__init__()
        self.recorded = self.launched = 0

    def record(self, step):
        self.recorded += 1

        def launch():
            self.launched += 1
            step()

        return launch


def squares(numbers):
    return (numbers[0] ** 2)[:, None].repeat(1, 3)


def ask(many, rng):
    return torch.tensor([[rng.randrange(100) for _ in range(many)]])


def test_every_step_has_the_result_of_its_own_numbers(monkeypatch):
    monkeypatch.setattr(slots, "MOST", 3)
    repeated, rng = Counted(), random.Random(0)
    for turn in range(300):
        if turn == 150:
            repeated.forget()
        numbers = ask(rng.randrange(1, 7), rng)
        result = repeated.run(numbers.shape[1], squares, numbers.clone(), CPU)
        assert torch.equal(result, squares(numbers))
    assert repeated.launched == 300 - 6
    assert 12 < repeated.recorded < 290


def test_what_comes_once_is_not_recorded_and_what_comes_often_once():
    repeated = Counted()
    for many in (1, 2, 3, 3, 3, 3):
        repeated.run(many, squares, ask(many, random.Random(0)), CPU)
    assert (repeated.recorded, repeated.launched) == (1, 3)


def test_of_many_shapes_the_one_that_has_not_come_for_longest_is_dropped(monkeypatch):
    monkeypatch.setattr(slots, "MOST", 2)
    repeated = Counted()
    for many in (1, 1, 2, 2, 1, 3, 3, 1, 2):
        repeated.run(many, squares, ask(many, random.Random(0)), CPU)
    assert repeated.recorded == 4  # 1, 2, 3 and once more 2


def test_a_step_that_cannot_be_recorded_is_run_as_it_is(caplog):
    class Refused(Graphs):
        def record(self, step):
            raise RuntimeError("operation not permitted when stream is capturing\nCompile with TORCH_USE_CUDA_DSA")

    repeated = Refused()
    for many in (2, 2, 2, 3, 3):
        numbers = ask(many, random.Random(many))
        assert torch.equal(repeated.run(many, squares, numbers, CPU), squares(numbers))
    (warning,) = caplog.messages
    assert warning == (
        "decoding goes on without CUDA graphs, which takes longer: operation not permitted when stream is capturing"
    )


def test_what_computes_otherwise_from_number_to_number_is_not_recorded():
    longrope = {"rope_type": "longrope", "rope_theta": 1e4, "short_factor": [1.0], "long_factor": [2.0], "factor": 2.0}
    assert is_recordable(Qwen2Config())
    assert is_recordable(Gemma3TextConfig())
    assert is_recordable(LlamaConfig(rope_parameters={"rope_type": "linear", "factor": 2.0, "rope_theta": 1e4}))
    assert not is_recordable(LlamaConfig(rope_parameters={"rope_type": "dynamic", "factor": 2.0, "rope_theta": 1e4}))
    assert not is_recordable(Gemma3TextConfig(rope_parameters={"full_attention": longrope, "sliding_attention": {}}))
    assert not is_recordable(MixtralConfig())
    assert not is_recordable(Qwen3MoeConfig())
    assert not is_recordable(DeepseekV3Config())
