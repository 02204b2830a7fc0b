"""The licence of a base model, as its own card has it; nothing is guessed."""

from pathlib import Path

import yaml
from huggingface_hub import hf_hub_download
from huggingface_hub.errors import EntryNotFoundError, HFValidationError

KEYS = ("license", "license_name", "license_link")


def licence(base: str) -> dict[str, str]:
    """The licence's keys in the front matter of the base model's card; empty where it has none or is not to be had.

    Args:
        base: Its name on the Hugging Face Hub, a folder, or a `.gguf` file.
    """
    card = _card(base)
    front = _front_matter(card.read_text(encoding="utf-8", errors="replace")) if card else {}
    found = {key: front.get(key) for key in KEYS}
    return {key: value for key, value in found.items() if isinstance(value, str) and 0 < len(value) <= LONGEST}


def _card(base: str) -> Path | None:
    if Path(base).exists():
        card = Path(base) / "README.md"
        return card if card.is_file() else None
    try:
        return Path(hf_hub_download(base, "README.md"))
    except (OSError, EntryNotFoundError, HFValidationError):  # no card, or no network
        return None


def _front_matter(text: str) -> dict[str, object]:
    if not text.startswith("---\n"):
        return {}
    try:
        front = yaml.safe_load(text[4:].partition("\n---")[0])
    except yaml.YAMLError:
        return {}
    return front if isinstance(front, dict) else {}
