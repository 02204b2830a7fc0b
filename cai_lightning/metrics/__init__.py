"""Evaluators: torchmetrics metrics that score responses, one file each."""

from cai_lightning.metrics.base import Column, ResponseMetric, Scores
from cai_lightning.metrics.harmlessness import Harmlessness
from cai_lightning.metrics.reward_model import RewardModel
from cai_lightning.metrics.semantic_similarity import SemanticSimilarity

__all__ = ["Column", "Harmlessness", "ResponseMetric", "RewardModel", "Scores", "SemanticSimilarity"]
