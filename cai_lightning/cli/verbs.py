"""The verbs, one row each: to add one, add its row here, and the module or the classes that it names.

predict, fit and validate read their section of an experiment's file and run under Lightning's trainer. Each other verb
is a module of `commands` whose `main` gets the words behind it. Nothing heavy is imported here.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from cai_lightning.commands.arguments import PROGRAM


@dataclass(frozen=True)
class Verb:
    """What the command line knows of a verb.

    Args:
        usage: The words behind it.
        about: What it does, and where that is then.
        command: The module of `commands` whose `main` gets these words; none for a verb of Lightning's trainer.
        classes: Of a verb of the trainer, the model and the data module that `--help` points to.
        options: Of a verb of the trainer, its options beside `--config`, `--run` and `--fresh`, with what jsonargparse
            is to know of each.
        defaults: Of a verb of the trainer, Lightning's settings that are others here.
        resumes: Whether it keeps what is finished when it is interrupted, and goes on from there.
    """

    usage: str
    about: str
    command: str = ""
    classes: tuple[str, str] = ("", "")
    options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    defaults: Mapping[str, Any] = field(default_factory=dict)
    resumes: bool = False


EXPERIMENT = "--config FILE [--run DIR] [overrides]"
DRY_RUN = (
    "Makes the first rows, throws them away, and says what tokens, hours and money the missing ones would take (money "
    "by model.price). Writes nothing."
)
CHECKPOINTS = "Optimizer steps between two checkpoints to go on from; the end of an epoch is one, too."

VERBS = {
    "predict": Verb(
        EXPERIMENT,
        "prompts → response, critique, revision → runs/X/revisions.jsonl, or pairs labelled by AI feedback",
        classes=("cai_lightning.modules.CritiqueRevision", "cai_lightning.data.PromptData"),
        options={"--dry-run": {"action": "store_true", "help": DRY_RUN}},
        resumes=True,
    ),
    "fit": Verb(
        EXPERIMENT,
        "LoRA fine-tuning on the revisions (or DPO, a preference model, GRPO) → runs/X/adapter/",
        classes=("cai_lightning.modules.SupervisedFineTuning", "cai_lightning.data.RevisionData"),
        options={"--checkpoint_every": {"type": int, "default": 100, "help": CHECKPOINTS}},
    ),
    "validate": Verb(
        EXPERIMENT,
        "answers the test prompts and scores them → runs/X/scores.jsonl, summary.json",
        classes=("cai_lightning.modules.Evaluation", "cai_lightning.data.PromptData"),
        options={"--strict": {"action": "store_true", "help": "Ends with an error where an evaluator could not run."}},
        defaults={"verbose": False},  # the table of the means is ours
        resumes=True,
    ),
    "import": Verb("FILE --run DIR", "responses made elsewhere, for validate → runs/X/responses.jsonl", "importing"),
    "pairwise": Verb(
        "RUN RUN [--judge.model NAME ...]", "which run's responses a judge prefers → RUN/pairwise/", "pairwise"
    ),
    "compare": Verb(
        "RUN... [--audit FILE...] [--output DIR]", "which run is better, true or noise → report/", "compare"
    ),
    "inspect": Verb(
        "RUN... [--sample N] [--output DIR]", "what revisions or labels are made of, side by side", "inspect.command"
    ),
    "export": Verb(
        "RUN --output DIR [--merge]", "the adapter, or the whole model, with its card → DIR/", "export.command"
    ),
    "audit": Verb(
        "--config FILE --comparisons FILE",
        "how far evaluators can be trusted, by people's labels → runs/X/audit/",
        "audit.command",
        resumes=True,
    ),
    "ask": Verb(
        "[PROMPT] --config FILE [--run DIR]",
        "base model, critique and revision, fine-tuned model; or a chat",
        "ask.command",
    ),
}

_OVERVIEW = """\
usage: {program} VERB ...

Constitutional AI with open models. One experiment is one YAML file with a section for each verb:

{verbs}

Every verb goes on where it was when it is started again; rows that failed are tried again. `predict --dry-run` says
beforehand what tokens, hours and money it would take. Overrides are dotted: --data.limit 5, --model.lora.r 8; and
--shared.model NAME is one for all sections. `{program} VERB --help` explains the settings;
--print_config shows them as they would be used.
"""


def overview() -> str:
    """All verbs, a line each."""
    lines = (f"  {name:<9} {verb.usage:<39} {verb.about}" for name, verb in VERBS.items())
    return _OVERVIEW.format(program=PROGRAM, verbs="\n".join(lines))
