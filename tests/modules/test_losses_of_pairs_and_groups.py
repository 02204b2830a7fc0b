"""Losses of pairs and groups against independent computations in float64: what each common mistake would break."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cai_lightning.modules.losses import (
    group_advantages,
    grpo,
    ipo,
    k2_kl,
    label_entropy,
    soft_bradley_terry,
    soft_dpo,
)

numbers = st.floats(-8, 8, allow_nan=False)
labels = st.floats(0, 1)
inner = st.floats(0.01, 0.99)
scales = st.floats(0.05, 2)
LOSSES = {"soft_bradley_terry": lambda d, p: soft_bradley_terry(d, p), "dpo": lambda d, p: soft_dpo(d, p, 0.3)}
LOSSES["ipo"] = lambda d, p: ipo(d, p, 0.2)


def f64(*values):
    return torch.tensor(values, dtype=torch.float64)


def value_and_slope(loss, at):
    place = f64(at).requires_grad_()
    value = loss(place).sum()
    return value.item(), torch.autograd.grad(value, place)[0].item()


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


@given(numbers, labels)
def test_bradley_terry_is_the_cross_entropy_of_a_coin(d, p):
    value, slope = value_and_slope(lambda at: soft_bradley_terry(at, f64(p)), d)
    by_hand = -p * math.log(sigmoid(d)) - (1 - p) * math.log(1 - sigmoid(d))
    assert value == pytest.approx(by_hand, abs=1e-9)
    assert slope == pytest.approx(sigmoid(d) - p, abs=1e-12)


def test_a_clamped_label_pulls_with_a_tenth_where_a_hard_one_pulls_with_a_half():
    assert value_and_slope(lambda at: soft_bradley_terry(at, f64(0.6)), 0)[1] == pytest.approx(-0.1)
    assert value_and_slope(lambda at: soft_bradley_terry(at, f64(1.0)), 0)[1] == pytest.approx(-0.5)


def test_the_floor_is_the_entropy_of_the_label():
    assert label_entropy(f64(0.6)).item() == pytest.approx(0.673, abs=5e-4)
    assert label_entropy(f64(0, 1)).tolist() == [0, 0]


@given(numbers, inner)
def test_no_reward_comes_below_the_floor_and_the_log_odds_reach_it(d, p):
    floor = label_entropy(f64(p)).item()
    assert soft_bradley_terry(f64(d), f64(p)).item() >= floor - 1e-12
    assert soft_bradley_terry(f64(p).logit(), f64(p)).item() == pytest.approx(floor, abs=1e-12)


@given(labels, scales)
def test_at_the_reference_dpo_is_log_2_for_every_label(p, beta):
    value, slope = value_and_slope(lambda at: soft_dpo(at, f64(p), beta), 0)
    assert value == pytest.approx(math.log(2), abs=1e-12)
    assert slope == pytest.approx(beta * (0.5 - p), abs=1e-12)


@given(inner, scales)
def test_dpo_ends_where_beta_delta_is_the_log_odds_of_the_label(p, beta):
    end = math.log(p / (1 - p)) / beta
    assert value_and_slope(lambda at: soft_dpo(at, f64(p), beta), end)[1] == pytest.approx(0, abs=1e-12)
    for beside in (end - 0.1, end + 0.1):
        assert soft_dpo(f64(beside), f64(p), beta) > soft_dpo(f64(end), f64(p), beta)


@given(numbers, labels, scales)
def test_the_slope_of_dpo(delta, p, beta):
    slope = value_and_slope(lambda at: soft_dpo(at, f64(p), beta), delta)[1]
    assert slope == pytest.approx(beta * (sigmoid(beta * delta) - p), abs=1e-12)


@given(labels, scales)
def test_at_the_reference_ipo_is_the_square_of_its_aim(p, tau):
    value, slope = value_and_slope(lambda at: ipo(at, f64(p), tau), 0)
    assert value == pytest.approx(((2 * p - 1) / (2 * tau)) ** 2, abs=1e-9)
    assert slope == pytest.approx((1 - 2 * p) / tau, abs=1e-9)
    assert value_and_slope(lambda at: ipo(at, f64(p), tau), (2 * p - 1) / (2 * tau)) == pytest.approx((0, 0))


@pytest.mark.parametrize("name", LOSSES)
@given(first=numbers, second=numbers, p=labels)
def test_a_pair_swapped_is_the_same_loss_with_its_gradients_swapped(name, first, second, p):
    found = []
    for rewards, label in (((first, second), p), ((second, first), 1 - p)):
        both = f64(*rewards).requires_grad_()
        loss = LOSSES[name](both[0] - both[1], torch.tensor(label, dtype=torch.float64))
        found.append((loss.detach(), torch.autograd.grad(loss, both)[0]))
    (loss, gradient), (swapped, swapped_gradient) = found
    torch.testing.assert_close(loss, swapped, atol=1e-12, rtol=1e-9)
    torch.testing.assert_close(gradient, swapped_gradient.flip(0), atol=1e-12, rtol=1e-9)


@pytest.mark.parametrize("name", LOSSES)
@given(rewards=st.tuples(numbers, numbers), more=st.integers(-8, 8), p=labels)
def test_what_is_added_to_both_rewards_of_a_prompt_changes_nothing(name, rewards, more, p):
    first, second = f64(*rewards)
    plain = LOSSES[name](first - second, f64(p))
    torch.testing.assert_close(LOSSES[name]((first + more) - (second + more), f64(p)), plain, atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize("name", LOSSES)
def test_an_even_label_leaves_the_reference_alone(name):
    assert value_and_slope(lambda at: LOSSES[name](at, f64(0.5)), 0)[1] == 0


def plain_advantages(rewards, floor):
    """By loops over plain numbers."""
    means = [[r for r in group if not math.isnan(r)] for group in rewards]
    means = [sum(group) / len(group) if group else math.nan for group in means]
    distances = [r - mean for group, mean in zip(rewards, means, strict=True) for r in group if not math.isnan(r)] or [
        0.0
    ]
    deviation = max(floor, math.sqrt(sum(d * d for d in distances) / len(distances)))
    return [
        [0.0 if math.isnan(r) else (r - mean) / deviation for r in group]
        for group, mean in zip(rewards, means, strict=True)
    ]


@given(
    st.integers(1, 5).flatmap(
        lambda n: st.lists(st.lists(numbers | st.just(math.nan), min_size=n, max_size=n), min_size=1, max_size=4)
    )
)
def test_advantages_are_distances_from_the_group_in_deviations_of_the_batch(rewards):
    found = group_advantages(torch.tensor(rewards, dtype=torch.float64), floor=0.01)
    torch.testing.assert_close(found, f64(*plain_advantages(rewards, 0.01)), atol=1e-9, rtol=1e-9)


@given(st.floats(-1e6, 1e6, width=32), st.integers(1, 9))
def test_equal_rewards_have_exactly_no_advantage(reward, n):
    assert not group_advantages(torch.full((2, n), reward), floor=1e-9).any()


def test_rewards_next_to_each_other_teach_next_to_nothing():
    """In deviations of their own group some would stand at 0.8, and seven times 0.7 in float32 at 0.91."""
    close = torch.tensor([[1.0000, 1.0003, 0.9998, 1.0001]])
    assert group_advantages(close, floor=0.01).abs().max() < 0.03
    far = torch.tensor([[0.0, 1.0, 0.0, 1.0], [1.0000, 1.0003, 0.9998, 1.0001]])
    assert group_advantages(far, floor=1e-9)[1].abs().max() < 1e-3
    assert not group_advantages(torch.full((1, 7), 0.7), floor=1e-9).any()


def test_what_is_unscored_leaves_the_baseline_and_learns_nothing():
    found = group_advantages(f64(0.0, 2.0, math.nan)[None], floor=0.01)
    torch.testing.assert_close(found, f64(-1.0, 1.0, 0.0)[None])
    assert not group_advantages(torch.full((1, 3), math.nan), floor=0.01).any()
    assert not group_advantages(f64(5.0, math.nan, math.nan)[None], floor=0.01).any()


@given(st.lists(st.tuples(numbers, numbers, numbers), min_size=1, max_size=5))
def test_the_loss_of_a_group_is_that_of_its_definition(tokens):
    now, then, advantages = (f64(*column) for column in zip(*tokens, strict=True))
    by_hand = []
    for new, old, advantage in tokens:
        ratio = math.exp(new - old)
        by_hand.append(-min(ratio * advantage, min(max(ratio, 0.8), 1.28) * advantage))
    torch.testing.assert_close(grpo(now, then, advantages, 0.2, 0.28), f64(*by_hand), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("advantage", "ratio", "slope"),
    [
        (1.0, 1.5, 0),  # far enough
        (-1.0, 1.5, 1.5),  # the wrong way
        (-1.0, 0.5, 0),
        (1.0, 0.5, -0.5),
        (1.0, 1.0, -1.0),
        (1.0, 1.27, -1.27),
        (1.0, 1.29, 0),
        (-1.0, 0.81, 0.81),
        (-1.0, 0.79, 0),
    ],
)
def test_clipping_takes_the_gradient_of_what_has_gone_far_enough_alone(advantage, ratio, slope):
    found = value_and_slope(lambda at: grpo(at, f64(0), f64(advantage), 0.2, 0.28), math.log(ratio))[1]
    assert found == pytest.approx(slope, abs=1e-12)


@given(st.floats(-10, 10), st.lists(st.tuples(numbers, numbers), min_size=4, max_size=4))
def test_equal_rewards_leave_exactly_no_gradient_and_the_kl_leaves_its_own(reward, tokens):
    """Also where the policy has moved since."""
    now, then = (f64(*column) for column in zip(*tokens, strict=True))
    now.requires_grad_()
    advantages = group_advantages(torch.full((1, 4), reward), floor=0.01)[0]
    loss = grpo(now, then, advantages, 0.2, 0.28).sum()
    assert not torch.autograd.grad(loss, now, retain_graph=True)[0].any()
    both = torch.autograd.grad(loss + 0.1 * k2_kl(now, then).sum(), now)[0]
    torch.testing.assert_close(both, 0.1 * (now - then).detach(), atol=1e-12, rtol=0)


@given(st.lists(st.tuples(st.floats(-3, 3), st.floats(-3, 3)), min_size=3, max_size=3))
def test_the_gradient_of_k2_is_that_of_the_exact_kl(logits):
    """Over all actions of a softmax, each as often as it is drawn; half the mean square is not the KL, though."""
    policy, reference = (f64(*column) for column in zip(*logits, strict=True))
    policy.requires_grad_()
    logprobs, fixed = policy.log_softmax(0), reference.log_softmax(0)
    exact = torch.autograd.grad((logprobs.exp() * (logprobs - fixed)).sum(), policy, retain_graph=True)[0]
    expected = (logprobs.exp().detach() * k2_kl(logprobs, fixed)).sum()
    torch.testing.assert_close(torch.autograd.grad(expected, policy)[0], exact, atol=1e-12, rtol=1e-9)
