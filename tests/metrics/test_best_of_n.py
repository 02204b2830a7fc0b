"""The best of n replies: how good it is on average, who loses, what is scored together, and that resuming is exact."""

import asyncio
import math
import random
from collections import Counter

import pytest
import torch

from cai_lightning.engines import Engine, Reply, Sampling, ScriptedEngine
from cai_lightning.metrics import BestOfN, Column, ResponseMetric, Scores
from cai_lightning.metrics.best_of_n import kl_bound
from cai_lightning.run.errors import ReplyError, UserError
from cai_lightning.run.records import user
from cai_lightning.services.concurrency import for_each

CPU = torch.device("cpu")


class Uniform(Engine):
    """Says a number from 0 to 1, drawn by the seed; `fails` says of a seed whether there is no reply."""

    model, sampling, concurrency = "uniform", Sampling(), 4

    def __init__(self, fails=lambda seed: False):
        self.fails, self.seeds, self.flying, self.most = fails, [], 0, 0

    def start(self, device, adapter=None):
        self.seeds.clear()

    def stop(self):
        pass

    async def reply(self, conversation, seed, logprobs=False):
        self.flying += 1
        self.most = max(self.most, self.flying)
        await asyncio.sleep(0)
        self.flying -= 1
        self.seeds.append(seed)
        if self.fails(seed):
            raise ReplyError(f"no reply to {seed}")
        return Reply(str(random.Random(seed).random()), "stop", 1)

    async def choose(self, conversation, options):
        raise AssertionError


class Told(ResponseMetric):
    """Scores a number by itself, counts loads and batches; `number` turns it into a score."""

    def __init__(self, number=float, direction="higher"):
        super().__init__([Column("told", direction, -math.inf, math.inf), Column("other", "higher", 0.0, 1.0)])
        self.number, self.batches, self.loads = number, [], 0

    def load(self, device):
        self.loads += 1

    def score(self, responses):
        self.batches.append([one.prompt for one in responses])
        values = torch.tensor([self.number(one.response) for one in responses], dtype=torch.float64)
        return Scores({"told": values, "other": torch.zeros(len(values))}, [None] * len(values))

    def free(self):
        self.loads -= 100


def answers(engine, prompts=1, seed="s"):
    async def ask(n):
        return await engine.reply([user(f"prompt {n}")], f"{seed}:{n}")

    async def everything():
        return await for_each(ask, range(prompts), engine.concurrency, lambda n, error: error)

    engine.start(CPU)
    try:
        return asyncio.run(everything())
    finally:
        engine.stop()


@pytest.mark.parametrize("n", [1, 2, 5, 16])
def test_the_best_of_uniform_scores_is_as_good_as_it_should_be(n):
    """The largest of n uniform numbers is n / (n + 1) on average."""
    said = [float(reply.text) for reply in answers(BestOfN(Uniform(), Told(), n), 600)]
    deviation = math.sqrt(n / ((n + 1) ** 2 * (n + 2)))
    assert abs(sum(said) / len(said) - n / (n + 1)) < 4 * deviation / math.sqrt(len(said))


@pytest.mark.parametrize("n", [1, 2, 16, 64])
def test_the_bound_is_the_divergence_where_no_two_tie(n):
    """Over ranks the best of n has the density n u^(n-1)."""
    places = (torch.arange(400_000, dtype=torch.float64) + 0.5) / 400_000
    density = n * places ** (n - 1)
    assert kl_bound(n) == pytest.approx(float((density * density.log()).nan_to_num(0).mean()), abs=1e-4)


def test_the_first_reply_is_that_of_the_engine_alone_and_the_others_have_seeds_of_their_own():
    alone, engine = Uniform(), Uniform()
    assert answers(BestOfN(engine, Told(), 1), 3) == answers(alone, 3)
    answers(BestOfN(engine, Told(), 4), 3)
    assert sorted(Counter(engine.seeds).values()) == [1] * 12
    assert set(alone.seeds) < set(engine.seeds)


def test_lower_is_better_where_the_column_says_so():
    engine = Uniform()
    (low,) = answers(BestOfN(engine, Told(direction="lower"), 8))
    assert float(low.text) == min(random.Random(seed).random() for seed in engine.seeds)


def test_of_equal_scores_the_first_wins_and_one_without_a_score_loses():
    engine = BestOfN(Uniform(), Told(lambda text: 0.5), 8)
    assert answers(engine)[0].text == str(random.Random("s:0").random())
    numbers = [random.Random(seed).random() for seed in ("s:0", *(f"s:0:{n}" for n in range(1, 8)))]
    best = sorted(numbers)[-1]
    unscored = Told(lambda text: math.nan if float(text) == best else float(text))
    assert float(answers(BestOfN(Uniform(), unscored, 8))[0].text) == sorted(numbers)[-2]
    nobody = BestOfN(Uniform(), Told(lambda text: math.nan), 8)
    assert float(answers(nobody)[0].text) == numbers[0]


def test_silence_loses_against_the_worst_words(caplog):
    engine = BestOfN(ScriptedEngine([" ", "-7", "-9"]), Told(), 3)
    assert answers(engine)[0].text == "-7"
    assert "of 3 replies 0 failed and 1 have no score" in caplog.text


def test_a_failed_reply_is_told_and_all_of_them_are_a_failure(caplog):
    engine = BestOfN(Uniform(lambda seed: seed.endswith((":1", ":2"))), Told(), 3)
    first, second, third = answers(engine, 3)
    assert first.text == str(random.Random("s:0").random())
    assert "of 9 replies 8 failed" in caplog.text
    assert (str(second), str(third)) == ("no reply to s:1", "no reply to s:2")


def test_many_prompts_are_scored_at_once_and_the_reward_is_loaded_once():
    reward, engine = Told(), Uniform()
    engine.concurrency = 16
    answers(BestOfN(engine, reward, 4, score_batch_size=32), 40)
    assert sum(map(len, reward.batches)) == 160
    assert max(map(len, reward.batches)) <= 32
    assert len(reward.batches) <= 10
    assert max(len(set(batch)) for batch in reward.batches) == 8
    assert reward.loads == 1 - 100
    assert engine.most == 16


def test_what_fails_in_scoring_ends_all():
    def broken(text):
        raise UserError("the service sleeps")

    with pytest.raises(UserError, match="the service sleeps"):
        answers(BestOfN(Uniform(), Told(broken), 4), 9)


def test_a_reward_that_asks_a_server_runs_its_own_loop():
    def asking(text):
        return asyncio.run(asyncio.sleep(0, float(text)))

    assert float(answers(BestOfN(Uniform(), Told(asking), 4), 3)[0].text) > 0


@pytest.mark.parametrize(
    ("settings", "why"), [({"n": 0}, "engine.n: must be ≥ 1, not 0"), ({"column": "x"}, "'x' is none of told, other")]
)
def test_settings_that_mean_nothing_are_refused(settings, why):
    with pytest.raises(ValueError, match=why):
        BestOfN(Uniform(), Told(), **settings)


@pytest.fixture
def best(experiment):
    """An experiment whose engine takes the best of three by the length of its words."""
    (experiment.config.parent / "wordy.py").write_text(WORDY)
    experiment.write_revisions()
    arguments = experiment.sections["validate"]["model"]["init_args"]
    init_args = {"engine": arguments["engine"], "reward": {"class_path": "wordy.Wordy"}, "n": 3}
    arguments["engine"] = {"class_path": "cai_lightning.metrics.BestOfN", "init_args": init_args}
    experiment.save()
    return experiment


WORDY = """
import torch
from cai_lightning.metrics import Column, ResponseMetric, Scores

class Wordy(ResponseMetric):
    def __init__(self):
        super().__init__([Column("wordy", "higher", 0.0, float("inf"))])

    def load(self, device):
        pass

    def score(self, responses):
        lengths = torch.tensor([float(len(one.response)) for one in responses])
        return Scores({"wordy": lengths}, [None] * len(responses))

    def free(self):
        pass
"""


def test_validate_takes_it_by_its_class_path_and_resumes_exactly(best, capsys):
    assert best("validate") == 0
    rows = best.rows("responses.jsonl")
    assert len(rows) > 3
    assert rows[0]["model"].endswith("(best of 3 by wordy, at most 0.43 nats away)")
    (best.run / "responses.jsonl").write_text((best.run / "responses.jsonl").read_text().splitlines(True)[0])
    assert best("validate") == 0
    assert best.rows("responses.jsonl") == rows
    assert best("validate", "--model.engine.init_args.n", "1", "--fresh") == 0
    alone = best.rows("responses.jsonl")
    assert all(len(row["response"]) <= len(other["response"]) for row, other in zip(alone, rows, strict=True))
    assert alone != rows
    assert best("validate") == 1
    assert "engine.n" in capsys.readouterr().err
