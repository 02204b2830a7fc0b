"""A constitution: the principles by which responses are critiqued and revised.

    constitution = read_constitution("default")

Three layouts are read: ours, `{"name", "principles": [{"id", "critique_request", "revision_request"}]}`; Anthropic's
`CritiqueRevisionInstructions.json`; and Hugging Face's `{"constitutions": [{"critic", "revision"}]}`.

Opens a constitution by name or path; the paper's is fetched when it is asked for by its name.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

from cai_lightning.principles.anthropic import find_prompt_file
from cai_lightning.run.errors import UserError
from cai_lightning.run.files import load_json, object_at, objects_at, shown, text_at

_DEFAULT = Path(__file__).with_name("constitutions") / "default.json"


@dataclass(frozen=True)
class Principle:
    """A request for a critique and the request for the revision that follows it."""

    id: str
    critique_request: str
    revision_request: str


@dataclass(frozen=True)
class Constitution:
    """Principles in their order, at least one.

    Args:
        name: The name its file gives it, or the file's own.
        principles: The principles; their ids are distinct.
        digest: 16 hex digits of the SHA-256 of the principles; the layout and the formatting of the file do not count.
    """

    name: str
    principles: tuple[Principle, ...]
    digest: str


def read_constitution(source: str | Path) -> Constitution:
    """Reads a constitution.

    Args:
        source: `default`, the principles written for this project, or the path of a JSON file in one of the layouts.

    Raises:
        UserError: The file is missing or malformed; the message names the file, the place and what stands there.
    """
    path = _DEFAULT if source == "default" else Path(source)
    content = load_json(path, "constitution")
    if not isinstance(content, dict):
        raise UserError(f"{path}: expected a JSON object, found {shown(content)}")
    principles = tuple(_read_principles(path, content))
    _check(path, principles)
    name = text_at(path, "name", content.get("name")) if "principles" in content else path.stem
    return Constitution(name, principles, _digest(principles))


def _read_principles(path: Path, content: dict[str, Any]) -> Iterator[Principle]:
    if "principles" in content:
        return _ours(path, objects_at(path, "principles", content["principles"]))
    if "constitutions" in content:
        return _hugging_face(path, objects_at(path, "constitutions", content["constitutions"]))
    if any(isinstance(value, dict) and "edit_request" in value for value in content.values()):
        return _anthropic(path, content)
    raise UserError(
        f"{path}: unknown layout; expected the key 'principles' (ours), 'constitutions' (Hugging Face) or objects with"
        f" 'prompt' and 'edit_request' (Anthropic), found the keys {shown(list(content))}"
    )


def _ours(path: Path, objects: list[tuple[str, dict[str, Any]]]) -> Iterator[Principle]:
    for place, fields in objects:
        names = ("id", "critique_request", "revision_request")
        yield Principle(*(text_at(path, f"{place}.{name}", fields.get(name)) for name in names))


def _hugging_face(path: Path, objects: list[tuple[str, dict[str, Any]]]) -> Iterator[Principle]:
    for n, (place, fields) in enumerate(objects):
        critic, revision = (text_at(path, f"{place}.{name}", fields.get(name)) for name in ("critic", "revision"))
        yield Principle(f"hf{n}", critic, revision)


def _anthropic(path: Path, content: dict[str, Any]) -> Iterator[Principle]:
    """Anthropic's texts carry the dialogue's labels around them, and each critique request stands in a list of one."""
    for id, value in content.items():
        fields = object_at(path, id, value)
        prompts = fields.get("prompt")
        if not isinstance(prompts, list) or len(prompts) != 1:
            raise UserError(f"{path}, {id}.prompt: expected a list of one text, found {shown(prompts)}")
        critique = text_at(path, f"{id}.prompt[0]", prompts[0], "CritiqueRequest:", "Critique:")
        revision = text_at(path, f"{id}.edit_request", fields.get("edit_request"), "RevisionRequest:", "Revision:")
        yield Principle(text_at(path, "a principle's key", id), critique, revision)


def _check(path: Path, principles: tuple[Principle, ...]) -> None:
    if not principles:
        raise UserError(f"{path}: the constitution has no principles")
    id, count = Counter(principle.id for principle in principles).most_common(1)[0]
    if count > 1:
        raise UserError(f"{path}: {count} principles have the id {id!r}; each needs its own")


def _digest(principles: tuple[Principle, ...]) -> str:
    return hashlib.sha256(json.dumps([astuple(p) for p in principles]).encode()).hexdigest()[:16]


INSTRUCTIONS = "CritiqueRevisionInstructions.json"


def open_constitution(source: str) -> Constitution:
    """`default`, `anthropic`, a JSON file, or a folder that holds Anthropic's prompt files.

    Raises:
        UserError: The file is missing or malformed, or cannot be fetched.
    """
    return read_constitution(source if source == "default" else find_prompt_file(source, INSTRUCTIONS))
