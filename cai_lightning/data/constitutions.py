"""Opens a constitution by name or path; the paper's is fetched when it is asked for by its name."""

from pathlib import Path

from cai_lightning.constitution import Constitution, read_constitution
from cai_lightning.data.anthropic import prompt_file

INSTRUCTIONS = "CritiqueRevisionInstructions.json"


def open_constitution(source: str) -> Constitution:
    """`default`, `anthropic`, a JSON file, or a folder that holds Anthropic's prompt files.

    Raises:
        UserError: The file is missing or malformed, or cannot be fetched.
    """
    if source == "anthropic":
        return read_constitution(prompt_file(INSTRUCTIONS))
    folder = Path(source)
    for path in (folder / INSTRUCTIONS, folder / "prompts" / INSTRUCTIONS):
        if path.is_file():
            return read_constitution(path)
    return read_constitution(source)
