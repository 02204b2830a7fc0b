"""A constitution: the principles by which responses are critiqued and revised.

    constitution = open_constitution("default")

Three layouts are read: ours, `{"name", "principles": [{"id", "critique_request", "revision_request"}]}`; Anthropic's
`CritiqueRevisionInstructions.json`, which is fetched when it is asked for as `anthropic`; and Hugging Face's
`{"constitutions": [{"critic", "revision"}]}`.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Annotated, Any

from annotated_types import Len

from cai_lightning.principles.anthropic import find_prompt_file
from cai_lightning.run.errors import UserError
from cai_lightning.run.jsonl import check, load_json
from cai_lightning.run.records import WRITTEN
from cai_lightning.run.text import excerpt

_DEFAULT = Path(__file__).with_name("constitutions") / "default.json"


@dataclass(frozen=True)
class Principle:
    """A request for a critique and the request for the revision that follows it."""

    __pydantic_config__ = WRITTEN

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
    content = check(dict[str, Any], load_json(path, "constitution"), str(path))
    name, principles = _read(path, content)
    _check(path, principles)
    return Constitution(name, tuple(principles), _digest(principles))


def _read(path: Path, content: dict[str, Any]) -> tuple[str, list[Principle]]:
    """The name and the principles of a file in one of the layouts."""
    if "principles" in content:
        ours = check(_Ours, content, str(path))
        return ours.name, ours.principles
    if "constitutions" in content:
        pairs = check(_HuggingFace, content, str(path)).constitutions
        return path.stem, [Principle(f"hf{n}", pair.critic, pair.revision) for n, pair in enumerate(pairs)]
    if any(isinstance(value, dict) and "edit_request" in value for value in content.values()):
        found = check(dict[str, _Anthropic], content, str(path))
        return path.stem, [_without_labels(path, id, texts) for id, texts in found.items()]
    raise UserError(
        f"{path}: unknown layout; expected the key 'principles' (ours), 'constitutions' (Hugging Face) or objects with"
        f" 'prompt' and 'edit_request' (Anthropic), found the keys {excerpt(list(content))}"
    )


@dataclass(frozen=True)
class _Ours:
    __pydantic_config__ = WRITTEN

    name: str
    principles: list[Principle]


@dataclass(frozen=True)
class _HuggingFacePair:
    __pydantic_config__ = WRITTEN

    critic: str
    revision: str


@dataclass(frozen=True)
class _HuggingFace:
    __pydantic_config__ = WRITTEN

    constitutions: list[_HuggingFacePair]


@dataclass(frozen=True)
class _Anthropic:
    """The critique request stands in a list of one."""

    __pydantic_config__ = WRITTEN

    prompt: Annotated[list[str], Len(1, 1)]
    edit_request: str


def _without_labels(path: Path, id: str, texts: _Anthropic) -> Principle:
    """Anthropic's texts carry the dialogue's labels around them."""
    critique = texts.prompt[0].removeprefix("CritiqueRequest:").removesuffix("Critique:")
    revision = texts.edit_request.removeprefix("RevisionRequest:").removesuffix("Revision:")
    return check(Principle, {"id": id, "critique_request": critique, "revision_request": revision}, str(path), id)


def _check(path: Path, principles: Sequence[Principle]) -> None:
    if not principles:
        raise UserError(f"{path}: the constitution has no principles")
    id, count = Counter(principle.id for principle in principles).most_common(1)[0]
    if count > 1:
        raise UserError(f"{path}: {count} principles have the id {id!r}; each needs its own")


def _digest(principles: Sequence[Principle]) -> str:
    return hashlib.sha256(json.dumps([astuple(p) for p in principles]).encode()).hexdigest()[:16]


INSTRUCTIONS = "CritiqueRevisionInstructions.json"


def open_constitution(source: str) -> Constitution:
    """`default`, `anthropic`, a JSON file, or a folder that holds Anthropic's prompt files.

    Raises:
        UserError: The file is missing or malformed, or cannot be fetched.
    """
    return read_constitution(source if source == "default" else find_prompt_file(source, INSTRUCTIONS))
