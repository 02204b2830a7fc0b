"""Whether what a verb reads is all that the verb before it was to make: fit of predict, validate of fit.

    expected = rows_wanted(run / "revisions.jsonl")
    why = unfinished(run / "adapter")

Each verb holds the lock of its note, `<run>/<verb>.json`, as long as it works, and notes there what it is to make.
"""

from pathlib import Path

from cai_lightning import journal, locks, provenance
from cai_lightning.errors import UserError


def check_revisions(corpus: Path) -> str | None:
    """What there is to be said of revisions that are learned from, where predict has not made all of them.

    Args:
        corpus: A file of revisions.

    Raises:
        UserError: Predict is at work on it.
    """
    note = corpus.with_name("predict.json")
    if process := locks.holder(note):
        raise UserError(
            f"{corpus}: predict, process {process}, is still making these revisions; wait for its end, or name another "
            "data.corpus."
        )
    wanted = provenance.noted(corpus.parent, "predict").get("rows") if note.is_file() else None
    made = len(journal.read(corpus)) if wanted else 0
    if not wanted or made >= wanted:
        return None
    failed = len(journal.read(corpus.with_name("failed.jsonl")))
    return (
        f"{corpus}: predict has made {made:,} of {wanted:,} revisions there ({failed:,} failed), and fit learns from "
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
    note = provenance.noted(run, "fit")
    if "finished" in note:
        return None
    kept = "step {step:,} of {of:,}".format(**note["kept"]) if "kept" in note else "a step that is not known"
    process = locks.holder(run / "fit.json")
    at_work = f"; process {process} is at work on it" if process else ""
    return f"{folder}: fit has not finished, and this is the best of it so far, of {kept}{at_work}"
