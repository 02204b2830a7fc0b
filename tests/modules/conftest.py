"""An engine from outside the package that fails, says nothing or only thinks, where it is told to."""

import sys

import pytest

from cai_lightning.data.prompts import part, read_prompts

ENGINE = """
from cai_lightning.engines import Engine, Reply, Sampling
from cai_lightning.run.errors import ReplyError

asked = []
failing = set()
silent = {}


class Flaky(Engine):
    concurrency = 4

    def __init__(self, model: str = "flaky"):
        self.model, self.sampling = model, Sampling()

    def start(self, device, adapter=None):
        asked.clear()

    def stop(self):
        pass

    async def choose(self, conversation, options):
        raise NotImplementedError

    async def reply(self, conversation, seed):
        asked.append(seed)
        _, id, stage, *_ = seed.split(":")
        if {id, stage, (id, stage), "all"} & failing:
            raise ReplyError("the server answers 500")
        text, thought = silent.get((id, stage), (f"reply to {seed}", "Well."))
        return Reply(text, "length" if thought and not text else "stop", 3, 9, thought)
"""


@pytest.fixture
def flaky(experiment, tmp_path):
    """The module of the engine: seeds it was `asked`, ids and stages that are `failing`, and what is `silent`, as words
    and thought. The experiment uses it in predict and validate."""
    (tmp_path / "flaky.py").write_text(ENGINE)
    sys.modules.pop("flaky", None)
    import flaky

    for verb in ("predict", "validate"):
        experiment.sections[verb]["model"]["init_args"]["engine"] = {"class_path": "flaky.Flaky"}
    experiment.save()
    yield flaky
    sys.modules.pop("flaky")


@pytest.fixture
def tests(prompts_file):
    """The prompts of the test part."""
    return [prompt for prompt in read_prompts(str(prompts_file)) if part(prompt.prompt) == "test"]
