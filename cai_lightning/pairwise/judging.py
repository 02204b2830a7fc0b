"""Has pairs of responses judged in both orders, each verdict written down at once, so that it can go on later.

judgements = judge_pairs(PairwiseJudge(judge), revision, output / "pairwise.jsonl", pairs)
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cai_lightning import journal, provenance
from cai_lightning.metrics.judging import JudgeModel
from cai_lightning.metrics.pairwise import Pair, PairwiseJudge, Preference
from cai_lightning.record_files import read_records
from cai_lightning.records import Judgement


def judge_pairs(asking: PairwiseJudge, revision: str, path: Path, pairs: Sequence[Pair]) -> list[Judgement]:
    """Judges the pairs that this judge has not judged yet, and returns what it says of all of them.

    Args:
        asking: The judge.
        revision: What stands behind the name of its model.
        path: Journal of the judgements.
        pairs: Each with an id of its own.

    Raises:
        UserError: The judge is not there; the judgements made so far are kept.
    """
    keys = {pair.id: _key(asking.judge, revision, pair) for pair in pairs}
    _judge_missing(asking, path, pairs, keys)
    judged = read_records(path, Judgement)
    return [judgement for id, judgement in judged.items() if judgement.key == keys.get(str(id))]


def _judge_missing(asking: PairwiseJudge, path: Path, pairs: Sequence[Pair], keys: dict[str, str]) -> None:
    """Judges the pairs that have no verdict of this judge yet, each written down at once."""
    order = list(keys)
    path.parent.mkdir(parents=True, exist_ok=True)
    journal.merge(path, order)
    judged = read_records(path, Judgement).values()
    done = {judgement.id for judgement in judged if judgement.preferred and judgement.key == keys.get(judgement.id)}
    missing = [pair for pair in pairs if pair.id not in done]
    if missing:
        asking.load()
        with journal.JournalWriter(path) as writer, _progress(len(pairs), len(done)) as advance:

            def keep(pair: Pair, preference: Preference) -> None:
                writer.append(_judgement(pair, preference, keys[pair.id]))
                advance()

            asking.prefer(missing, keep)
        journal.merge(path, order)


def _key(judge: JudgeModel, revision: str, pair: Pair) -> str:
    texts = {"conversation": pair.conversation, "first": pair.first, "second": pair.second}
    return provenance.digest({"judge": provenance.settings(judge), "revision": revision, **texts})


def _judgement(pair: Pair, preference: Preference, key: str) -> Judgement:
    return Judgement(
        id=pair.id,
        first_shown_first=preference.first_shown_first,
        second_shown_first=preference.second_shown_first,
        preferred=preference.preferred,
        reason=preference.reason,
        identical=pair.first == pair.second,
        rationales=list(preference.rationales),
        key=key,
    )


@contextmanager
def _progress(total: int, done: int) -> Iterator[Any]:
    """A bar on a terminal, and nothing elsewhere."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    with Progress(console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task("pairs judged in both orders", total=total, completed=done)
        yield lambda: progress.advance(task)
