"""A constitution: the principles by which responses are critiqued and revised.

    constitution = read_constitution("default")

Three layouts are read: ours, `{"name", "principles": [{"id", "critique_request", "revision_request"}]}`; Anthropic's
`CritiqueRevisionInstructions.json`; and Hugging Face's `{"constitutions": [{"critic", "revision"}]}`.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

from cai_lightning.errors import UserError

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
    content = _read_json(path)
    principles = tuple(_read_principles(path, content))
    _check(path, principles)
    name = _text(path, "name", content.get("name")) if "principles" in content else path.stem
    return Constitution(name, principles, _digest(principles))


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"), object_pairs_hook=_without_repeats)
    except OSError as error:
        raise UserError(f"{path}: the constitution cannot be read ({error.strerror})") from None
    except ValueError as error:
        raise UserError(f"{path}: not a JSON constitution ({error})") from None
    if not isinstance(content, dict):
        raise UserError(f"{path}: expected a JSON object, found {_shown(content)}")
    return content


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    repeated = [key for key, count in Counter(key for key, _ in pairs).items() if count > 1]
    if repeated:
        raise ValueError(f"the key {repeated[0]!r} stands more than once in one object")
    return dict(pairs)


def _read_principles(path: Path, content: dict[str, Any]) -> Iterator[Principle]:
    if "principles" in content:
        return _ours(path, _objects(path, "principles", content["principles"]))
    if "constitutions" in content:
        return _hugging_face(path, _objects(path, "constitutions", content["constitutions"]))
    if any(isinstance(value, dict) and "edit_request" in value for value in content.values()):
        return _anthropic(path, content)
    raise UserError(
        f"{path}: unknown layout; expected the key 'principles' (ours), 'constitutions' (Hugging Face) or objects with"
        f" 'prompt' and 'edit_request' (Anthropic), found the keys {_shown(list(content))}"
    )


def _ours(path: Path, objects: list[tuple[str, dict[str, Any]]]) -> Iterator[Principle]:
    for place, fields in objects:
        names = ("id", "critique_request", "revision_request")
        yield Principle(*(_text(path, f"{place}.{name}", fields.get(name)) for name in names))


def _hugging_face(path: Path, objects: list[tuple[str, dict[str, Any]]]) -> Iterator[Principle]:
    for n, (place, fields) in enumerate(objects):
        critic, revision = (_text(path, f"{place}.{name}", fields.get(name)) for name in ("critic", "revision"))
        yield Principle(f"hf{n}", critic, revision)


def _anthropic(path: Path, content: dict[str, Any]) -> Iterator[Principle]:
    """Anthropic's texts carry the dialogue's labels around them, and each critique request stands in a list of one."""
    for id, value in content.items():
        fields = _object(path, id, value)
        prompts = fields.get("prompt")
        if not isinstance(prompts, list) or len(prompts) != 1:
            raise UserError(f"{path}, {id}.prompt: expected a list of one text, found {_shown(prompts)}")
        critique = _text(path, f"{id}.prompt[0]", prompts[0], "CritiqueRequest:", "Critique:")
        revision = _text(path, f"{id}.edit_request", fields.get("edit_request"), "RevisionRequest:", "Revision:")
        yield Principle(_text(path, "a principle's key", id), critique, revision)


def _objects(path: Path, place: str, value: Any) -> list[tuple[str, dict[str, Any]]]:
    if not isinstance(value, list):
        raise UserError(f"{path}, {place}: expected a list of objects, found {_shown(value)}")
    places = [f"{place}[{n}]" for n in range(len(value))]
    return [(where, _object(path, where, item)) for where, item in zip(places, value, strict=True)]


def _object(path: Path, place: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise UserError(f"{path}, {place}: expected an object, found {_shown(value)}")
    return value


def _text(path: Path, place: str, value: Any, prefix: str = "", suffix: str = "") -> str:
    """The text at a place of the file, without the labels and the white space around it."""
    text = value.strip().removeprefix(prefix).removesuffix(suffix).strip() if isinstance(value, str) else ""
    if not text:
        found = "nothing" if value is None else _shown(value)
        raise UserError(f"{path}, {place}: expected a text, found {found}")
    return text


def _check(path: Path, principles: tuple[Principle, ...]) -> None:
    if not principles:
        raise UserError(f"{path}: the constitution has no principles")
    id, count = Counter(principle.id for principle in principles).most_common(1)[0]
    if count > 1:
        raise UserError(f"{path}: {count} principles have the id {id!r}; each needs its own")


def _digest(principles: tuple[Principle, ...]) -> str:
    return hashlib.sha256(json.dumps([astuple(p) for p in principles]).encode()).hexdigest()[:16]


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 80 else text[:77] + "..."
