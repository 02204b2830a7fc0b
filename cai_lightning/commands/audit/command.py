"""`python -m cai_lightning audit --config FILE --comparisons FILE`: how far can each evaluator be trusted?

The evaluators are those that the configuration names at `validate.model.init_args.metrics`. Each score is written at
once and kept, so that a second audit costs nothing.
"""

from collections import Counter
from collections.abc import Container, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from lightning.pytorch.strategies import SingleDeviceStrategy

from cai_lightning.callbacks.progress import recording
from cai_lightning.commands.arguments import PROGRAM, read_arguments
from cai_lightning.commands.audit.findings import (
    Audit,
    Labels,
    PositionFindings,
    ScoredColumn,
    audit_columns,
    compare_columns,
    compare_orders,
)
from cai_lightning.commands.audit.tables import PLOT, content, document, save_plot
from cai_lightning.commands.pairwise import judge_pairs
from cai_lightning.data.labelled import FORMATS, in_part, read_labelled
from cai_lightning.data.prompts import Part, Shares
from cai_lightning.metrics import Judge, ResponseMetric
from cai_lightning.metrics.judge import Pair
from cai_lightning.metrics.scoring import Outcome, Scorer, metric_digest
from cai_lightning.report.summary import read_scores
from cai_lightning.report.table import as_json, console, tell_written, write_files
from cai_lightning.run import manifest
from cai_lightning.run.config import Configuration, cut_configurations
from cai_lightning.run.errors import UserError, WriteError
from cai_lightning.run.files import locked
from cai_lightning.run.processes import quiet
from cai_lightning.run.records import Score, number_ids, transcript_text
from cai_lightning.services.judge import JudgeClient

SETTINGS = ("metrics", "score_batch_size")
"""What `audit` takes over from the module of validate."""

CONFIG = {"--config": {"action": "config", "help": "The experiment whose evaluators are audited."}}
USAGE = (
    f"{PROGRAM} audit --config FILE --comparisons FILE [--output DIR] [--limit N] [--part test] [--pairwise] [--strict]"
)
ABOUT = (
    "How far can each evaluator be trusted? Lets the evaluators of a configuration score responses that people have"
    " labelled, and says how often each prefers the better one, with its interval; how far its probabilities can be"
    " believed; whether it prefers long responses; and how far evaluators agree with each other. Scores are kept:"
    " started again, an audit goes on where it was. Read are JSON Lines, plain or .gz, whose rows have"
    f" {'; or '.join(FORMATS)}. Any of these with prompt or turns may have a reference, too."
)


def main(args: Sequence[str]) -> None:
    """Audits evaluators.

    Args:
        args: The words behind the verb.

    Raises:
        UserError: The configuration or the file of labels is not as it should be.
    """
    quiet()
    words, files = cut_configurations(args, _evaluators)
    if not files and not {"-h", "--help"} & set(args):
        raise UserError(f"audit needs --config FILE, the experiment whose evaluators are audited.\nusage: {USAGE}")
    arguments = read_arguments(audit, words, "audit", ABOUT, CONFIG, usage=USAGE, print_config=None)
    del arguments["config"]
    labels = arguments["comparisons"].name.partition(".")[0]
    arguments["output"] = arguments["output"] or Path("runs", files[0].path.stem, "audit", labels)
    audit(**arguments)


def _evaluators(file: Configuration) -> dict[str, object]:
    """What a configuration says about evaluators.

    Raises:
        UserError: It names none.
    """
    module = file.section("validate").get("model")
    settings = module.get("init_args") if isinstance(module, dict) else None
    if not isinstance(settings, dict) or not settings.get("metrics"):
        raise UserError(f"{file.path}: no evaluators to audit; name some at validate.model.init_args.metrics.")
    return {name: settings[name] for name in SETTINGS if name in settings}


def audit(
    comparisons: Path,
    metrics: list[ResponseMetric],
    output: Path | None = None,
    limit: int | None = None,
    part: Part | None = None,
    shares: Shares = Shares(),
    device: str | None = None,
    score_batch_size: int = 64,
    pairwise: bool = False,
    strict: bool = False,
) -> None:
    """Lets evaluators score labelled responses, and says how far each can be trusted.

    Args:
        comparisons: File of labelled responses.
        metrics: The evaluators; those of --config, where they stand at validate.model.init_args.metrics.
        output: Folder for audit.md, audit.json, audit.png and scores.jsonl; runs/X/audit/Y for --config X.yaml and
            --comparisons Y.jsonl.
        limit: Takes the first so many rows of the file; null takes all.
        part: Takes the rows whose prompt is in this part of every experiment, such as `test` where a preference model
            was trained on others of the same file; null takes all.
        shares: Shares of the prompts that are set aside, as in the experiment.
        device: Where evaluators compute, such as cpu or cuda:1; null takes the accelerator, where there is one.
        score_batch_size: Responses handed to an evaluator at once.
        pairwise: Shows the judges among the evaluators both responses of each pair, too, in both orders.
        strict: Ends with an error where an evaluator could not run.

    Raises:
        UserError: The file has no labels, or a row in it is malformed.
    """
    if limit is not None and limit < 1:
        raise UserError(f"--limit {limit}: expected a number of rows, from 1 on.")
    if not comparisons.is_file():
        raise UserError(f"--comparisons {comparisons}: no such file of labelled comparisons.")
    labelled = read_labelled(comparisons, limit)
    labels = Labels(in_part(labelled, part, shares) if part else labelled)
    place, output = _device(device), output or Path("audit")
    judges = [metric for metric in metrics if pairwise and labels.chosen and isinstance(metric, Judge)]
    output.mkdir(parents=True, exist_ok=True)
    with locked(output / "audit.json"):
        scored = score_labels(metrics, labels, output, place, score_batch_size)
        positions = tuple(judge_positions(judge, labels, output) for judge in judges)
    columns, agreement = audit_columns(scored, labels), compare_columns(scored, labels)
    found = Audit(comparisons.name, manifest.file_digest(comparisons), labels, columns, agreement, positions)
    console().print(document(found).terminal())
    files = {"audit.md": document(found).markdown(), "audit.json": as_json(content(found))}
    tell_written([*write_files(output, files), *save_plot(found, output / PLOT)])
    missing = [one.column.name for one in scored if one.not_run]
    if missing and strict:
        raise UserError(f"every other score is kept, but these evaluators did not run: {', '.join(missing)}")


def score_labels(
    metrics: Sequence[ResponseMetric], labels: Labels, output: Path, device: torch.device, batch_size: int
) -> list[ScoredColumn]:
    """Scores all responses with each evaluator, and returns what its columns hold.

    Args:
        metrics: The evaluators; one that cannot run is told so in the result.
        labels: The responses.
        output: Folder of `scores.jsonl`; the scores that stand there are not made again.
        device: Where they compute.
        batch_size: Responses handed to one at once.
    """
    ids, outcomes = {response.id: response.id for response in labels.responses}, list[tuple[Outcome, str | None]]()
    with recording(output, Score) as sink:
        scorer = Scorer(output, sink, SingleDeviceStrategy(device), ids, batch_size)
        for metric in metrics:
            why = _why_inapplicable(metric, labels)
            outcomes.append((scorer.score(metric.to(device), [] if why else labels.responses, {}, None), why))
    return [column for outcome, why in outcomes for column in _columns(outcome, why, ids, output)]


def _why_inapplicable(metric: ResponseMetric, labels: Labels) -> str | None:
    """Why an evaluator has nothing to say about any of the responses, such as for want of references."""
    reasons = Counter(metric.inapplicable(response) for response in labels.responses)
    return None if None in reasons else reasons.most_common(1)[0][0]


def _columns(outcome: Outcome, not_applicable: str | None, ids: Container[str], output: Path) -> list[ScoredColumn]:
    made_by, columns = (metric_digest(outcome.metric), outcome.revision), outcome.metric.columns
    scores = read_scores(output, {column.name: made_by for column in columns}, None, ids)
    return [ScoredColumn(c, *made_by, scores[c.name], outcome.not_run, not_applicable) for c in columns]


def judge_positions(metric: Judge, labels: Labels, output: Path) -> PositionFindings:
    """Has every pair judged in both orders; judgements that stand in the output folder are not asked for again."""
    judge, asking = PositionFindings(metric.judge.model, metric_digest(metric)), JudgeClient(metric.judge)
    rows = labels.labelled.pairs
    ids = number_ids(transcript_text(row.conversation) for row in rows)  # a conversation may have several pairs
    pairs = [Pair(id, row.conversation, row.chosen, row.rejected) for id, row in zip(ids, rows, strict=True)]
    try:
        revision = asking.revision()
        return compare_orders(replace(judge, revision=revision), judge_pairs(asking, revision, output, pairs), labels)
    except WriteError:
        raise
    except UserError as error:
        return replace(judge, not_run=str(error))


def _device(name: str | None) -> torch.device:
    """The device of this name; by default the accelerator, or the CPU where there is none."""
    if name is None:
        return torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")
    try:
        return torch.empty(0, device=name).device
    except (RuntimeError, AssertionError) as error:
        raise UserError(f"--device {name}: there is none here ({str(error).splitlines()[0]})") from None
