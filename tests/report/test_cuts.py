"""What predict says about replies that were cut is what its file holds."""

import random
from collections import Counter

from cai_lightning.report.results import told_cuts
from cai_lightning.run import jsonl

TEXTS = {"prompt": "Hi?", "initial_response": "Hm.", "revision": "No."}


def row(draw, number, reasons):
    """A row of up to four rounds, some without a critique."""
    critiques = [draw.choice([None, "So."]) for _ in range(draw.randint(1, 4))]
    kinds = ["responses"] + [kind for made in critiques for kind in (["critiques"] if made else []) + ["revisions"]]
    found = draw.choices(["stop", "length"], k=len(kinds))
    reasons.update(zip(kinds, found, strict=True))
    rounds = [{"critique": made, "revision": "No."} for made in critiques]
    return {"id": f"{number}", **TEXTS, "rounds": rounds, "finish_reasons": found}


def test_cut_replies_are_counted_by_their_kind(tmp_path):
    draw, path, reasons = random.Random(1), tmp_path / "revisions.jsonl", Counter()
    jsonl.write(path, [row(draw, number, reasons) for number in range(50)])
    parts = []
    for kind in ("responses", "critiques", "revisions"):
        cut, made = reasons[kind, "length"], reasons[kind, "length"] + reasons[kind, "stop"]
        parts.append(f"{cut} of {made} {kind} ({100 * cut / made:.0f} %)")
    assert told_cuts(path) == f"cut at their limit of tokens: {', '.join(parts)}"


def test_where_none_was_cut_that_is_said(tmp_path):
    path = tmp_path / "revisions.jsonl"
    rounds = [{"critique": None, "revision": "No."}]
    jsonl.write(path, [{"id": "a", **TEXTS, "rounds": rounds, "finish_reasons": ["stop", "stop"]}])
    assert told_cuts(path) == "cut at their limit of tokens: none of 1 responses, none of 1 revisions"


def test_an_end_that_was_not_recorded_is_counted_apart_and_servers_words_count(tmp_path):
    path = tmp_path / "revisions.jsonl"
    rounds = [{"critique": "Hm.", "revision": "No."}]
    jsonl.write(path, [{"id": "a", **TEXTS, "rounds": rounds, "finish_reasons": ["max_tokens", None, "unknown"]}])
    assert told_cuts(path) == (
        "cut at their limit of tokens: 1 of 1 responses (100 %), the end of 2 replies is not known"
    )


def test_without_rows_nothing_is_said(tmp_path):
    assert told_cuts(tmp_path / "revisions.jsonl") == ""
