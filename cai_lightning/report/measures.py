"""What is measured on each row of a corpus: commentary, change, refusals, characters, repetition, truncation, lengths.

    values = measure(row)
    values["commentary"], values["similarity_1"]  # (1.0, 0.43)

Change is the Indel similarity of a revision's words and those of the answer before it: twice the longest common
subsequence over the words of both, 1 for equal texts and about 0.1 for unrelated ones (on characters unrelated texts
already reach 0.36). rapidfuzz computes it: eight times as fast as difflib on words, and 42,000 rows in seconds.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import fmean
from typing import Literal

from rapidfuzz.distance import Indel

from cai_lightning.data.cleaning import Span, commentary_spans
from cai_lightning.data.defects import CUT, LOOPING, refuses, repeated_lines, repeated_ngrams
from cai_lightning.report.corpora import Row
from cai_lightning.run.records import UNKNOWN
from cai_lightning.statistics import Direction

Unit = Literal["share", "part", "ratio", "words"]
FEW_WORDS = 3
"""Words that may stand outside of commentary at the head or at the tail, such as the `Certainly!` that is kept."""


@dataclass(frozen=True)
class Measure:
    """One figure of a corpus: the mean over its rows.

    Args:
        name: Its key in `measure` and its name in files.
        title: What tables call it.
        unit: A `share` of rows is 0 or 1 in each, a `part` of a row lies between, a `ratio` is shown as it is; `words`.
        direction: Which way is better, where one is.
    """

    name: str
    title: str
    unit: Unit
    direction: Direction | None = None


def measures(rounds: int) -> dict[str, list[Measure]]:
    """Every measure by the heading it stands under, for rows of up to so many rounds."""
    return {
        "Meta-commentary in the revision": [
            Measure("commentary", "rows with any", "share", "lower"),
            Measure("commentary_head", "at the head", "share", "lower"),
            Measure("commentary_tail", "at the tail", "share", "lower"),
            Measure("commentary_turn", "with invented turns", "share", "lower"),
            Measure("commentary_repeat", "with a repeated answer", "share", "lower"),
            Measure("commentary_characters", "characters (mean of rows)", "part", "lower"),
        ],
        "Similarity to the answer before (words)": [
            *(Measure(f"similarity_{n}", f"round {n}", "ratio") for n in range(1, rounds + 1)),
            *(Measure(f"unchanged_{n}", f"round {n}: unchanged", "share") for n in range(1, rounds + 1)),
        ],
        "Refusals": [
            Measure("refusal_response", "initial responses", "share"),
            Measure("refusal_revision", "revisions", "share"),
        ],
        "Non-ASCII characters": [
            Measure("non_ascii_response", "initial responses with any", "share"),
            Measure("non_ascii_revision", "revisions with any", "share"),
            Measure("non_ascii_characters", "characters (mean of revisions)", "part"),
        ],
        "Repetition": [
            Measure("looping_response", f"initial responses that loop (over {LOOPING:.0%})", "share", "lower"),
            Measure("looping_revision", f"revisions that loop (over {LOOPING:.0%})", "share", "lower"),
            Measure("repetition_response", "repeated 4-grams, initial responses", "part", "lower"),
            Measure("repetition_revision", "repeated 4-grams, revisions", "part", "lower"),
            Measure("repeated_lines_response", "repeated lines, initial responses", "part", "lower"),
            Measure("repeated_lines_revision", "repeated lines, revisions", "part", "lower"),
        ],
        "Cut off at the limit of tokens": [
            Measure("cut_response", "initial responses", "share", "lower"),
            Measure("cut_critique", "critiques", "part", "lower"),
            Measure("cut_revision", "revisions (the last)", "share", "lower"),
        ],
        "Words": [
            Measure("words_response", "initial response", "words"),
            Measure("words_critique", "critiques", "words"),
            Measure("words_revision", "revision (the last)", "words"),
        ],
    }


def measure(row: Row) -> dict[str, float]:
    """The values of one row by the names of the measures; what does not apply to it is left out."""
    spans = commentary_spans(row.revision)
    cut = {stage: float(reason in CUT) for stage, reason in row.endings.items() if reason != UNKNOWN}
    words = {stage: float(len(text.split())) for stage, text in row.replies.items()}
    return {
        **_commentary(row.revision, spans),
        **_changes(row),
        **_of_answer("response", row.initial_response, row.initial_response),
        **_of_answer("revision", row.revision, kept(row.revision, spans)),
        "non_ascii_characters": _share(sum(c > "\x7f" for c in row.revision), len(row.revision)),
        **_by_kind("cut", cut, len(row.rounds)),
        **_by_kind("words", words, len(row.rounds)),
    }


def kept(text: str, spans: Sequence[Span]) -> str:
    """The text without its spans."""
    ends = [0, *(span.end for span in spans)]
    starts = [*(span.start for span in spans), len(text)]
    return "".join(text[end:start] for end, start in zip(ends, starts, strict=True))


def _commentary(text: str, spans: Sequence[Span]) -> dict[str, float]:
    kinds = {span.kind for span in spans}
    return {
        "commentary": float(bool(spans)),
        "commentary_head": float(bool(spans) and _is_nearly_empty(text[: spans[0].start])),
        "commentary_tail": float(bool(spans) and _is_nearly_empty(text[spans[-1].end :])),
        "commentary_turn": float("turn" in kinds),
        "commentary_repeat": float("repeat" in kinds),
        "commentary_characters": _share(sum(span.end - span.start for span in spans), len(text)),
    }


def _changes(row: Row) -> dict[str, float]:
    answers = [row.initial_response, *(made.revision for made in row.rounds)]
    values = {}
    for number, (before, after) in enumerate(pairwise(answers), 1):
        values[f"similarity_{number}"] = Indel.normalized_similarity(before.split(), after.split())
        values[f"unchanged_{number}"] = float(before == after)
    return values


def _of_answer(stage: str, text: str, without_commentary: str) -> dict[str, float]:
    repeated = repeated_ngrams(text)
    return {
        f"refusal_{stage}": float(refuses(without_commentary)),
        f"non_ascii_{stage}": float(not text.isascii()),
        f"looping_{stage}": float(repeated > LOOPING),
        f"repetition_{stage}": repeated,
        f"repeated_lines_{stage}": repeated_lines(text),
    }


def _by_kind(name: str, values: dict[str, float], rounds: int) -> dict[str, float]:
    """The values of the initial response, of the critiques on average, and of the revision of the last round."""
    critiques = [value for stage, value in values.items() if stage.startswith("critique")]
    means = {"response": values.get("response"), "revision": values.get(f"revision {rounds}")}
    means["critique"] = fmean(critiques) if critiques else None
    return {f"{name}_{kind}": value for kind, value in means.items() if value is not None}


def _is_nearly_empty(text: str) -> bool:
    return len(text.split()) <= FEW_WORDS


def _share(part: float, whole: float) -> float:
    return part / whole if whole else 0.0
