"""Selection of the principle for each round of critique and revision."""

from cai_lightning.selection.base import PrincipleSelector, Selection
from cai_lightning.selection.contextual import ContextualSelector
from cai_lightning.selection.random import RandomSelector

__all__ = ["ContextualSelector", "PrincipleSelector", "RandomSelector", "Selection"]
