"""From files to prompts, from revisions to batches."""

from cai_lightning.data.prompt_data import PromptData
from cai_lightning.data.revision_data import RevisionData

__all__ = ["PromptData", "RevisionData"]
