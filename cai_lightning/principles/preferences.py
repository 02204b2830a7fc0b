"""The preference principles: by which of two responses a feedback model chooses the better one (Bai et al. 2022, 4.1).

    principles = open_preferences("default")
    principles.draw(1, seed="42:0123456789abcdef.p0")

Two layouts are read: ours, `{"name", "principles": [{"id", "question"}]}`, and Anthropic's
`RLMadisonInstructions.json`, a list of texts, which is fetched when it is asked for as `anthropic`.
"""

import random
from dataclasses import astuple, dataclass
from pathlib import Path

from cai_lightning.principles.constitution import check_ids, find_file
from cai_lightning.run import manifest
from cai_lightning.run.errors import UserError
from cai_lightning.run.jsonl import check, load_json
from cai_lightning.run.records import WRITTEN
from cai_lightning.run.text import excerpt

INSTRUCTIONS = "RLMadisonInstructions.json"
_DEFAULT = Path(__file__).with_name("constitutions") / "preferences.json"


@dataclass(frozen=True)
class PreferencePrinciple:
    """What a feedback model is asked, such as `Which response is more honest?`; the options are put behind it."""

    __pydantic_config__ = WRITTEN

    id: str
    question: str


@dataclass(frozen=True)
class Preferences:
    """Preference principles in their order, at least one; their ids are distinct."""

    __pydantic_config__ = WRITTEN

    name: str
    principles: tuple[PreferencePrinciple, ...]

    @property
    def digest(self) -> str:
        """16 hex digits that stand for the principles; the layout and the formatting of the file do not count."""
        return manifest.digest([astuple(principle) for principle in self.principles])

    def draw(self, count: int, seed: str) -> list[PreferencePrinciple]:
        """So many distinct principles; of a larger number with the same seed they are the first."""
        return random.Random(seed).sample(self.principles, count)


def open_preferences(source: str | Path) -> Preferences:
    """Reads preference principles.

    Args:
        source: `default`, those written for this project; `anthropic`, the paper's 16; a JSON file in one of the
            layouts; or a folder that holds Anthropic's prompt files.

    Raises:
        UserError: The file is missing or malformed, or cannot be fetched.
    """
    path = _DEFAULT if source == "default" else find_file(source, f"prompts/{INSTRUCTIONS}")
    found = _read(path)
    if not found.principles:
        raise UserError(f"{path}: there are no preference principles in it")
    check_ids(path, [principle.id for principle in found.principles])
    return found


def _read(path: Path) -> Preferences:
    content = load_json(path, "file of preference principles")
    if isinstance(content, list):
        texts = check(list[str], content, str(path))
        questions = [text.strip().removesuffix("Options:").strip() for text in texts]
        rows = [{"id": f"madison{n}", "question": question} for n, question in enumerate(questions)]
        return check(Preferences, {"name": path.stem, "principles": rows}, str(path))
    if isinstance(content, dict) and "principles" in content:
        return check(Preferences, content, str(path))
    raise UserError(
        f"{path}: unknown layout; expected an object with the key 'principles' (ours) or a list of texts (Anthropic), "
        f"found {excerpt(content)}"
    )
