"""The responses of two runs to the same prompts.

joined = join_runs(Path("runs/qwen_contextual"), Path("runs/qwen_random"))
joined.pairs, joined.left_out
"""

from dataclasses import dataclass
from pathlib import Path

from cai_lightning.errors import UserError
from cai_lightning.metrics.pairwise import Pair
from cai_lightning.records import shared_id
from cai_lightning.report.runs import conversation, read_responses, responses_digest
from cai_lightning.report.summary import read_summary


@dataclass(frozen=True)
class JoinedRuns:
    """The responses of two runs by prompt.

    Args:
        pairs: Those to the same prompts, in the order of the first run.
        left_out: How many responses only one of the two runs has.
        digests: What stands for all responses of each run.
        prompts: What each response shares with the others to its prompt, by id.
    """

    pairs: list[Pair]
    left_out: int
    digests: tuple[str, str]
    prompts: dict[str, str]


def join_runs(first: Path, second: Path) -> JoinedRuns:
    """The responses of two validated runs to the prompts that their summaries are about.

    Raises:
        UserError: A run is missing or not validated, a row is malformed, or they have no prompt in common.
    """
    ours, theirs = (read_responses(run, read_summary(run)) for run in (first, second))
    shared = [id for id in ours if id in theirs and conversation(ours[id]) == conversation(theirs[id])]
    if not shared:
        raise UserError(f"{first} and {second} have answered no prompt in common.")
    pairs = [Pair(id, conversation(ours[id]), ours[id].response, theirs[id].response) for id in shared]
    return JoinedRuns(
        pairs=pairs,
        left_out=len(ours) + len(theirs) - 2 * len(shared),
        digests=(responses_digest(ours), responses_digest(theirs)),
        prompts={id: shared_id(ours[id]) for id in shared},
    )
