"""The responses of two runs to the same prompts.

pairs, left_out = join_runs(Path("runs/qwen_contextual"), Path("runs/qwen_random"))
"""

from pathlib import Path

from cai_lightning.errors import UserError
from cai_lightning.metrics.pairwise import Pair
from cai_lightning.record_files import read_records
from cai_lightning.records import Conversation, Response, user
from cai_lightning.report.summary import read_summary


def join_runs(first: Path, second: Path) -> tuple[list[Pair], int]:
    """The responses of two validated runs by prompt.

    Returns:
        The pairs, in the order of the first run, and the number of responses that only one of the two runs has.

    Raises:
        UserError: A run is missing or not validated, a row is malformed, or they have no prompt in common.
    """
    ours, theirs = _responses(first), _responses(second)
    shared = [id for id in ours if id in theirs and _conversation(ours[id]) == _conversation(theirs[id])]
    if not shared:
        raise UserError(f"{first} and {second} have answered no prompt in common.")
    pairs = [Pair(id, _conversation(ours[id]), ours[id].response, theirs[id].response) for id in shared]
    return pairs, len(ours) + len(theirs) - 2 * len(shared)


def _responses(run: Path) -> dict[str, Response]:
    """The responses of the adapter that the run's summary is about."""
    adapter = read_summary(run).get("adapter")
    made = read_records(run / "responses.jsonl", Response).values()
    return {response.id: response for response in made if response.adapter == adapter}


def _conversation(response: Response) -> Conversation:
    return response.turns or [user(response.prompt)]
