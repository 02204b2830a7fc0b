"""What the command line says of the verbs of a run: usages, and options of their own."""

from lightning.pytorch.cli import LightningArgumentParser

PROGRAM = "python -m cai_lightning"
DESCRIPTIONS = {
    "predict": "Revises red-team prompts by a constitution: response, critique, revision → RUN/revisions.jsonl",
    "fit": "Fine-tunes a LoRA adapter on the cleaned revisions → RUN/adapter/",
    "validate": "Answers the test prompts and scores the answers → RUN/responses.jsonl, scores.jsonl, summary.json",
}
CLASSES = {
    "predict": ("cai_lightning.modules.CritiqueRevision", "cai_lightning.data.PromptData"),
    "fit": ("cai_lightning.modules.SupervisedFineTuning", "cai_lightning.data.RevisionData"),
    "validate": ("cai_lightning.modules.Evaluation", "cai_lightning.data.PromptData"),
}
"""What `--help` points to: the classes of the shipped configurations."""


def parser_settings(verb: str) -> dict[str, str]:
    """A short usage, for an error shows it before its message, and where the settings of the parts are explained."""
    model, data = CLASSES[verb]
    more = {"predict": "[--dry-run] ", "validate": "[--strict] "}.get(verb, "")
    return {
        "description": (
            f"{DESCRIPTIONS[verb]}. The settings of its parts are explained by {PROGRAM} {verb} --model.help {model} "
            f"and --data.help {data}; --print_config shows them as they would be used."
        ),
        "usage": f"{PROGRAM} {verb} --config FILE [--run DIR] [--fresh] {more}[--print_config] [--KEY VALUE ...]",
    }


def add_options(parser: LightningArgumentParser, verb: str) -> None:
    """Adds the options that one verb has and the others do not."""
    if verb == "predict":
        parser.add_argument(
            "--dry-run",
            action="store_true",
            help="Makes the first rows, throws them away, and says what tokens, hours and money the missing ones "
            "would take (money by model.price). Writes nothing.",
        )
    if verb == "fit":
        parser.add_argument(
            "--checkpoint_every",
            type=int,
            default=100,
            help="Optimizer steps between two checkpoints to go on from; the end of an epoch is one, too.",
        )
    if verb == "validate":
        parser.set_defaults({"verbose": False})  # the table of the means is ours
        parser.add_argument(
            "--strict", action="store_true", help="Ends with an error where an evaluator could not run."
        )
