"""What critique and revision do to the answers of one run: a table by round and a table by principle.

rounds = by_round(run, chains(texts), known_scores(...))
principles = by_principle(run, baseline, chains(texts), columns)
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from statistics import fmean

from cai_lightning.report.page.cards import whole_scale
from cai_lightning.report.page.plots import Bar, BarRow, BarTable
from cai_lightning.report.page.viewer import Answer, KnownScores
from cai_lightning.report.runs import Run
from cai_lightning.report.words import NOTHING

MOST_PRINCIPLES = 30
MOST_LETTERS = 90
SIMILARITY = "similarity to the answer before"
Chains = Sequence[Sequence[Answer]]


def by_round(run: str, chains: Chains, known: Mapping[str, KnownScores]) -> BarTable:
    """One row for the initial responses and one for each revision; a metric that knows none of them has no column."""
    rounds = [[chain[n] for chain in chains if len(chain) > n] for n in range(max(map(len, chains)))]
    means = {name: [scores.mean(answers) for answers in rounds] for name, scores in known.items()}
    columns = {
        **{name: _bars(values, _score) for name, values in means.items() if any(v is not None for v in values)},
        "refuse": [_share(answer.refuses for answer in answers) for answers in rounds],
        "words": _bars([fmean(len(answer.text.split()) for answer in answers) for answers in rounds], "{:.1f}".format),
        SIMILARITY: [_similarity(answers) for answers in rounds],
    }
    rows = [
        BarRow(_label(n), f"{len(answers)} prompts", tuple(bars[n] for bars in columns.values()))
        for n, answers in enumerate(rounds)
    ]
    return BarTable(run, "", tuple(columns), tuple(rows))


def by_principle(run: Run, baseline: Run, chains: Chains, columns: Iterable[str]) -> BarTable:
    """One row for each principle, by how often it was used.

    Refusals are those of the answers before and after a revision under it. Scores are those of the baseline's and this
    run's responses to the test prompts among its prompts.
    """
    groups: dict[str, list[Answer]] = defaultdict(list)
    for answer in (answer for chain in chains for answer in chain[1:]):
        groups[answer.principle].append(answer)
    used = sorted(groups, key=lambda principle: -len(groups[principle]))
    shared = [name for name in columns if run.values(name).keys() & baseline.values(name).keys()]
    rows = [_principle(principle, groups[principle], run, baseline, shared) for principle in used[:MOST_PRINCIPLES]]
    rest = f"{len(used) - len(rows)} principles used less often are left out." if len(used) > len(rows) else ""
    return BarTable(run.name, rest, (*shared, "refuse", SIMILARITY), tuple(rows))


def _principle(principle: str, answers: Sequence[Answer], run: Run, baseline: Run, columns: Iterable[str]) -> BarRow:
    prompts = {answer.id for answer in answers}
    refusals = [(answer.before.refuses, answer.refuses) for answer in answers if answer.before]
    bars = (
        *(_change(_pairs(prompts, baseline.values(name), run.values(name)), _score) for name in columns),
        _change(refusals, _per_cent),
        _similarity(answers),
    )
    label = principle if len(principle) <= MOST_LETTERS else f"{principle[:MOST_LETTERS]}..."
    return BarRow(label, f"{len(answers)} revisions", bars, {"principle": principle})


def _pairs(
    prompts: Iterable[str], before: Mapping[str, float], after: Mapping[str, float]
) -> list[tuple[float, float]]:
    return [(before[id], after[id]) for id in prompts if id in before and id in after]


def _change(pairs: Sequence[tuple[float, float]], words: Callable[[float], str]) -> Bar:
    if not pairs:
        return Bar(NOTHING)
    before, after = fmean(a for a, _ in pairs), fmean(b for _, b in pairs)
    length = round(100 * after, 2) if 0 <= after <= 1 else None
    return Bar(f"{words(before)} → {words(after)}", length, title=f"{len(pairs)} answers")


def _bars(values: Sequence[float | None], words: Callable[[float], str]) -> list[Bar]:
    scale = whole_scale([0.0, *(value for value in values if value is not None)])
    return [Bar(NOTHING) if value is None else Bar(words(value), scale.place(value)) for value in values]


def _share(values: Iterable[bool]) -> Bar:
    share = fmean(values)
    return Bar(_per_cent(share), round(100 * share, 2))


def _similarity(answers: Sequence[Answer]) -> Bar:
    values = [answer.similarity for answer in answers if answer.similarity is not None]
    return Bar(_score(fmean(values)), round(100 * fmean(values), 2)) if values else Bar(NOTHING)


def _label(number: int) -> str:
    return f"revision {number}" if number else "initial response"


def _score(value: float) -> str:
    return f"{value:.2f}"


def _per_cent(share: float) -> str:
    return f"{100 * share:.0f} %"
