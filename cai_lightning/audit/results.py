"""The whole of an audit, as tables, plots and `audit.json` show it."""

from dataclasses import dataclass

from cai_lightning.audit.agreement import Agreement
from cai_lightning.audit.findings import ColumnFindings
from cai_lightning.audit.labels import Labels
from cai_lightning.audit.positions import PositionFindings


@dataclass(frozen=True)
class Audit:
    """What was found out.

    Args:
        file: Name of the file of labels.
        digest: 16 hex digits of its SHA-256.
        labels: What stands in it.
        columns: What was found out about each column, in the order of the evaluators.
        agreement: How far the evaluators agree with each other.
        positions: What came of showing judges both responses in both orders, where that was asked for.
    """

    file: str
    digest: str
    labels: Labels
    columns: tuple[ColumnFindings, ...]
    agreement: Agreement
    positions: tuple[PositionFindings, ...] = ()
