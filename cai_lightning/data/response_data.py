"""The responses that a run holds as Lightning's data module: validate scores them and makes none."""

from pathlib import Path

from lightning.pytorch import LightningDataModule
from torch.utils.data import DataLoader

from cai_lightning import provenance
from cai_lightning.data.prompt_data import ReferencedPrompt
from cai_lightning.record_files import read_records
from cai_lightning.records import Prompt, Response, shared_id


class ResponseData(LightningDataModule):
    """Takes prompts and references from the run's own `responses.jsonl`, for validate with `engine: null`.

    Args:
        limit: Takes the first so many responses; null takes all.
    """

    INCIDENTAL = frozenset({"limit"})

    def __init__(self, limit: int | None = None) -> None:
        super().__init__()
        if limit is not None and limit < 1:
            raise ValueError(f"data.limit: a number of rows from 1 on expected, found {limit}")
        self.limit = limit
        self.order: list[str] = []
        self.tests: list[ReferencedPrompt] = []

    def reference_digest(self, run: Path) -> str:
        """16 hex digits that stand for the references that came with the responses."""
        return provenance.digest({id: made.reference for id, made in _responses(run).items()})

    def setup(self, stage: str) -> None:
        responses = _responses(Path(self.trainer.default_root_dir))  # type: ignore[union-attr]
        self.order = list(responses)
        self.tests = [_test(row) for row in list(responses.values())[: self.limit]]

    def val_dataloader(self) -> DataLoader[ReferencedPrompt]:
        """This process's share: every n-th row."""
        trainer = self.trainer
        mine = self.tests[trainer.global_rank :: trainer.world_size] if trainer else self.tests
        return DataLoader(mine, batch_size=64, collate_fn=list)  # type: ignore[arg-type]


def _responses(run: Path) -> dict[str, Response]:
    return {str(id): response for id, response in read_records(run / "responses.jsonl", Response).items()}


def _test(made: Response) -> ReferencedPrompt:
    prompt = Prompt(made.id, made.prompt, None, made.category, made.turns, shared_id(made), made.sample)
    return ReferencedPrompt(prompt, made.reference)
