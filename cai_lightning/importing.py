"""`python -m cai_lightning import FILE --run DIR`: responses that were made elsewhere become a run for validate.

python -m cai_lightning import responses.csv --run runs/theirs
python -m cai_lightning validate --config configs/score_responses.yaml --run runs/theirs
"""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from cai_lightning import journal, locks, provenance
from cai_lightning.arguments import call, run_folder
from cai_lightning.data.response_files import Columns, ForeignResponse, read_responses
from cai_lightning.records import UNKNOWN, Response, prompt_id, to_json
from cai_lightning.thoughts import split_thoughts

FILE = {"file": {"type": Path, "metavar": "FILE", "help": "CSV (.csv, .tsv) or JSON Lines file of responses."}}
FRESH = {
    "--fresh": {"action": "store_true", "help": "Moves responses and scores that the run holds aside, and begins anew."}
}


def main(args: Sequence[str]) -> None:
    call(import_responses, args, "import", "Responses made elsewhere, to be scored by validate.", FILE, FRESH)


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
        file: CSV or JSON Lines file of responses.
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
    columns = Columns(prompt, response, reference, category)
    rows = read_responses(file, columns)
    name = model or file.name.partition(".")[0]
    target.mkdir(parents=True, exist_ok=True)
    with locks.locked(target / "validate.json"):
        if fresh and (folder := provenance.set_aside(target, "import")):
            print(f"what the run held is now in {folder}")
        made_from = {"digest of the file": provenance.file_digest(file), "columns": asdict(columns), "model": name}
        provenance.settle(target, "import", made_from)
        responses = [_response(row, name) for row in rows]
        journal.write(target / "responses.jsonl", (json.loads(to_json(response)) for response in responses))
    print(f"{len(rows)} responses are in {target / 'responses.jsonl'}: {_counted(responses)}")


def _response(row: ForeignResponse, model: str) -> Response:
    words, thought = split_thoughts(row.response)
    return Response(
        id=row.id,
        prompt=row.prompt,
        response=words,
        reference=None if row.reference is None else split_thoughts(row.reference).words or None,
        finish_reason=UNKNOWN,
        model=model,
        adapter=None,
        category=row.category,
        prompt_id=prompt_id(row.prompt),
        thought=thought,
    )


def _counted(rows: Sequence[Response]) -> str:
    thoughts = sum(row.thought is not None for row in rows)
    counts = {
        "empty": sum(row.why_silent is not None for row in rows),
        **({"with a thought, which is kept apart": thoughts} if thoughts else {}),
        "without a reference": sum(row.reference is None for row in rows),
        "to a prompt that stood before": len(rows) - len({row.prompt for row in rows}),
    }
    return ", ".join(f"{count} {what}" for what, count in counts.items())
