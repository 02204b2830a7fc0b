"""From files to prompts, from revisions to batches.

The data modules are imported when they are asked for, so that cleaning and reading do not wait for Lightning.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cai_lightning.data.prompt_data import PromptData, ResponseData
    from cai_lightning.data.revision_data import RevisionData

__all__ = ["PromptData", "ResponseData", "RevisionData"]


def __getattr__(name: str) -> type:
    if name == "PromptData":
        from cai_lightning.data.prompt_data import PromptData

        return PromptData
    if name == "ResponseData":
        from cai_lightning.data.prompt_data import ResponseData

        return ResponseData
    if name == "RevisionData":
        from cai_lightning.data.revision_data import RevisionData

        return RevisionData
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
