"""One prompt and what the models say about it: the base model, critique and revision, the fine-tuned model."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from cai_lightning.asking.experiment import Experiment
from cai_lightning.asking.serving import device, serving, wait_for
from cai_lightning.modules import CritiqueRevision
from cai_lightning.records import Prompt, Revision, Round

BASE = "base model"
FINE_TUNED = "fine-tuned model"


@dataclass(frozen=True)
class Passage:
    """A text and what it is.

    Args:
        heading: What it is.
        text: The words.
        cut: Whether the model came to its maximum of tokens in it.
        model: Which model it is from, where that is not told by what stands around it.
        thought: What it thought before; None where it did not.
    """

    heading: str
    text: str
    cut: bool = False
    model: str = ""
    thought: str | None = None


@dataclass(frozen=True)
class Step:
    """One round of critique and revision: its principle, and what was asked and said."""

    heading: str
    passages: list[Passage]


@dataclass(frozen=True)
class Exchange:
    """A prompt, the answers of the models, and the steps from the first of them to its last revision."""

    prompt: str
    answers: list[Passage]
    steps: list[Step] = field(default_factory=list)


def ask_base(experiment: Experiment, prompt: Prompt) -> Exchange:
    """Asks the model before any fine-tuning, which revises its answer where the experiment has a chain."""
    if experiment.chain:
        return _exchange(_revise(experiment.chain, prompt))
    return Exchange(prompt.prompt, [_answer(BASE, experiment, None, prompt)])


def ask_fine_tuned(experiment: Experiment, adapter: Path, prompt: Prompt) -> Passage:
    """Asks the model with its adapter, by the same draw as validate."""
    return _answer(FINE_TUNED, experiment, adapter, prompt)


def _revise(chain: CritiqueRevision, prompt: Prompt) -> Revision:
    chain.to(device())
    with serving(chain.engine, lambda: chain.prepare([prompt], 1)) as runner:
        return wait_for(runner, chain.revise(prompt))


def _answer(heading: str, experiment: Experiment, adapter: Path | None, prompt: Prompt) -> Passage:
    evaluation = experiment.evaluation
    with serving(evaluation.answerer, lambda: evaluation.answerer.start(device(), adapter)) as runner:
        reply = wait_for(runner, evaluation.reply(prompt))
    return Passage(heading, reply.text, reply.finish_reason == "length", experiment.name(adapter), reply.thought)


def _exchange(revision: Revision) -> Exchange:
    thoughts = revision.thoughts or [None] * len(revision.finish_reasons)
    ends = ((reason == "length", thought) for reason, thought in zip(revision.finish_reasons, thoughts, strict=True))
    cut, thought = next(ends)
    base = Passage(BASE, revision.initial_response, cut, revision.model, thought)
    steps = [_step(number, made, ends) for number, made in enumerate(revision.rounds, 1)]
    return Exchange(revision.prompt, [base], steps)


def _step(number: int, made: Round, ends: Iterator[tuple[bool, str | None]]) -> Step:
    """One round; `ends` tells of each reply in turn whether it was cut, and its thought."""
    similarity = "" if made.similarity is None else f", similarity {made.similarity:.2f}"
    passages = []
    if made.critique is not None:
        passages.append(Passage("Critique request", made.principle_used))
        cut, thought = next(ends)
        passages.append(Passage("Critique", made.critique, cut, thought=thought))
    passages.append(Passage("Revision request", made.revision_request))
    cut, thought = next(ends)
    passages.append(Passage("Revision", made.revision, cut, thought=thought))
    return Step(f"Round {number}: principle {made.principle_id}{similarity}", passages)
