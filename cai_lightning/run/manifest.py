"""A verb's note, `<run>/<verb>.json`: the settings and digests that determine its rows, and how far it has come.

    manifest.check_or_write(run, CritiqueRevision.outputs, manifest.settings(module) | {"digest of prompts": digest})
    manifest.add(run, "predict", rows=100)
    manifest.finish(run, "predict")

A verb started again goes on where it was, unless something that determines its rows has changed. It holds the lock of
its note as long as it works, and by that and the note the verb after it sees whether it has everything: fit of predict
(`check_predicted`), validate of fit (`unfinished`).
"""

import hashlib
import inspect
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

from cai_lightning.run import files, jsonl
from cai_lightning.run.errors import UserError
from cai_lightning.run.jsonl import check, load_json
from cai_lightning.run.records import FOREIGN, timestamp

WHOLE = 2**24
"""Bytes up to which a file is read whole for its digest."""

BLOCKS = 64
"""Blocks that are read of a larger one, evenly spread, of `BLOCK` bytes each."""

BLOCK = 2**16


Verb = Literal["predict", "fit", "validate", "score", "import"]
"""What makes files in a run; `score` is validate without an engine, which makes no responses."""

_FROM_SLURM = "hpc_ckpt_*.ckpt"  # Lightning's own, see `cli/lightning_trainer`


@dataclass(frozen=True)
class Outputs:
    """What a verb makes in a run's folder.

    Args:
        verb: Its name.
        made: Patterns of the files and folders that it makes under its settings; as long as there is nothing in them,
            the settings may still change.
        beside: Patterns of what it leaves beside them and its note; `--fresh` moves that aside, too.
        noted: Whether it keeps its settings in `<run>/<verb>.json`, for every row of its files.
    """

    verb: Verb
    made: tuple[str, ...]
    beside: tuple[str, ...] = ()
    noted: bool = True


@dataclass(frozen=True)
class Note:
    """What a verb has noted, as far as it is always there."""

    __pydantic_config__ = FOREIGN

    settings: dict[str, Any]


@runtime_checkable
class HasInputs(Protocol):
    """What reads files: a module or data module that can say by digests what is in them."""

    def inputs(self, run: Path) -> dict[str, str]:
        """Digests by the name of what is read."""


@runtime_checkable
class HasWarning(Protocol):
    """What reads files that may not be all that there will be."""

    def warning(self, run: Path) -> str | None:
        """What is to be said of them before the work begins."""


def settings(thing: object) -> dict[str, Any]:
    """The settings of an object that determine what it makes, by dotted name.

    A constructor keeps its arguments under their names, so they are read from there; nested objects are followed.
    Arguments named in the class attribute `NOT_FINGERPRINTED` are left out, and so are its inputs, whose digests count.
    """
    return {name.removeprefix("."): value for name, value in _walk(thing, "")}


def fingerprint(run: Path, parts: Mapping[str, object]) -> dict[str, Any]:
    """What determines what is made: the settings of its parts, and digests of what they read."""
    readers = [part for part in parts.values() if isinstance(part, HasInputs)]
    return settings(parts) | {f"digest of {name}": d for part in readers for name, d in part.inputs(run).items()}


def digest(value: object) -> str:
    """16 hex digits that stand for anything that JSON can say."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()[:16]


def file_digest(path: Path) -> str:
    """16 hex digits of the SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]


def folder_digest(folder: Path) -> str:
    """16 hex digits that stand for the files of a folder, such as an adapter; large ones by samples.

    Every process asks for it, and a model that was trained whole has gigabytes.
    """
    paths = [path for path in sorted(folder.iterdir()) if path.is_file()]
    return digest({path.name: sampled_digest(path).hex()[:16] for path in paths})


def sampled_digest(path: Path) -> bytes:
    """The digest of a small file, or of blocks of a large one: other weights differ in every block."""
    size = path.stat().st_size
    with path.open("rb") as file:
        if size <= WHOLE:
            return hashlib.file_digest(file, "sha256").digest()
        sampled = hashlib.sha256()
        for block in range(BLOCKS):
            file.seek(block * (size - BLOCK) // (BLOCKS - 1))
            sampled.update(file.read(BLOCK))
    return sampled.digest()


def check_or_write(run: Path, outputs: Outputs, fingerprint: Mapping[str, Any]) -> None:
    """Writes down what a run is made under, or compares it with what stands there.

    Raises:
        UserError: What was made before was made under other settings, or its note is damaged.
    """
    path = run / f"{outputs.verb}.json"
    now = json.loads(json.dumps(fingerprint, default=str))
    made = _existing(run, outputs)
    if not made:
        _write(run, outputs.verb, {"verb": outputs.verb, "settings": now, "created": timestamp()})
    elif path.exists():
        _compare(run, outputs.verb, noted(run, outputs.verb)["settings"], now)
    else:
        raise UserError(
            f"{made[0]}: {path.name}, which says how it was made, is missing. Choose another --run, or add --fresh."
        )


def require_same(run: Path, outputs: Outputs, fingerprint: Mapping[str, Any]) -> None:
    """Makes sure that a verb of this run, where it has run, was given the same values.

    Raises:
        UserError: It was given others, and a test prompt could then have been trained on; or its note is damaged.
    """
    verb = outputs.verb
    if (run / f"{verb}.json").exists() and _existing(run, outputs):
        before = noted(run, verb)["settings"]
        _compare(run, verb, {key: before[key] for key in fingerprint if key in before}, fingerprint)


def add(run: Path, verb: Verb, **facts: Any) -> None:
    """Notes beside the settings of a verb how far it has come, or what it is to make."""
    _write(run, verb, noted(run, verb) | facts)


def finish(run: Path, verb: Verb) -> None:
    """Notes that a verb has done all that it was asked to do."""
    add(run, verb, finished=timestamp())


def is_finished(run: Path, verb: Verb) -> bool:
    """Whether a verb has done all that it was asked to do."""
    return (run / f"{verb}.json").exists() and "finished" in noted(run, verb)


def set_aside(run: Path, outputs: Outputs) -> Path | None:
    """Moves what a verb has made into a folder `<run>/before-N`, deleting nothing; None where there is nothing.

    Raises:
        UserError: Another process is writing.
    """
    beside = (f"{outputs.verb}.json", _FROM_SLURM, *outputs.beside)
    made = [*_existing(run, outputs), *(path for pattern in beside for path in sorted(run.glob(pattern)))]
    if not made:
        return None
    for path in made:
        if ".rank" in path.name:
            with files.locked(path):
                pass
    numbers = [path.name.removeprefix("before-") for path in run.glob("before-*")]
    taken = [int(number) for number in numbers if number.isdecimal()]
    target = run / f"before-{max(taken, default=0) + 1}"
    target.mkdir()
    for path in made:
        path.rename(target / path.name)
    return target


def noted(run: Path, verb: Verb) -> dict[str, Any]:
    """What a verb has noted: its settings, and what was added to them.

    Raises:
        UserError: The note is missing or damaged.
    """
    path = run / f"{verb}.json"
    try:
        note: dict[str, Any] = load_json(path, "note of a run")
        check(Note, note, str(path))
    except UserError as error:
        raise UserError(f"{error} Choose another --run, or start {verb} with --fresh.") from None
    return note


def _write(run: Path, verb: Verb, note: Mapping[str, Any]) -> None:
    files.replace_text(run / f"{verb}.json", json.dumps(note, indent=2, ensure_ascii=False) + "\n")


def _existing(run: Path, outputs: Outputs) -> list[Path]:
    """The files and folders that hold something; a verb that failed at once leaves empty ones."""
    found = (path for pattern in outputs.made for path in sorted(run.glob(pattern)))
    return [path for path in found if (any(path.iterdir()) if path.is_dir() else path.stat().st_size)]


def _compare(run: Path, verb: Verb, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    for key in sorted({*before, *now}):
        if before.get(key) != now.get(key):
            raise UserError(
                f"{run}: {verb} was started there with {key} = {before.get(key)!r}, now it is {now.get(key)!r}. "
                "Choose another --run, or add --fresh to move the old files aside."
            )


def _walk(thing: object, name: str) -> Iterator[tuple[str, Any]]:
    if thing is None or isinstance(thing, str | int | float | bool):
        yield name, thing
    elif isinstance(thing, Path):
        yield name, str(thing)
    elif isinstance(thing, list | tuple):
        yield from _walk(dict(enumerate(thing)), name)
    elif isinstance(thing, Mapping):
        for key, value in thing.items():
            yield from _walk(value, f"{name}.{key}")
    else:
        yield from _walk_object(thing, name)


def _walk_object(thing: object, name: str) -> Iterator[tuple[str, Any]]:
    kind = type(thing)
    frozen = getattr(getattr(kind, "__dataclass_params__", None), "frozen", False)
    if not frozen or kind.__bases__ != (object,):  # a frozen one is a value, unless it may be taken for another
        yield f"{name}.class", f"{kind.__module__}.{kind.__qualname__}"
    left_out: frozenset[str] = getattr(kind, "NOT_FINGERPRINTED", frozenset())
    for parameter in inspect.signature(kind).parameters:
        if parameter in left_out:
            continue
        if not hasattr(thing, parameter):
            raise TypeError(f"{kind.__qualname__} has to keep its argument {parameter!r} as an attribute of that name.")
        yield from _walk(getattr(thing, parameter), f"{name}.{parameter}")


def check_predicted(path: Path, what: str, setting: str) -> str | None:
    """What there is to be said of rows that are learned from, where predict has not made all of them.

    Args:
        path: The file of them.
        what: What they are, such as `revisions`.
        setting: What names the file, such as `data.corpus`.

    Raises:
        UserError: Predict is at work on it.
    """
    note = path.with_name("predict.json")
    if process := files.holder(note):
        raise UserError(
            f"{path}: predict, process {process}, is still making these {what}; wait for its end, or name another "
            f"{setting}."
        )
    wanted = noted(path.parent, "predict").get("rows") if note.is_file() else None
    if not wanted or (made := len(jsonl.read(path))) >= wanted:
        return None
    failed = len(jsonl.read(path.with_name("failed.jsonl")))
    return (
        f"{path}: predict has made {made:,} of {wanted:,} {what} there ({failed:,} failed), and fit learns from "
        "these alone. The same predict command makes the others."
    )


def unfinished(folder: Path) -> str | None:
    """Why an adapter, or a model that was trained whole, is not what its training would have come to.

    Args:
        folder: It; of one that no fit has left there nothing is known.
    """
    run = folder.parent
    if folder.name not in ("adapter", "model") or not (run / "fit.json").is_file():
        return None
    note = noted(run, "fit")
    if "finished" in note:
        return None
    kept = "step {step:,} of {of:,}".format(**note["kept"]) if "kept" in note else "a step that is not known"
    process = files.holder(run / "fit.json")
    at_work = f"; process {process} is at work on it" if process else ""
    return f"{folder}: fit has not finished, and this is the best of it so far, of {kept}{at_work}"
