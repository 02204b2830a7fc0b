"""What a verb says at its end of what has come of it: one function for each kind of module.

tell(cli.model, cli.datamodule, Path("runs/qwen_contextual"))
"""

from functools import singledispatch
from pathlib import Path

from lightning.pytorch import LightningDataModule, LightningModule
from lightning.pytorch.utilities import rank_zero_info

from cai_lightning.data.prompt_data import PromptData, ResponseData
from cai_lightning.modules import CritiqueRevision, Evaluation
from cai_lightning.report.failures import tell_failures, tell_missing, told_cuts
from cai_lightning.report.validation import show_evaluation, write_evaluation
from cai_lightning.run.errors import UserError
from cai_lightning.run.reading import read_records
from cai_lightning.run.records import Failure


@singledispatch
def tell(model: LightningModule, data: LightningDataModule, run: Path, strict: bool = False) -> None:
    """Says what a module has made, and which rows failed; nothing of a kind of module that has no function here.

    Args:
        model: What has run.
        data: What it has read.
        run: The run's folder.
        strict: Whether an evaluator that could not run is an error.

    Raises:
        UserError: All rows failed, or, where it is strict, an evaluator could not run.
    """


@tell.register
def _of_revisions(model: CritiqueRevision, data: LightningDataModule, run: Path, strict: bool = False) -> None:
    revisions, failures = run / "revisions.jsonl", run / "failed.jsonl"
    rank_zero_info(f"the revisions are in {revisions}")
    if cuts := told_cuts(revisions):
        rank_zero_info(cuts)
    if isinstance(data, PromptData):
        tried = {prompt.id for prompt in data.missing}
        failed = [failure.reason for id, failure in read_records(failures, Failure).items() if id in tried]
        tell_failures(failed, len(tried), f"set aside in {failures}")


@tell.register
def _of_an_evaluation(model: Evaluation, data: LightningDataModule, run: Path, strict: bool = False) -> None:
    if not isinstance(data, (PromptData, ResponseData)):
        return
    write_evaluation(run, model, data)
    show_evaluation(run)
    rank_zero_info(f"the scores are in {run / 'scores.jsonl'}, their means in {run / 'summary.json'}")
    if model.engine is None:
        tell_missing(model.unanswered(), len(data.tests), run / "responses.jsonl")
    else:
        tell_failures(model.reasons(), model.tried, "unscored")
    not_run = [f"{outcome.name}: {outcome.not_run}" for outcome in model.outcomes if outcome.not_run]
    if not_run and strict:
        raise UserError(f"every other score is kept, but these evaluators did not run: {'; '.join(not_run)}")
