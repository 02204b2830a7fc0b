"""From files to prompts, from revisions to batches.

The data modules are imported when they are asked for, so that cleaning and reading do not wait for Lightning.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cai_lightning.data.preference_data import PreferenceData as PreferenceData
    from cai_lightning.data.prompt_data import PromptData as PromptData
    from cai_lightning.data.prompt_data import ResponseData as ResponseData
    from cai_lightning.data.prompt_data import TrainingPrompts as TrainingPrompts
    from cai_lightning.data.revision_data import RevisionData as RevisionData

_HOMES = {
    "PreferenceData": "preference_data",
    "PromptData": "prompt_data",
    "ResponseData": "prompt_data",
    "RevisionData": "revision_data",
    "TrainingPrompts": "prompt_data",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
