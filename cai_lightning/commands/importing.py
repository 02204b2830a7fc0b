"""`python -m cai_lightning import FILE --run DIR`: responses that were made elsewhere become a run for validate.

    python -m cai_lightning import responses.csv --run runs/theirs
    python -m cai_lightning validate --config configs/score_responses.yaml --run runs/theirs

They are read, with their prompts, from a CSV or a JSON Lines file, and from the paper's samples (`samples`):

    rows = read_responses(Path("responses.csv"), {"prompt": "prompt", "response": "generated_response"}, "theirs")
"""

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from cai_lightning.commands.arguments import call
from cai_lightning.commands.samples import COLUMN, NOTE, read_samples, write_samples
from cai_lightning.run import jsonl, manifest
from cai_lightning.run.config import run_folder
from cai_lightning.run.errors import UserError
from cai_lightning.run.files import locked
from cai_lightning.run.records import UNKNOWN, Response, number_ids, prompt_id, to_json
from cai_lightning.run.text import excerpt, split_thoughts

IMPORTED = manifest.Outputs(
    "import",
    ("responses.jsonl", "responses.rank*.jsonl", "scores.jsonl", "scores.rank*.jsonl", "summary.json"),
    beside=("validate.json",),
)
REVISED = replace(IMPORTED, made=(*IMPORTED.made, "revisions.jsonl"))
_DELIMITERS = {".csv": ",", ".tsv": "\t"}

LONGEST_CELL = 2**24
"""Characters of a cell; a longer one is a quotation mark without its partner."""


def read_responses(path: Path, columns: Mapping[str, str | None], model: str) -> list[Response]:
    """All rows of a file in its order, with the ids of their prompts; a repeated prompt is numbered.

    Args:
        path: `.csv` or `.tsv` with a first line that names the columns; anything else is JSON Lines, plain or `.gz`.
        columns: Where it keeps prompt, response, reference and category; null where it does not have them.
        model: What wrote the responses.

    Raises:
        UserError: The file is missing or empty, or a row is malformed; the message names file, line and value.
    """
    delimiter = _DELIMITERS.get(path.suffix.lower())
    found = _csv_rows(path, delimiter) if delimiter else jsonl.read_lines(path)
    rows = [_texts(row, where, columns) for where, row in found]
    if not rows:
        raise UserError(f"{path}: there is no response in it.")
    ids = number_ids(texts["prompt"] for texts in rows)
    return [_response(id, texts, model) for id, texts in zip(ids, rows, strict=True)]


def _response(id: str, texts: Mapping[str, str], model: str) -> Response:
    said = split_thoughts(texts["response"])
    return Response(
        id=id,
        prompt=texts["prompt"],
        response=said.words,
        reference=split_thoughts(texts.get("reference", "")).words or None,
        finish_reason=UNKNOWN,
        model=model,
        adapter=None,
        category=texts.get("category") or None,
        prompt_id=prompt_id(texts["prompt"]),
        thought=said.thought,
    )


def _texts(row: Mapping[str, Any], where: str, columns: Mapping[str, str | None]) -> dict[str, str]:
    """What a row says in each column that the file has."""
    texts = {option: _text(row, option, column, where) for option, column in columns.items() if column is not None}
    if not texts["prompt"].strip():
        raise UserError(f"{where}: the prompt ({columns['prompt']!r}) is empty: {excerpt(row)}")
    return texts


def _text(row: Mapping[str, Any], option: str, column: str, where: str) -> str:
    if column not in row:
        none = f", or --{option} null where there is none" if option in ("reference", "category") else ""
        raise UserError(
            f"{where}: there is no {column!r}, only {', '.join(map(repr, row))}; name the column by "
            f"--{option} COLUMN{none}."
        )
    value = "" if row[column] is None else row[column]
    if not isinstance(value, str):
        raise UserError(f"{where}: {column!r} must be a text, not {excerpt(value)}")
    return value


def _csv_rows(path: Path, delimiter: str) -> Iterator[tuple[str, dict[str, str]]]:
    """The rows behind the first line, each with its place; a row may be several lines long."""
    records = _csv_records(path, delimiter)
    _, header = next(records, ("", []))
    if len(set(header)) < len(header):
        raise UserError(f"{path}, line 1: a column's name stands twice: {', '.join(header)}")
    for where, cells in records:
        if len(cells) != len(header):
            raise UserError(f"{where}: {len(cells)} cells, but line 1 names {len(header)} columns: {excerpt(cells)}")
        yield where, dict(zip(header, cells, strict=True))


def _csv_records(path: Path, delimiter: str) -> Iterator[tuple[str, list[str]]]:
    line = 1
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            csv.field_size_limit(LONGEST_CELL)  # the library's own limit is 131,072, which responses exceed
            reader = csv.reader(file, delimiter=delimiter, strict=True)
            for cells in reader:
                if cells:
                    yield f"{path}, line {line}", cells
                line = reader.line_num + 1
    except csv.Error as error:
        raise UserError(f"{path}, line {line}: not CSV ({error}).") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 from line {line} on ({error.reason}).") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}).") from None


FILE = {"file": {"type": Path, "metavar": "FILE"}}


def main(args: Sequence[str]) -> None:
    call(import_responses, args, "import", "Responses made elsewhere, to be scored by validate.", FILE)


def import_responses(
    file: Path,
    run: str,
    prompt: str = "prompt",
    response: str = "generated_response",
    reference: str | None = "ground_truth_response",
    category: str | None = None,
    model: str | None = None,
    fresh: bool = False,
) -> None:
    """Writes the responses of a file into `<run>/responses.jsonl`, with ids by which runs are joined.

    Args:
        file: CSV (.csv, .tsv) or JSON Lines file of responses; or one of the paper's samples, PALMS_*.jsonl, whose
            columns are known, and whose own scores become the column pm_score.
        run: Folder of the run.
        prompt: Column of the prompt.
        response: Column of the response.
        reference: Column of what a response is compared with; null where the file has none.
        category: Column of the kind of harm; null where the file has none.
        model: What wrote the responses; the file's name by default.
        fresh: Moves responses and scores that the run holds aside, and begins anew.

    Raises:
        UserError: A row is malformed, or the run holds other responses.
    """
    target = run_folder(run)
    columns = {"prompt": prompt, "response": response, "reference": reference or None, "category": category or None}
    name = model or file.name.partition(".")[0]
    samples = read_samples(file, name)
    responses = samples.responses if samples else read_responses(file, columns, name)
    outputs = REVISED if samples and samples.revisions else IMPORTED
    target.mkdir(parents=True, exist_ok=True)
    with locked(target / "validate.json"):
        if fresh and (folder := manifest.set_aside(target, outputs)):
            print(f"what the run held is now in {folder}")
        made_from = {"digest of the file": manifest.file_digest(file), "columns": columns, "model": name}
        manifest.check_or_write(target, outputs, made_from)
        if samples and (target / "summary.json").exists():
            pass  # imported before, and what validate has scored since stands in the same files
        elif samples:
            write_samples(samples, target, manifest.file_digest(file))
        else:
            jsonl.write(target / "responses.jsonl", (json.loads(to_json(response)) for response in responses))
    print(f"{len(responses)} responses are in {target / 'responses.jsonl'}: {_counted(responses)}")
    if samples and samples.scores:
        print(f"{COLUMN}: {NOTE}")


def _counted(rows: Sequence[Response]) -> str:
    thoughts = sum(row.thought is not None for row in rows)
    counts = {
        "empty": sum(row.why_silent is not None for row in rows),
        **({"with a thought, which is kept apart": thoughts} if thoughts else {}),
        "without a reference": sum(row.reference is None for row in rows),
        "to a prompt that stood before": len(rows) - len({row.prompt for row in rows}),
    }
    return ", ".join(f"{count} {what}" for what, count in counts.items())
