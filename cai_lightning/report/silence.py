"""Answers that say nothing, and runs that have more of them than others: what a model leaves out, no mean shows.

silence_warnings(runs, arms_of(runs))
# ["prompts without an answer: base none of 40, collapsed 12 of 40 (30 %). They are in no mean, ..."]
"""

from collections import Counter
from collections.abc import Iterable, Sequence

from cai_lightning.records import Response
from cai_lightning.report.arms import Arms
from cai_lightning.report.runs import Run

SILENCES = {"empty response": "empty responses", "unfinished thought": "unfinished thoughts"}
"""Why a response says nothing, with the name of its count in a summary."""

APART = 0.05
"""Shares of prompts without an answer that are so far apart are worth a warning, however few prompts there are."""


def silences(responses: Iterable[Response]) -> dict[str, int]:
    """How many responses say nothing, by the name of the count in a summary."""
    counts = Counter(response.why_silent for response in responses)
    return {name: counts[why] for why, name in SILENCES.items()}


def silence_warnings(runs: Sequence[Run], arms: Arms) -> list[str]:
    """A warning where arms are `APART` in the share of prompts without an answer.

    What says nothing is in no mean, so that a model which has collapsed looks as good as the answers it still gives. A
    prompt is without an answer where the response has no words, or where there is none.
    """
    by_name = {run.name: run for run in runs}
    counts = {arm: _count_silent([by_name[name] for name in names]) for arm, names in arms.items()}
    shares = [silent / asked for silent, asked in counts.values() if asked]
    if not shares or max(shares) - min(shares) < APART:
        return []
    told = ", ".join(f"{arm} {_of(*count)}" for arm, count in counts.items() if count[1])
    return [
        f"prompts without an answer: {told}. They are in no mean, which flatters who says less (warned of where runs "
        f"are {100 * APART:g} points apart)."
    ]


def _count_silent(runs: Sequence[Run]) -> tuple[int, int]:
    """How many prompts were not answered in words, and how many were asked; none where no response is recorded."""
    asked = silent = 0
    for run in runs:
        prompts = run.responses.keys() if run.prompts is None or not run.responses else run.prompts
        asked += len(prompts)
        silent += sum(id not in run.responses or run.responses[id].why_silent is not None for id in prompts)
    return silent, asked


def _of(silent: int, asked: int) -> str:
    return f"{silent} of {asked} ({100 * silent / asked:.0f} %)" if silent else f"none of {asked}"
