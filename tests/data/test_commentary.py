"""How precisely meta-commentary is found, measured on texts of real models that were labelled by reading them.

    python tests/data/test_commentary.py tests/data/commentary_labels/written_with.jsonl FOLDER_OF_REAL_DATA
    python tests/data/test_commentary.py --readers smollm2_second_reader smollm2_third_reader  # one against the other

A line of a label file names a text (`file`, `field`, `row`, the beginning of its `sha256`) and those `spans` of it that
no model should learn: `[start, end, kind]`. Texts of others are not part of the project; what SmolLM2-135M wrote for
it stands in the line itself as `text`.
"""

import csv
import hashlib
import json
import re
import sys
from collections import Counter
from functools import cache
from pathlib import Path

import pytest

from cai_lightning.data.cleaning import commentary_spans

LABELS = Path(__file__).parent / "commentary_labels"
SENTENCE = re.compile(r"\w.*?(?:[.!?:][\"')\]*_\u2019\u201d]*(?=\s)|$)", re.MULTILINE)
ENOUGH = 0.8


def measure(labels, real_data=None):
    """Precision and recall of spans and of sentences to keep, over all texts of a label file."""
    counts = Counter()
    for label in map(json.loads, labels.read_text().splitlines()):
        text = read_text(label, real_data)
        counts += count(text, label["spans"], commentary_spans(text))
    return as_shares(counts)


def as_shares(counts):
    return {
        figure: counts[f"{figure}: right"] / counts[f"{figure}: all"]
        for figure in ("span recall", "span precision", "sentence recall", "sentence precision")
    }


def measure_readers(truth, other):
    """The same figures for a reader's labels, where another reader's are taken for the truth."""
    counts = Counter()
    theirs = {label["sha256"]: label["spans"] for label in read_labels(other)}
    for label in read_labels(truth):
        if label["sha256"] in theirs:
            counts += count(written_texts()[label["sha256"]], label["spans"], theirs[label["sha256"]])
    return as_shares(counts)


def count(text, spans, found):
    """What the four figures are made of, for one text of which `found` is removed.

    A labelled span is found if enough of it is removed, a removed stretch is right if enough of it is labelled; a
    sentence belongs to what most of its characters belong to.
    """
    labelled = places(text, spans)
    removed = places(text, found)
    wanted = [places(text, [span]) for span in spans]
    taken = stretches(text, removed)
    sentences = [places(text, [match.span()]) for match in SENTENCE.finditer(text)]
    keep = [sentence for sentence in sentences if share(sentence, labelled) < 0.5]
    kept = [sentence for sentence in sentences if share(sentence, removed) < 0.5]
    both = [sentence for sentence in keep if sentence in kept]
    return Counter(
        {
            "span recall: all": len(wanted),
            "span recall: right": sum(share(span, removed) >= ENOUGH for span in wanted),
            "span precision: all": len(taken),
            "span precision: right": sum(share(span, labelled) >= ENOUGH for span in taken),
            "sentence recall: all": len(keep),
            "sentence recall: right": len(both),
            "sentence precision: all": len(kept),
            "sentence precision: right": len(both),
        }
    )


def places(text, spans):
    """The places of the visible characters inside of some spans."""
    return {place for start, end, *_ in spans for place in range(start, end) if not text[place].isspace()}


def stretches(text, removed):
    """What was removed, one set of places for each stretch that no kept character interrupts."""
    found = [set()]
    for place, character in enumerate(text):
        if place in removed:
            found[-1].add(place)
        elif not character.isspace():
            found.append(set())
    return [stretch for stretch in found if stretch]


def share(span, others):
    return len(span & others) / len(span)


def read_text(label, real_data):
    if "text" in label:
        return label["text"]
    text = rows(real_data / "azazel5" / label["file"])[label["row"]][label["field"]]
    found = hashlib.sha256(text.encode()).hexdigest()[:16]
    assert found == label["sha256"], f"row {label['row']} of {label['file']} is not the text that was labelled"
    return text


def read_labels(name):
    return [json.loads(line) for line in (LABELS / f"{name}.jsonl").read_text().splitlines()]


@cache
def written_texts():
    """What SmolLM2 wrote, by digest: the first reader's files hold it."""
    labels = read_labels("smollm2_written") + read_labels("smollm2_held_out")
    return {label["sha256"]: label["text"] for label in labels}


@cache
def rows(path):
    with path.open(newline="") as lines:
        return list(csv.DictReader(lines)) if path.suffix == ".csv" else [json.loads(line) for line in lines]


@pytest.mark.parametrize(("name", "floor"), [("written_with", 0.95), ("held_out", 0.90)])
def test_commentary_is_found_and_answers_are_kept(name, floor, real_data):
    labels = LABELS / f"{name}.jsonl"
    figures = measure(labels, real_data)
    assert min(figures.values()) >= floor, figures


@pytest.mark.parametrize(("name", "found", "kept"), [("written", 0.84, 0.985), ("held_out", 0.55, 0.97)])
def test_commentary_of_a_small_model_is_found_less_often(name, found, kept):
    """It wanders from answer to assessment and back: what forms give away is about half of it (docs/experiments.md)."""
    figures = measure(LABELS / f"smollm2_{name}.jsonl")
    assert figures["span recall"] >= found, figures
    assert figures["sentence recall"] >= kept, figures


@pytest.mark.parametrize("reader", ["smollm2_second_reader", "smollm2_third_reader"])
def test_readers_lose_more_of_each_others_sentences_than_the_detector_was_to(reader):
    """What 1 % of the sentences lost cannot be told from: careful readers part with 3 % of each other's."""
    figures = measure_readers("smollm2_held_out", reader)
    assert figures["span recall"] > 0.9, figures
    assert 0.95 < figures["sentence recall"] < 0.98, figures


if __name__ == "__main__":
    readers = sys.argv[2:] if sys.argv[1] == "--readers" else None
    for figure, value in (measure_readers(*readers) if readers else measure(*map(Path, sys.argv[1:]))).items():
        print(f"{figure:20} {value:.3f}")
