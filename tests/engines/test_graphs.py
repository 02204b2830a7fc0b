"""A step whose shape comes again is launched as it was recorded; CUDA's own recording is tried by `gpu_check.sh`."""

import random

import pytest
import torch

from cai_lightning.engines import graphs
from cai_lightning.engines.graphs import Graphs

CPU = torch.device("cpu")


class Recorder:
    """Repeats a step as a graph does: with what was in its memory's places when it was recorded, whatever came since."""

    def __init__(self):
        self.recorded, self.launched = 0, 0

    def __call__(self, step):
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
    monkeypatch.setattr(graphs, "MOST", 3)
    recorder, rng = Recorder(), random.Random(0)
    repeated = Graphs(recorder)
    for turn in range(300):
        if turn == 150:
            repeated.forget()
        numbers = ask(rng.randrange(1, 7), rng)
        result = repeated.run(numbers.shape[1], squares, numbers.clone(), CPU)
        assert torch.equal(result, squares(numbers))
    assert recorder.launched == 300 - 6
    assert 12 < recorder.recorded < 290


def test_what_comes_once_is_not_recorded_and_what_comes_often_once():
    recorder = Recorder()
    repeated = Graphs(recorder)
    for many in (1, 2, 3, 3, 3, 3):
        repeated.run(many, squares, ask(many, random.Random(0)), CPU)
    assert (recorder.recorded, recorder.launched) == (1, 3)


def test_of_many_shapes_the_one_that_has_not_come_for_longest_is_dropped(monkeypatch):
    monkeypatch.setattr(graphs, "MOST", 2)
    recorder = Recorder()
    repeated = Graphs(recorder)
    for many in (1, 1, 2, 2, 1, 3, 3, 1, 2):
        repeated.run(many, squares, ask(many, random.Random(0)), CPU)
    assert recorder.recorded == 4  # 1, 2, 3 and once more 2


def test_a_step_that_cannot_be_recorded_is_run_as_it_is(caplog):
    def refuse(step):
        raise RuntimeError("operation not permitted when stream is capturing\nCompile with TORCH_USE_CUDA_DSA")

    repeated = Graphs(refuse)
    for many in (2, 2, 2, 3, 3):
        numbers = ask(many, random.Random(many))
        assert torch.equal(repeated.run(many, squares, numbers, CPU), squares(numbers))
    (warning,) = caplog.messages
    assert warning == (
        "decoding goes on without CUDA graphs, which takes longer: operation not permitted when stream is capturing"
    )


def test_other_errors_are_not_kept_quiet():
    def broken(step):
        raise KeyError("x")

    repeated = Graphs(broken)
    repeated.run(2, squares, ask(2, random.Random(0)), CPU)
    with pytest.raises(KeyError):
        repeated.run(2, squares, ask(2, random.Random(0)), CPU)
