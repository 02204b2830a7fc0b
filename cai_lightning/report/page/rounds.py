"""What critique and revision do to the answers of one run: a table by round and a table by principle.

table = by_round("qwen_contextual", chains(texts), known_scores(...))
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean

from cai_lightning.report.page.answers import Answer, KnownScores
from cai_lightning.report.page.breakdowns import Bar, BarRow, BarTable
from cai_lightning.report.page.scales import scale_over
from cai_lightning.report.tables import NOTHING

MOST_PRINCIPLES = 30
MOST_LETTERS = 90


def by_round(run: str, chains: Sequence[Sequence[Answer]], scores: Mapping[str, KnownScores]) -> BarTable:
    """One row for the initial responses and one for each revision."""
    rounds = [[chain[n] for chain in chains if len(chain) > n] for n in range(max(map(len, chains), default=0))]
    columns = {
        **{name: bars for name, known in scores.items() if (bars := _score_bars(known, rounds))},
        "refuse": [_share(answer.refuses for answer in answers) for answers in rounds],
        "words": _bars([fmean(len(answer.text.split()) for answer in answers) for answers in rounds], "{:.1f}"),
        "similarity to the answer before": [_similarity(answers) for answers in rounds],
    }
    rows = [
        BarRow(
            f"revision {n}" if n else "initial response",
            f"{len(answers)} prompts",
            tuple(bars[n] for bars in columns.values()),
        )
        for n, answers in enumerate(rounds)
    ]
    return BarTable(run, "", tuple(columns), tuple(rows))


def by_principle(run: str, chains: Sequence[Sequence[Answer]], scores: Mapping[str, KnownScores]) -> BarTable:
    """One row for each principle, by how often it was used: what the revisions under it have changed."""
    groups: dict[str, list[Answer]] = defaultdict(list)
    for chain in chains:
        for answer in chain[1:]:
            groups[answer.principle].append(answer)
    used = sorted(groups, key=lambda principle: -len(groups[principle]))
    known = {name: column for name, column in scores.items() if any(_pairs(column, a) for a in groups.values())}
    rows = [_principle(principle, groups[principle], known) for principle in used[:MOST_PRINCIPLES]]
    rest = f"{len(used) - len(rows)} principles used less often are left out" if len(used) > len(rows) else ""
    return BarTable(run, rest, (*known, "refuse", "similarity to the answer before"), tuple(rows))


def _principle(principle: str, answers: Sequence[Answer], scores: Mapping[str, KnownScores]) -> BarRow:
    before = [answer.before.refuses for answer in answers if answer.before]
    bars = (
        *(_change(_pairs(known, answers)) for known in scores.values()),
        _change([(float(a), float(b.refuses)) for a, b in zip(before, answers, strict=True)], "{:.0%}"),
        _similarity(answers),
    )
    label = principle if len(principle) <= MOST_LETTERS else f"{principle[:MOST_LETTERS]}..."
    return BarRow(label, f"{len(answers)} revisions", bars, {"principle": principle})


def _pairs(known: KnownScores, answers: Iterable[Answer]) -> list[tuple[float, float]]:
    """The scores before and after, where both are known."""
    pairs = [(answer.before, answer) for answer in answers if answer.before]
    return [
        (known[a.id, a.text], known[b.id, b.text])
        for a, b in pairs
        if (a.id, a.text) in known and (b.id, b.text) in known
    ]


def _change(pairs: Sequence[tuple[float, float]], form: str = "{:.2f}") -> Bar:
    if not pairs:
        return Bar(NOTHING)
    before, after = fmean(a for a, _ in pairs), fmean(b for _, b in pairs)
    length = scale_over([0.0, 1.0]).place(after) if 0 <= after <= 1 else None
    return Bar(f"{form.format(before)} → {form.format(after)}", length, title=f"{len(pairs)} answers")


def _score_bars(known: KnownScores, rounds: Sequence[Sequence[Answer]]) -> list[Bar]:
    """The mean score of each round, over the prompts whose answers are scored in all rounds that have scores."""
    scored = [{a.id: known[a.id, a.text] for a in answers if (a.id, a.text) in known} for answers in rounds]
    common = set.intersection(*(set(values) for values in scored if values)) if any(scored) else set()
    if not common:
        return []
    means = [fmean(values[id] for id in common) if values else None for values in scored]
    return _bars(means, "{:.2f}", f"{len(common)} prompts")


def _bars(values: Sequence[float | None], form: str, title: str = "") -> list[Bar]:
    scale = scale_over([0.0, *(value for value in values if value is not None)])
    return [Bar(NOTHING) if v is None else Bar(form.format(v), scale.place(v), title=title) for v in values]


def _share(values: Iterable[bool]) -> Bar:
    share = fmean(values)
    return Bar(f"{share:.0%}", round(100 * share, 2))


def _similarity(answers: Sequence[Answer]) -> Bar:
    values = [answer.similarity for answer in answers if answer.similarity is not None]
    return Bar(f"{fmean(values):.2f}", round(100 * fmean(values), 2)) if values else Bar(NOTHING)
