"""The objectives: what a verb does with a model."""

from cai_lightning.modules.critique_revision import CritiqueRevision
from cai_lightning.modules.evaluation import Evaluation
from cai_lightning.modules.policy_module import PolicyModule
from cai_lightning.modules.sft import SupervisedFineTuning

__all__ = ["CritiqueRevision", "Evaluation", "PolicyModule", "SupervisedFineTuning"]
