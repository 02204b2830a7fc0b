"""Evaluators from outside the package that reward answers."""

import torch

from cai_lightning.metrics.base import Column, ResponseMetric, Scores


class Characters(ResponseMetric):
    """How many characters an answer has; those to prompts about bread have no score where that is asked for."""

    def __init__(self, name: str = "characters", direction: str = "higher", scores_bread: bool = True):
        super().__init__([Column(name, direction, 0.0, float("inf"))])
        self.name, self.direction, self.scores_bread = name, direction, scores_bread

    def load(self, device):
        pass

    def score(self, responses):
        left_out = ["bread" in response.prompt and not self.scores_bread for response in responses]
        values = [torch.nan if out else float(len(r.response)) for out, r in zip(left_out, responses, strict=True)]
        return Scores({self.name: torch.tensor(values)}, ["about bread" if out else None for out in left_out])

    def free(self):
        pass


class Same(ResponseMetric):
    """The same for every answer."""

    def __init__(self):
        super().__init__([Column("same", "higher", 0.0, 1.0)])

    def load(self, device):
        pass

    def score(self, responses):
        return Scores({"same": torch.full((len(responses),), 0.7)}, [None] * len(responses))

    def free(self):
        pass
