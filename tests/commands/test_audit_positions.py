"""Judges shown both responses: what they say in the two orders, against servers that speak Ollama's protocol."""

import pytest
from judges import judging, said, texts

from cai_lightning.commands.audit.command import judge_positions
from cai_lightning.commands.audit.findings import Labels
from cai_lightning.data.labelled import Labelled, LabelledPair
from cai_lightning.metrics import Judge
from cai_lightning.run.records import user
from cai_lightning.services.judge import JudgeModel


@pytest.fixture
def labels():
    """Twelve pairs of six conversations; the better response is the longer one in nine of them."""
    chosen = ["x" * (9 if n < 9 else 2) for n in range(12)]
    return Labels(Labelled([LabelledPair([user(f"Why {n // 2}?")], text, "y" * 5) for n, text in enumerate(chosen)]))


def longest(request, headers=None):
    a, b = (text for _, text in texts(request)[-2:])
    return said({"rationale": "by length", "better": "A" if len(a) > len(b) else "B"})


def always(letter):
    return lambda request, headers=None: said({"rationale": "by position", "better": letter})


def judge(url):
    return Judge(JudgeModel("llama3.1", base_url=url, max_retries=0, tries=1))


def test_a_judge_that_looks_at_the_responses_is_consistent(labels, tmp_path):
    with judging(longest) as server:
        found = judge_positions(judge(server.root), labels, tmp_path)
        again = judge_positions(judge(server.root), labels, tmp_path)
        assert (len(server.asked), again) == (24, found)
    assert (found.accuracy.mean, found.consistency.mean, found.first_shown.mean) == (0.75, 1, 0.5)
    assert (found.ties, found.unscored, found.not_run) == (0, 0, None)


@pytest.mark.parametrize(("letter", "first_shown"), [("A", 1), ("B", 0), ("tie", 0.5)])
def test_a_judge_that_looks_at_the_position_prefers_nothing(labels, tmp_path, letter, first_shown):
    with judging(always(letter)) as server:
        found = judge_positions(judge(server.root), labels, tmp_path)
    assert (found.accuracy.mean, found.ties) == (0.5, 12)
    assert found.first_shown.mean == first_shown
    assert found.consistency.mean == (1 if letter == "tie" else 0)


def test_what_has_no_verdict_is_counted(labels, tmp_path):
    with judging(lambda request, headers: said("no") if "Why 0?" in str(request) else longest(request)) as server:
        found = judge_positions(judge(server.root), labels, tmp_path)
    assert (found.unscored, found.accuracy.n, found.consistency.n) == (2, 10, 10)


def test_a_judge_that_is_not_there_is_not_run(labels, tmp_path):
    found = judge_positions(judge("http://127.0.0.1:9"), labels, tmp_path)
    assert found.not_run
    assert found.accuracy.mean is None
