"""What is said of the learning rate is what the optimizer gets."""

import pytest
import torch

from cai_lightning.modules.policy_module import LearningRate


def rates(rate, steps):
    """The learning rate of each step."""
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=rate.peak)
    scheduler, used = rate.scheduler(optimizer, steps), []
    for _ in range(steps):
        used.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return used


def test_it_rises_to_the_peak_and_stays():
    rate = LearningRate(1e-4, 0.03, "constant")
    assert rate.statement(96) == "rises for 3 of 96 steps to 0.0001, then constant"
    assert rates(rate, 96) == pytest.approx([0, 1e-4 / 3, 2e-4 / 3] + [1e-4] * 93)


@pytest.mark.parametrize(("schedule", "said"), [("cosine", "along a cosine"), ("linear", "in a line")])
def test_it_rises_to_the_peak_and_falls(schedule, said):
    rate = LearningRate(1e-4, 4, schedule)
    assert rate.statement(12) == f"rises for 4 of 12 steps to 0.0001, then {said} down to 0"
    used = rates(rate, 12)
    assert used[4] == max(used) == 1e-4
    assert used[4:] == sorted(used[4:], reverse=True)
    assert used[-1] < 1.5e-5


def test_without_a_warm_up_it_begins_at_the_peak():
    rate = LearningRate(0.002, 0, "constant")
    assert rate.statement(1000) == "begins at 0.002, then constant"
    assert rates(rate, 3) == [0.002] * 3


@pytest.mark.parametrize("steps", [1, 50, 100])
def test_a_warm_up_that_outlasts_the_training_is_told(steps):
    rate = LearningRate(1e-3, 100, "cosine")
    highest = max(rates(rate, steps))
    expected = f"rises in all {steps} steps to {highest:.3g}, never to 0.001: model.warmup is 100 steps"
    assert rate.statement(steps) == expected
    assert highest < 1e-3


def test_the_shortest_training_that_a_warm_up_leaves_room_in():
    rate = LearningRate(1e-3, 100, "constant")
    assert rate.statement(101) == "rises for 100 of 101 steps to 0.001, then constant"
    assert rates(rate, 101)[-1] == 1e-3


@pytest.mark.parametrize("warmup", [-1, 1.5])
def test_a_warm_up_is_a_share_or_a_number_of_steps(warmup):
    with pytest.raises(ValueError, match=f"must be a share from 0 to 1 or a whole number of steps, not {warmup}"):
        LearningRate(1e-4, warmup, "constant")
