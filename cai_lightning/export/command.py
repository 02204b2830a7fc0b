"""`python -m cai_lightning export RUN --output DIR [--merge]`: a run's model with its card, ready to use.

python -m cai_lightning export runs/qwen_contextual --output checkpoints/qwen_contextual --merge
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cai_lightning import journal
from cai_lightning.arguments import call
from cai_lightning.engines.loading import DType
from cai_lightning.errors import UserError
from cai_lightning.export.card import model_card
from cai_lightning.export.facts import read_facts
from cai_lightning.export.folder import check_place
from cai_lightning.export.hub import check_hub, push
from cai_lightning.export.weights import find_weights, write_weights
from cai_lightning.folders import replacing
from cai_lightning.quiet import quiet

RUN = {"run": {"type": Path, "metavar": "RUN", "help": "Folder of the run."}}
OPTIONS: Mapping[str, Mapping[str, Any]] = {
    "--merge": {
        "action": "store_true",
        "help": "Writes the whole model, the adapter merged into its weights; without it the adapter alone.",
    },
    "--unfinished": {
        "action": "store_true",
        "help": "Writes the best adapter so far of a fit that has not finished, and says so in the card.",
    },
    "--push-to-hub": {
        "metavar": "NAME",
        "help": "Also uploads the folder to the Hugging Face Hub under this name, such as me/my-model, with the token "
        "that `hf auth login` or HF_TOKEN gives.",
    },
    "--public": {
        "action": "store_true",
        "help": "Makes a new repository on the Hub public; private otherwise. An existing one stays what it is.",
    },
    "--overwrite": {"action": "store_true", "help": "Replaces a model that is in DIR."},
}


def main(args: Sequence[str]) -> None:
    call(export, args, "export", "A run's fine-tuned model, ready to load, serve and share.", RUN, OPTIONS)


def export(
    run: Path,
    output: Path,
    merge: bool = False,
    unfinished: bool = False,
    push_to_hub: str | None = None,
    public: bool = False,
    dtype: DType = "auto",
    overwrite: bool = False,
) -> None:
    """Writes a run's adapter, or the whole model, with its tokenizer and a model card.

    Args:
        run: Folder of the run.
        output: Folder to write, such as checkpoints/qwen_contextual.
        merge: Merges the adapter into the base model.
        unfinished: Writes the best so far of a fit that has not finished, which is an error otherwise.
        push_to_hub: Also uploads the folder to the Hugging Face Hub under this name, such as me/my-model, with the
            token that `hf auth login` or HF_TOKEN gives.
        public: Makes a new repository public.
        dtype: Type of the weights written; `auto` takes that of the adapter, or with --merge that of the base model.
            The merge itself is computed in float32, whose result a 16-bit type rounds.
        overwrite: Replaces a model that is there.

    Raises:
        UserError: There is no such run, it has no fine-tuned model, its base is missing or another one, the folder is
            taken, or the Hub refuses the upload.
    """
    quiet()
    weights = find_weights(run, merge)
    if weights.unfinished and not unfinished:
        raise UserError(
            f"{weights.unfinished}. The same fit command goes on with it; to write it as it is: --unfinished."
        )
    target = check_place(output, overwrite, run, weights.base)
    if push_to_hub:
        check_hub(push_to_hub)
    facts = read_facts(run, weights)
    with replacing(target) as fresh:
        write_weights(weights, fresh, dtype, public=push_to_hub is not None)
        journal.replace_text(fresh / "README.md", model_card(facts, push_to_hub or str(output)))
    print(f"the {weights.kind} is in {output}, described in {output / 'README.md'}")
    if push_to_hub:
        print(f"uploaded to {push(target, push_to_hub, public)}")
