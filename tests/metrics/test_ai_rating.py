"""A rating is the mean of what a feedback model's answers stand for, weighted by their probabilities."""

import asyncio
import re

import pytest
import torch

from cai_lightning.engines import Choice, ScriptedEngine, TransformersEngine
from cai_lightning.metrics.judge import RATING, AIRating
from cai_lightning.run import manifest
from cai_lightning.run.errors import ReplyError
from cai_lightning.run.records import Response, assistant, user


def response(text, turns=None):
    return Response(
        "id", "And then?", response=text, reference=None, finish_reason="stop", model="m", adapter=None, turns=turns
    )


class Leaning(ScriptedEngine):
    """Leans towards the last option; what it cannot read is a failure."""

    def __init__(self):
        super().__init__(["1"])
        self.questions = []

    async def choose(self, conversation, options):
        (asked,) = conversation
        self.questions.append(asked["content"])
        if "unreadable" in asked["content"]:
            raise ReplyError("too long")
        return Choice([0.25, *[0.0] * (len(options) - 2), 0.75], mass=0.5)


def test_it_is_the_mean_over_all_answers_and_says_how_much_mass_they_have():
    rating = AIRating(Leaning())
    scores = rating.score([response("Bake it."), response("unreadable")])
    torch.testing.assert_close(scores.values["ai_rating"], torch.tensor([0.75, torch.nan]), equal_nan=True)
    assert scores.reasons == [None, "too long"]
    assert scores.details == [{"mass": 0.5}, {}]


def test_the_model_is_shown_the_whole_conversation_and_nothing_in_it_is_a_template():
    engine = Leaning()
    turns = [user("Hi {response}"), assistant("Hello."), user("And then?")]
    AIRating(engine).score([response("Say {conversation}.", turns)])
    talk = "Human: Hi {response}\n\nAssistant: Hello.\n\nHuman: And then?"
    before, between, behind = re.split(r"\{conversation\}|\{response\}", RATING)
    assert engine.questions == [f"{before}{talk}{between}Say {{conversation}}.{behind}"]


def test_answers_and_question_are_settings():
    rating = AIRating(Leaning(), "Is this kind? {response}", {"(A)": 1.0, "(B)": -1.0}, column="kind")
    scores = rating.score([response("Yes.")])
    assert scores.values["kind"].tolist() == [-0.5]
    assert (rating.columns[0].low, rating.columns[0].high) == (-1.0, 1.0)
    assert {"question", "answers.(A)", "column"} <= manifest.settings(rating).keys()


@pytest.mark.parametrize(
    ("question", "answers"),
    [("Is this kind?", None), ("{response}", {"1": 0.0}), ("{response}", {"1": 0.0, "10": 1.0})],
)
def test_what_cannot_be_asked_is_refused(question, answers):
    with pytest.raises(ValueError, match=r"AIRating|options"):
        AIRating(Leaning(), question, answers)


def test_it_is_read_off_a_real_model(tiny_model):
    rating = AIRating(TransformersEngine(str(tiny_model), dtype="float32"))
    rating.load(torch.device("cpu"))
    asked = [user(RATING.replace("{conversation}", "Human: And then?").replace("{response}", "Bake it."))]
    choice = asyncio.run(rating.engine.choose(asked, ["1", "2", "3", "4", "5"]))
    expected = sum(n / 4 * share for n, share in enumerate(choice.shares))
    assert rating.score([response("Bake it.")]).values["ai_rating"].item() == pytest.approx(expected, abs=1e-6)
    rating.free()
