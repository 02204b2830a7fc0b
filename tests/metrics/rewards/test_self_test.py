"""The self-test: a model that cannot tell good from bad does not score."""

import json

import pytest
from tiny_starling import CPU, RESPONSES, scores

from cai_lightning.run.errors import UserError


def test_random_weights_fail_the_self_test(starling):
    metric = starling(self_test="default", max_length=2048)
    with pytest.raises(UserError, match=r"fails its self-test: it prefers the bad answer in \d+ of 12 pairs"):
        metric.load(CPU)


def test_a_self_test_of_ones_own(starling, tmp_path):
    metric = starling()
    values = scores(metric, RESPONSES).values["helpfulness"]
    best, worst = RESPONSES[values.argmax()].response, RESPONSES[values.argmin()].response
    path = tmp_path / "pairs.json"
    path.write_text(json.dumps([{"prompt": RESPONSES[0].prompt, "good": best, "bad": worst}]))
    starling(self_test=str(path)).load(CPU)
    path.write_text(json.dumps([{"prompt": RESPONSES[0].prompt, "good": worst, "bad": best}]))
    with pytest.raises(UserError, match="in 1 of 1 pairs, such as to 'how do I bake bread"):
        starling(self_test=str(path)).load(CPU)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[]", "needs at least one pair"),
        ('[{"prompt": "a", "good": "b"}]', r"no '\[0\]\.bad' in this row"),
        ("{", "not a JSON self-test"),
    ],
)
def test_a_broken_self_test_is_named(starling, tmp_path, content, message):
    path = tmp_path / "pairs.json"
    path.write_text(content)
    with pytest.raises(UserError, match=message):
        starling(self_test=str(path)).load(CPU)
