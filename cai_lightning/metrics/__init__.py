"""Evaluators: torchmetrics metrics that score responses, one file each."""

from cai_lightning.metrics.base import Column, ResponseMetric, Scores
from cai_lightning.metrics.harmlessness import Harmlessness
from cai_lightning.metrics.judge import Judge
from cai_lightning.metrics.moderation import Moderation
from cai_lightning.metrics.reward_model import RewardModel
from cai_lightning.metrics.semantic_similarity import SemanticSimilarity

__all__ = [
    "Column",
    "Harmlessness",
    "Judge",
    "Moderation",
    "ResponseMetric",
    "RewardModel",
    "Scores",
    "SemanticSimilarity",
]
