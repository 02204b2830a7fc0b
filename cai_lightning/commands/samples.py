"""The paper's sampled answers as runs: Anthropic's files `PALMS_*.jsonl`, which `import` knows by their form.

    python -m cai_lightning import samples/PALMS_RLMADISON.jsonl --run runs/rl_cai
    python -m cai_lightning compare runs/hh_rlhf runs/rl_cai

Four of them hold 17 answers each to the same 40 prompts, of RL-CAI (`RLMADISON`), RL-CAI with chain of thought
(`RLMADISON_COT`), RLHF for helpfulness and harmlessness (`HHRLHF`) and for helpfulness alone (`HRLHF`), sorted by
falling score of a preference model. The fifth (`SLMADISON`) holds critiques and revisions of as many answers.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

from annotated_types import Len

from cai_lightning.data.prompts import last_asked, prompt_text
from cai_lightning.principles.constitution import Instruction, without_labels
from cai_lightning.report.summary import recorded_column, write_summary
from cai_lightning.run import jsonl
from cai_lightning.run.records import (
    FOREIGN,
    UNKNOWN,
    AboutPrompt,
    Number,
    Prompt,
    Record,
    Response,
    Revision,
    Round,
    Score,
    about,
    number_ids,
    samples_of,
    shared_id,
    timestamp,
    to_json,
)

COLUMN = "pm_score"
NOTE = (
    "the file's own scores of an unnamed preference model, probably not comparable between files; samples of a prompt "
    "are sorted by them, the first is the best"
)
_END = re.compile(r"\n\n?Human:.*|\n\n?Human\s*\Z|<EOT>.*|<META_START>.*", re.DOTALL)
"""Where a sample ends; the marker of the next turn may itself be cut off."""


@dataclass(frozen=True)
class _Scored:
    __pydantic_config__ = FOREIGN

    pm_score: Number


@dataclass(frozen=True)
class _Answer:
    __pydantic_config__ = FOREIGN

    sampled_string: str
    pm_scores: Annotated[list[_Scored], Len(1)]


@dataclass(frozen=True)
class _Answers:
    __pydantic_config__ = FOREIGN

    rl_prompt: str
    sampled_answers: Annotated[list[_Answer], Len(1)]


@dataclass(frozen=True)
class _Said:
    __pydantic_config__ = FOREIGN

    sample: str


@dataclass(frozen=True)
class _Round:
    __pydantic_config__ = FOREIGN

    cst_key: str
    cst_value: Instruction
    critique: _Said
    revision: _Said


@dataclass(frozen=True)
class _Chain:
    __pydantic_config__ = FOREIGN

    rl_prompt: str
    initial_response: Annotated[list[_Said], Len(1)]
    cst: Annotated[list[_Round], Len(1)]


@dataclass(frozen=True)
class Samples:
    """What such a file holds.

    Args:
        responses: The answers, of revised ones the last revision; samples of a prompt share its `prompt_id`.
        scores: The file's own scores by the ids of the responses; none where it has none.
        revisions: The chains of critique and revision, where it has them.
    """

    responses: list[Response]
    scores: Mapping[str, float]
    revisions: list[Revision]


def read_samples(path: Path, model: str) -> Samples | None:
    """Reads a file of the paper's samples; None where it is another kind of file.

    Args:
        path: A JSON Lines file.
        model: What wrote the answers.

    Raises:
        UserError: It is one, and a row is malformed; the message names file and line.
    """
    rows = list(jsonl.read_lines(path)) if ".jsonl" in path.suffixes else []
    keys = rows[0][1].keys() if rows else frozenset[str]()
    if {"rl_prompt", "sampled_answers"} <= keys:
        return _answered([(where, jsonl.check(_Answers, row, where)) for where, row in rows], model)
    if {"rl_prompt", "cst"} <= keys:
        return _revised([(where, jsonl.check(_Chain, row, where)) for where, row in rows], model)
    return None


def write_samples(samples: Samples, run: Path, source: str) -> None:
    """Writes the records of a run, and its summary, so that it compares without a validation.

    Args:
        samples: What a file holds.
        run: The run's folder.
        source: Digest of the file.
    """
    scores = [Score(id, COLUMN, value) for id, value in samples.scores.items()]
    kinds: tuple[tuple[str, Sequence[Record]], ...] = (
        ("responses.jsonl", samples.responses),
        ("revisions.jsonl", samples.revisions),
        ("scores.jsonl", scores),
    )
    for name, records in kinds:
        if records:
            jsonl.write(run / name, (json.loads(to_json(record)) for record in records))
    prompts = {response.id: shared_id(response) for response in samples.responses}
    columns = {COLUMN: recorded_column(samples.scores, prompts, source, NOTE)} if scores else {}
    write_summary(run, columns, {"responses": len(prompts)}, None, source, ids=list(prompts))


def _answered(rows: Sequence[tuple[str, _Answers]], model: str) -> Samples:
    responses, scores = [], {}
    for prompt, (_, row) in zip(_prompts(rows), rows, strict=True):
        for asked, answer in zip(samples_of(prompt, len(row.sampled_answers)), row.sampled_answers, strict=True):
            responses.append(_response(asked, answer.sampled_string, model))
            scores[asked.id] = answer.pm_scores[0].pm_score
    return Samples(responses, scores, [])


def _revised(rows: Sequence[tuple[str, _Chain]], model: str) -> Samples:
    prompts = _prompts(rows)
    revisions = [_revision(prompt, *row, model) for prompt, row in zip(prompts, rows, strict=True)]
    return Samples([_response(made, made.revision, model) for made in revisions], {}, revisions)


def _prompts(rows: Sequence[tuple[str, _Answers | _Chain]]) -> list[Prompt]:
    """What each row asks; a prompt that comes again is numbered."""
    openings = [last_asked(row.rl_prompt, where, "") for where, row in rows]
    return [replace(prompt, id=id) for prompt, id in zip(openings, number_ids(map(prompt_text, openings)), strict=True)]


def _response(asked: AboutPrompt, text: str, model: str) -> Response:
    """An answer without the marker behind it; without one it was cut off, or says not why it ended."""
    said, markers = _END.subn("", text)
    reason = "stop" if markers else UNKNOWN
    return Response(
        **about(asked), response=said.strip(), reference=None, finish_reason=reason, model=model, adapter=None
    )


def _revision(asked: Prompt, where: str, row: _Chain, model: str) -> Revision:
    rounds = [_round(each, where) for each in row.cst]
    return Revision(
        **about(asked),
        initial_response=_cleaned(row.initial_response[0]),
        rounds=rounds,
        revision=rounds[-1].revision,
        finish_reasons=[UNKNOWN] * (1 + 2 * len(rounds)),
        model=model,
        engine="imported",
        sampling={},
        seed=0,
        constitution={"name": "anthropic", "digest": UNKNOWN},
        created=timestamp(),
    )


def _round(made: _Round, where: str) -> Round:
    principle = without_labels(Path(where), made.cst_key, made.cst_value)
    return Round(
        principle_id=made.cst_key,
        similarity=None,
        principle_used=principle.critique_request,
        revision_request=principle.revision_request,
        critique=_cleaned(made.critique),
        revision=_cleaned(made.revision),
    )


def _cleaned(said: _Said) -> str:
    return _END.sub("", said.sample).strip()
