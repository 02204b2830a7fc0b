"""`python -m cai_lightning pairwise RUN_A RUN_B`: a judge says whose responses are better, asked in both orders."""

import json
from collections.abc import Sequence
from pathlib import Path

from cai_lightning import journal, provenance
from cai_lightning.arguments import call
from cai_lightning.metrics.judging import JudgeModel
from cai_lightning.metrics.pairwise import PairwiseJudge
from cai_lightning.pairwise.joining import join_runs
from cai_lightning.pairwise.judging import judge_pairs
from cai_lightning.pairwise.result import PairwiseResult, as_json, summarize
from cai_lightning.report.runs import name_runs, printable

RUNS = {
    "first": {"type": Path, "metavar": "RUN_A", "help": "Folder of a validated run."},
    "second": {"type": Path, "metavar": "RUN_B", "help": "Folder of the run that it is compared with."},
}


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
    joined = join_runs(first, second)
    asking = PairwiseJudge(judge)
    revision = asking.revision()
    path = (output or first / "pairwise" / names[1].replace("/", "_")) / "pairwise.jsonl"
    result = summarize(judge_pairs(asking, revision, path, joined.pairs), joined.prompts)
    about = {"run": names[0], "other": names[1], "judge": provenance.settings(judge), "revision": revision}
    record = {**about, **as_json(result), "left_out": joined.left_out, "responses": joined.digests}
    journal.replace_text(path.with_suffix(".json"), json.dumps(record, indent=2, ensure_ascii=False) + "\n")
    print(_told(names, result, joined.left_out, path))


def _told(names: Sequence[str], result: PairwiseResult, left_out: int, path: Path) -> str:
    rate = result.win_rate
    lines = [f"{names[0]} against {names[1]}: {result.wins} wins, {result.ties} ties, {result.losses} losses"]
    if rate.mean is not None:
        interval = f", 95 % interval {rate.low:.3f} to {rate.high:.3f}" if rate.interval else ""
        lines.append(f"win rate {rate.mean:.3f}{interval} (a tie counts half; 0.5 is no difference)")
    if result.position_consistency is not None:
        lines.append(
            f"both orders agree in {result.position_consistency:.1%} of {result.asked} pairs; else it is a tie"
        )
    if result.identical:
        lines.append(f"{result.identical} of the ties are responses that are the same")
    lines += [f"{count} unscored: {printable(reason)}" for reason, count in result.reasons.most_common(5)]
    if left_out:
        lines.append(f"{left_out} responses have no partner in the other run")
    return "\n".join([*lines, f"Written: {path}, {path.with_suffix('.json')}"])
