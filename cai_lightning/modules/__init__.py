"""The objectives: what a verb does with a model."""

from cai_lightning.modules.ai_feedback import AIFeedback as AIFeedback
from cai_lightning.modules.critique_revision import CritiqueRevision as CritiqueRevision
from cai_lightning.modules.dpo import DirectPreferenceOptimization as DirectPreferenceOptimization
from cai_lightning.modules.evaluation import Evaluation as Evaluation
from cai_lightning.modules.grpo import GRPO as GRPO
from cai_lightning.modules.guards import Guards as Guards
from cai_lightning.modules.policy_module import PolicyModule as PolicyModule
from cai_lightning.modules.preference_model import PreferenceModel as PreferenceModel
from cai_lightning.modules.sft import SupervisedFineTuning as SupervisedFineTuning
