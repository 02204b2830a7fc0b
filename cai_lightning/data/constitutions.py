"""Opens a constitution by name or path; the paper's is fetched when it is asked for by its name."""

from cai_lightning.constitution import Constitution, read_constitution
from cai_lightning.data.anthropic import find_prompt_file

INSTRUCTIONS = "CritiqueRevisionInstructions.json"


def open_constitution(source: str) -> Constitution:
    """`default`, `anthropic`, a JSON file, or a folder that holds Anthropic's prompt files.

    Raises:
        UserError: The file is missing or malformed, or cannot be fetched.
    """
    return read_constitution(source if source == "default" else find_prompt_file(source, INSTRUCTIONS))
