"""Files as people and verbs leave them: JSON read with its faults told, folders written whole or not at all.

A folder that is written whole or not at all.

with replacing(run / "adapter") as fresh:
    model.save_pretrained(fresh)

Reads a JSON file that a person wrote: what is wrong with it is said with its path, the place in it and the value.

content = load_json(path, "constitution")
name = text_at(path, "name", content.get("name"))
"""

import json
import shutil
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from cai_lightning.run.errors import UserError, WriteError


@contextmanager
def replacing(folder: Path) -> Iterator[Path]:
    """A fresh folder beside this one, which takes its place once all is written; after an error nothing has changed.

    Raises:
        WriteError: It cannot be written: the disk is full.
    """
    fresh, old = folder.with_name(f".{folder.name}.new"), folder.with_name(f".{folder.name}.old")
    try:
        shutil.rmtree(fresh, ignore_errors=True)
        if old.exists() and not folder.exists():  # killed between the two renames
            old.rename(folder)
        shutil.rmtree(old, ignore_errors=True)
        fresh.mkdir(parents=True)
        yield fresh
        for path in fresh.iterdir():  # safetensors writes for its owner alone, and a server may be another user
            path.chmod(fresh.stat().st_mode & 0o666)
        if folder.exists():
            folder.rename(old)
        fresh.rename(folder)
    except (OSError, SafetensorError) as error:
        raise WriteError(
            f"{folder}: cannot be written ({error}); what stood there is kept. Make room on the disk, or make the "
            "folder writable, and start the same command again."
        ) from error
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    shutil.rmtree(old, ignore_errors=True)


def load_json(path: Path, kind: str) -> Any:
    """What a file holds; a key that stands twice in one object is an error.

    Args:
        path: The file.
        kind: What the file is, for messages, such as `constitution`.

    Raises:
        UserError: The file cannot be read, or is no JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"), object_pairs_hook=_without_repeats)
    except OSError as error:
        raise UserError(f"{path}: the {kind} cannot be read ({error.strerror})") from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: not a JSON {kind} ({error})") from None


def objects_at(path: Path, place: str, value: Any) -> list[tuple[str, dict[str, Any]]]:
    """The objects of a list, each with its place, such as `principles[0]`."""
    if not isinstance(value, list):
        raise UserError(f"{path}, {place}: expected a list of objects, found {shown(value)}")
    places = [f"{place}[{n}]" for n in range(len(value))]
    return [(where, object_at(path, where, item)) for where, item in zip(places, value, strict=True)]


def object_at(path: Path, place: str, value: Any) -> dict[str, Any]:
    """The object at a place of the file."""
    if not isinstance(value, dict):
        raise UserError(f"{path}, {place}: expected an object, found {shown(value)}")
    return value


def text_at(path: Path, place: str, value: Any, prefix: str = "", suffix: str = "") -> str:
    """The text at a place of the file, without the labels and the white space around it."""
    text = value.strip().removeprefix(prefix).removesuffix(suffix).strip() if isinstance(value, str) else ""
    if not text:
        found = "nothing" if value is None else shown(value)
        raise UserError(f"{path}, {place}: expected a text, found {found}")
    if has_half_character(text):
        raise UserError(f"{path}, {place}: holds half a character (a lone surrogate): {shown(text)}")
    return text


def has_half_character(text: str) -> bool:
    """Whether a text holds a lone surrogate, which JSON can say and no tokenizer reads."""
    return not text.isprintable() and any("\ud800" <= character <= "\udfff" for character in text)


def shown(value: Any) -> str:
    """A value as messages show it: on one line, cut after 80 characters."""
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 80 else text[:77] + "..."


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    repeated = [key for key, count in Counter(key for key, _ in pairs).items() if count > 1]
    if repeated:
        raise ValueError(f"the key {repeated[0]!r} stands more than once in one object")
    return dict(pairs)
