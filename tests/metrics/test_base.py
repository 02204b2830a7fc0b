"""The contract of evaluators: each row once, NaN where nothing is scored, one result on every process."""

import math
import pickle

import numpy as np
import pytest
import torch
import torch.distributed as dist
from torchmetrics import MetricCollection

from cai_lightning.metrics.base import Column, ResponseMetric, Scores, estimate_in, within_bounds
from cai_lightning.statistics import mean_interval


class Letters(ResponseMetric):
    """Counts the letters of a response and its vowels; a response without letters is unscored."""

    def __init__(self):
        super().__init__([Column("letters", "higher", 0, float("inf")), Column("vowels", "lower", 0, float("inf"))])

    def load(self, device):
        pass

    def free(self):
        pass

    def score(self, responses):
        letters = torch.tensor([float(len(r.response)) or torch.nan for r in responses])
        vowels = torch.tensor([float(sum(c in "aeiou" for c in r.response)) for r in responses])
        return Scores({"letters": letters, "vowels": vowels}, [None] * len(responses))


def updated(*batches):
    metric = Letters()
    for rows, letters in batches:
        values = torch.tensor(letters, dtype=torch.float32)
        metric.update(torch.tensor(rows, dtype=torch.int64), {"letters": values, "vowels": -values})
    return metric


def means(metric):
    computed = metric.compute()
    return {column.name: computed[column.name].item() for column in metric.columns}


def test_each_row_counts_once_whatever_the_batches():
    whole = updated(([0, 1, 2], [1, 2, 6]))
    parts = updated(([2, 0], [6, 1]), ([], []), ([1, 2], [2, 6]))
    assert means(whole) == means(parts) == {"letters": 3, "vowels": -3}


def test_unscored_rows_do_not_count():
    assert means(updated(([0, 1, 2], [1, torch.nan, 3]))) == {"letters": 2, "vowels": -2}


@pytest.mark.parametrize("batches", [[], [([], [])], [([0, 1], [torch.nan, torch.nan])]])
def test_nothing_scored_is_nan(batches):
    assert all(math.isnan(mean) for mean in means(updated(*batches)).values())


def test_reset_forgets_everything():
    metric = updated(([0], [1]))
    metric.reset()
    assert metric.compute()["letters"].isnan()
    metric.update(torch.tensor([4]), {"letters": torch.tensor([5.0]), "vowels": torch.tensor([0.0])})
    assert means(metric) == {"letters": 5, "vowels": 0}


@pytest.mark.parametrize("batches", [[], [([0, 1], [1, 2]), ([2], [6])]])
def test_it_survives_pickling_and_cloning(batches):
    metric = updated(*batches)
    for copy in (pickle.loads(pickle.dumps(metric)), metric.clone()):
        assert repr(means(copy)) == repr(means(metric))


def test_metrics_of_one_collection_keep_their_own_rows():
    metrics = MetricCollection({"one": updated(([0], [1])), "other": updated(([0], [3]))}, compute_groups=False)
    computed = metrics.compute()
    assert (computed["one_letters"], computed["other_letters"]) == (1, 3)


def test_a_row_that_is_scored_again_counts_as_it_was_last():
    assert means(updated(([0, 1], [1, 5]), ([0], [3]))) == {"letters": 4, "vowels": -4}
    assert means(updated(([0, 1], [1, 5]), ([0], [torch.nan]))) == {"letters": 5, "vowels": -5}


def test_it_is_the_mean_over_prompts_in_the_order_of_their_ids():
    """What `mean_interval` makes of the same scores by id, whatever the order in which they come, to the last digit."""
    drawn = np.random.default_rng(0)
    ids, of_prompt = drawn.permutation(60), drawn.integers(40, size=60)
    metric, values = Letters(), drawn.normal(size=60).astype(np.float32)
    for rows in np.split(ids, 7 * np.arange(1, 9)):
        letters = torch.from_numpy(values[rows])
        prompts = torch.from_numpy(of_prompt[rows])
        metric.update(torch.from_numpy(rows), {"letters": letters, "vowels": letters}, prompts)
    by_id = {f"{n:016x}": float(values[n]) for n in range(60)}
    expected = mean_interval(by_id, prompts={f"{n:016x}": f"{of_prompt[n]:016x}" for n in range(60)})
    assert estimate_in(metric.compute(), "letters") == expected


class Judge(Letters):
    def __init__(self, low):
        ResponseMetric.__init__(self, [Column("judge", "higher", low, 1.0 + 4 * low)])


@pytest.mark.parametrize(("low", "has_width"), [(0.0, True), (1.0, False)])
def test_ones_on_a_scale_that_starts_there_are_no_rate(low, has_width):
    metric = Judge(low)
    metric.update(torch.arange(7), {"judge": torch.ones(7)})
    estimate = estimate_in(metric.compute(), "judge")
    assert (estimate.mean, estimate.high, estimate.low < 1) == (1, 1, has_width)


SHARES = {
    "both": [[([0, 2], [1, 3])], [([1], [8]), ([4, 3], [torch.nan, 4])]],
    "one without rows": [[], [([0, 1], [1, 3])]],
    "none": [[], []],
    "a row on both": [[([0, 1], [1, 3])], [([1, 2], [3, 5])]],
}


@pytest.mark.slow
def test_processes_agree_whatever_their_shares(tmp_path):
    torch.multiprocessing.spawn(compute_on_rank, args=(tmp_path,), nprocs=2)
    results = [torch.load(tmp_path / f"rank{rank}.pt") for rank in range(2)]
    assert repr(results[0]) == repr(results[1])
    assert results[0] == pytest.approx(
        {"both": 4.0, "one without rows": 2.0, "none": torch.nan, "a row on both": 3.0}, nan_ok=True
    )


def compute_on_rank(rank, folder):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder / 'meeting'}", rank=rank, world_size=2)
    computed = {name: means(updated(*shares[rank]))["letters"] for name, shares in SHARES.items()}
    torch.save(computed, folder / f"rank{rank}.pt")
    dist.destroy_process_group()


def test_numbers_that_a_column_cannot_hold_are_unscored_and_named():
    columns = [Column("judge", "higher", 1, 5), Column("share", "lower", 0, float("inf"))]
    values = {"judge": torch.tensor([7.0, 1.0, 5.0, torch.nan]), "share": torch.tensor([-1.0, 2.0, torch.inf, 0.0])}
    given = Scores(values, [None, None, "slow", "no verdict"], [{"n": n} for n in range(4)])
    kept = within_bounds(given, columns)
    assert kept.values["judge"].isnan().tolist() == [True, False, False, True]
    assert kept.values["share"].isnan().tolist() == [True, False, True, False]
    assert kept.reasons == [
        "judge 7 is not in 1 to 5; share -1 is not in 0 to inf",
        None,
        "slow; share inf is not in 0 to inf",
        "no verdict",
    ]
    assert kept.details == given.details
    assert given.values["judge"][0] == 7


def test_a_bound_itself_is_held_as_coarsely_as_scores_are():
    for high in (0.1, 0.3, 0.6, 1.0):
        kept = within_bounds(Scores({"a": torch.tensor([high])}, [None]), [Column("a", "higher", 0, high)])
        assert kept.reasons == [None], high
