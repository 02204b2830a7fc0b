"""`python -m cai_lightning pairwise RUN_A RUN_B`: a judge says whose responses are better, asked in both orders.

Each verdict is written down at once, so that a comparison goes on where it was broken off. The verdicts come to a win
rate with its interval, and to how far the order of showing mattered.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cai_lightning.callbacks.progress import recording
from cai_lightning.callbacks.recording import FILES
from cai_lightning.commands.arguments import call
from cai_lightning.metrics.judge import Pair, Preference, prefer
from cai_lightning.report.runs import conversation, name_runs, read_responses, responses_digest
from cai_lightning.report.summary import read_summary
from cai_lightning.report.table import as_json, per_cent, with_interval, write_files
from cai_lightning.run import manifest
from cai_lightning.run.errors import UserError
from cai_lightning.run.jsonl import read_records
from cai_lightning.run.records import Judgement, Response, shared_id
from cai_lightning.run.text import printable
from cai_lightning.services.judge import JudgeClient, JudgeModel
from cai_lightning.statistics import Interval
from cai_lightning.statistics.intervals import NO_PROMPTS, Array, Prompts, mean_of_rows, number_prompts

RUNS = {"first": {"type": Path, "metavar": "RUN_A"}, "second": {"type": Path, "metavar": "RUN_B"}}


def main(args: Sequence[str]) -> None:
    call(pairwise, args, "pairwise", "Whose responses does a judge prefer?", RUNS)


def pairwise(first: Path, second: Path, judge: JudgeModel = JudgeModel(), output: Path | None = None) -> None:
    """Lets a judge say, in both orders, whose response to each prompt is better; started again, it goes on.

    Args:
        first: Folder of a validated run.
        second: Folder of the run that it is compared with.
        judge: The model that judges.
        output: Folder for pairwise.jsonl and pairwise.json; RUN_A/pairwise/NAME_OF_B by default.

    Raises:
        UserError: A run is not validated, they share no prompt, or the judge is not there.
    """
    names = name_runs([first, second])
    ours, theirs = (read_responses(run, read_summary(run)) for run in (first, second))
    pairs = join_responses(ours, theirs)
    if not pairs:
        raise UserError(f"{first} and {second} have answered no prompt in common.")
    asking = JudgeClient(judge)
    revision = asking.revision()
    folder = output or first / "pairwise" / names[1].replace("/", "_")
    judgements = judge_pairs(asking, revision, folder, pairs)
    result = summarize(judgements, {pair.id: shared_id(ours[pair.id]) for pair in pairs})
    left_out = len(ours) + len(theirs) - 2 * len(pairs)
    about = {"run": names[0], "other": names[1], "judge": manifest.settings(judge), "revision": revision}
    digests = [responses_digest(ours), responses_digest(theirs)]
    record = {**about, **content(result), "left_out": left_out, "responses": digests}
    write_files(folder, {"pairwise.json": as_json(record)})
    print(_told(names, result, left_out, folder))


def join_responses(ours: Mapping[str, Response], theirs: Mapping[str, Response]) -> list[Pair]:
    """The responses of two runs to the same prompts, in the order of the first run."""
    shared = [id for id in ours if id in theirs and conversation(ours[id]) == conversation(theirs[id])]
    return [Pair(id, conversation(ours[id]), ours[id].response, theirs[id].response) for id in shared]


def judge_pairs(asking: JudgeClient, revision: str, folder: Path, pairs: Sequence[Pair]) -> list[Judgement]:
    """Judges the pairs that this judge has not judged yet, and returns what it says of all of them.

    Args:
        asking: The judge.
        revision: What stands behind the name of its model.
        folder: Where the judgements are kept, each as soon as it is made.
        pairs: Each with an id of its own.

    Raises:
        UserError: The judge is not there; the judgements made so far are kept.
    """
    keys = {pair.id: _key(asking.judge, revision, pair) for pair in pairs}
    judged = _of_this_judge(folder, keys)
    done = {judgement.id for judgement in judged if judgement.preferred}
    if missing := [pair for pair in pairs if pair.id not in done]:
        with recording(folder, Judgement, list(keys)) as sink:
            sink.stage("pairs judged in both orders", len(pairs), len(done))

            def keep(pair: Pair, preference: Preference) -> None:
                known: dict[str, Any] = {"id": pair.id, "identical": pair.first == pair.second, "key": keys[pair.id]}
                sink.record(Judgement(**vars(preference), **known, preferred=preference.preferred))
                sink.row()

            prefer(asking, missing, keep)
    return _of_this_judge(folder, keys)


def _of_this_judge(folder: Path, keys: Mapping[str, str]) -> list[Judgement]:
    judged = read_records(folder / FILES[Judgement], Judgement)
    return [judged[id] for id, key in keys.items() if id in judged and judged[id].key == key]


def _key(judge: JudgeModel, revision: str, pair: Pair) -> str:
    texts = {"conversation": pair.conversation, "first": pair.first, "second": pair.second}
    return manifest.digest({"judge": manifest.settings(judge), "revision": revision, **texts})


POINTS = {"first": 1.0, "tie": 0.5, "second": 0.0}


@dataclass(frozen=True)
class PairwiseResult:
    """What a judge's preferences between two runs come to.

    Args:
        pairs: How many pairs there are.
        wins: Pairs in which the first run's response is preferred.
        ties: Pairs without a preference, and those in which the two orders disagree.
        losses: Pairs in which the second run's response is preferred.
        identical: Ties between two responses that are the same.
        unscored: Pairs without a verdict in one of the orders.
        reasons: Why pairs are unscored, with the number of each, most first.
        position_consistency: The share of pairs in which both orders say the same, identical ones left out; None where
            none was judged.
        win_rate: Mean points of the first run: 1 for a win, 0.5 for a tie, 0 for a loss; 0.5 is no difference.
    """

    pairs: int
    wins: int
    ties: int
    losses: int
    identical: int
    unscored: int
    reasons: dict[str, int]
    position_consistency: float | None
    win_rate: Interval


def summarize(judgements: Iterable[Judgement], prompts: Prompts = NO_PROMPTS) -> PairwiseResult:
    """Counts preferences; unscored pairs are counted and take no part.

    Args:
        judgements: What the judge has said.
        prompts: What each id shares with the others about its prompt.
    """
    every = list(judgements)
    scored = [row for row in every if row.preferred is not None]
    sides = Counter(row.preferred for row in scored)
    asked = [row for row in scored if not row.identical]
    reasons = Counter(row.reason or "no reason given" for row in every if row.preferred is None)
    consistent = sum(row.first_shown_first == row.second_shown_first for row in asked)
    numbers = number_prompts(prompts.get(row.id, row.id) for row in every)
    return PairwiseResult(
        pairs=len(every),
        wins=sides["first"],
        ties=sides["tie"],
        losses=sides["second"],
        identical=len(scored) - len(asked),
        unscored=reasons.total(),
        reasons=dict(reasons.most_common()),
        position_consistency=consistent / len(asked) if asked else None,
        win_rate=mean_of_rows(points_of(row.preferred for row in every), numbers, is_share=True),
    )


def points_of(sides: Iterable[str | None]) -> Array:
    """What each preference is worth to the first side; NaN where there is none."""
    return np.array([np.nan if side is None else POINTS[side] for side in sides])


def content(result: PairwiseResult) -> dict[str, Any]:
    """The result as `pairwise.json` holds it."""
    return vars(result) | {"win_rate": result.win_rate.mean, "ci95": result.win_rate.interval}


def _told(names: Sequence[str], result: PairwiseResult, left_out: int, folder: Path) -> str:
    rate = result.win_rate
    lines = [f"{names[0]} against {names[1]}: {result.wins} wins, {result.ties} ties, {result.losses} losses"]
    if rate.mean is not None:
        figure = with_interval(rate, "{:.3f}".format)
        lines.append(f"win rate {figure} (a tie counts half; 0.5 is no difference; in brackets its 95 % interval)")
    if result.position_consistency is not None:
        share, asked = per_cent(result.position_consistency, ".1f"), result.pairs - result.unscored - result.identical
        lines.append(f"both orders agree in {share} of {asked} pairs; else it is a tie")
    if result.identical:
        lines.append(f"{result.identical} of the ties are responses that are the same")
    lines += [f"{count} unscored: {printable(reason)}" for reason, count in list(result.reasons.items())[:5]]
    if left_out:
        lines.append(f"{left_out} responses have no partner in the other run")
    return "\n".join([*lines, f"Written: {folder / 'pairwise.jsonl'}, {folder / 'pairwise.json'}"])
