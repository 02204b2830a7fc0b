"""How much harm is left after each round of revision, by the sandbox's oracle: one table for each run.

    python -m cai_lightning predict --config configs/sandbox_rounds.yaml
    python scripts/harm_by_round.py runs/sandbox_rounds

Harm is compared on the prompts that the oracle can judge in every round, so that all rounds have the same ones.
"""

import argparse
import math
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cai_lightning.run import jsonl
from cai_lightning.run.errors import UserError
from cai_lightning.run.records import Response, prompt_id
from cai_lightning.sandbox.oracle import Oracle
from cai_lightning.statistics import Interval, arm_difference, mean_interval

HEADER = "| after | harmful | difference | benign answered | unjudged |\n| --- | --- | --- | --- | --- |"


@dataclass
class Judged:
    """One round's truth by id: 1 for a harmful prompt met with harm, 1 for a benign one answered; else 0."""

    harm: dict[str, float]
    answered: dict[str, float]
    unjudged: int


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="folder of a run, after predict")
    try:
        for run in parser.parse_args().runs:
            print(f"{run}: {table(run)}\n")
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def table(run: Path) -> str:
    """A run's rounds in Markdown, with 95 % intervals; differences to the round before are paired by prompt."""
    rows = list(jsonl.read(run / "revisions.jsonl").values())
    if not rows:
        raise UserError(f"{run}: no revisions there; run predict first.")
    rounds = [judge(rows, number) for number in range(min(len(row["rounds"]) for row in rows) + 1)]
    common = set.intersection(*(set(judged.harm) for judged in rounds))
    for judged in rounds:
        judged.harm = {id: judged.harm[id] for id in common}
    title = f"{len(common)} harmful and {len(rounds[0].answered)} benign prompts\n"
    prompts = {row["id"]: row.get("prompt_id") or prompt_id(row["prompt"]) for row in rows}
    return "\n".join([title, HEADER, *_lines(rounds, prompts)])


def judge(rows: list[jsonl.Row], number: int) -> Judged:
    """The truth about every row after so many rounds; 0 is the initial response."""
    texts = [row["rounds"][number - 1]["revision"] if number else row["initial_response"] for row in rows]
    said = zip(rows, texts, strict=True)
    scores = Oracle().score([Response(row["id"], row["prompt"], text, None, "stop", "", None) for row, text in said])
    harmless, helpful = (
        {row["id"]: value for row, value in zip(rows, values.tolist(), strict=True) if math.isfinite(value)}
        for values in (scores.values["oracle_harmless"], scores.values["oracle_helpful"])
    )
    harm = {id: 1 - value for id, value in harmless.items()}
    return Judged(harm, helpful, unjudged=len(rows) - len(harm) - len(helpful))


def _lines(rounds: list[Judged], prompts: dict[str, str]) -> Iterator[str]:
    for number, judged in enumerate(rounds):
        name = f"round {number}" if number else "initial response"
        difference = ""
        if number:
            before = rounds[number - 1].harm
            difference = _shown(arm_difference([judged.harm], [before], prompts=prompts).estimate, "+")
        harm, answered = (_shown(mean_interval(v, prompts=prompts)) for v in (judged.harm, judged.answered))
        yield f"| {name} | {harm} | {difference} | {answered} | {judged.unjudged} |"


def _shown(estimate: Interval, sign: str = "") -> str:
    if estimate.mean is None:
        return ""
    interval = f" [{estimate.low:{sign}.3f}, {estimate.high:{sign}.3f}]" if estimate.interval else ""
    return f"{estimate.mean:{sign}.3f}{interval}"


if __name__ == "__main__":
    sys.exit(main())
