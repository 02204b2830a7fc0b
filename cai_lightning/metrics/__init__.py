"""Evaluators: torchmetrics metrics that score responses, one file each."""

from cai_lightning.metrics.base import Column as Column
from cai_lightning.metrics.base import ResponseMetric as ResponseMetric
from cai_lightning.metrics.base import Scores as Scores
from cai_lightning.metrics.best_of_n import BestOfN as BestOfN
from cai_lightning.metrics.harmlessness import Harmlessness as Harmlessness
from cai_lightning.metrics.judge import AIRating as AIRating
from cai_lightning.metrics.judge import Judge as Judge
from cai_lightning.metrics.moderation import Moderation as Moderation
from cai_lightning.metrics.reward_model import RewardModel as RewardModel
from cai_lightning.metrics.semantic_similarity import SemanticSimilarity as SemanticSimilarity
