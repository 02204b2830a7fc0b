"""`python -m cai_lightning export RUN --output DIR [--merge]`: a run's model with its card, ready to use.

    python -m cai_lightning export runs/qwen_contextual --output checkpoints/qwen_contextual --merge

An export takes nobody's place but another model's. The token for an upload is left to `huggingface_hub`: it is in no
file, log or message of ours.
"""

from collections.abc import Sequence
from pathlib import Path

from huggingface_hub import HfApi, constants, get_token
from huggingface_hub import errors as hub_errors

from cai_lightning.commands.arguments import Known, call
from cai_lightning.commands.export.card import REPOSITORY, model_card
from cai_lightning.commands.export.weights import find_weights, write_weights
from cai_lightning.models.hub import DType
from cai_lightning.run import manifest
from cai_lightning.run.errors import UserError
from cai_lightning.run.files import replace_text, replacing
from cai_lightning.run.processes import quiet

ARGUMENTS: Known = {"run": {"type": Path, "metavar": "RUN"}, "--push-to-hub": {"metavar": "NAME"}}


def main(args: Sequence[str]) -> None:
    call(export, args, "export", "A run's fine-tuned model, ready to load, serve and share.", ARGUMENTS)


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
        merge: Writes the whole model, the adapter merged into its weights; without it the adapter alone.
        unfinished: Writes the best adapter so far of a fit that has not finished, and says so in the card.
        push_to_hub: Also uploads the folder to the Hugging Face Hub under this name, such as me/my-model, with the
            token that `hf auth login` or HF_TOKEN gives.
        public: Makes a new repository on the Hub public; private otherwise. An existing one stays what it is.
        dtype: Type of the weights written; `auto` takes that of the adapter, or with --merge that of the base model.
            The merge itself is computed in float32, whose result a 16-bit type rounds.
        overwrite: Replaces a model that is in the output folder.

    Raises:
        UserError: There is no such run, it has no fine-tuned model, its base is missing or another one, the folder is
            taken, or the Hub refuses the upload.
    """
    quiet()
    weights = find_weights(run, merge)
    why = manifest.unfinished(weights.folder)
    if why and not unfinished:
        raise UserError(f"{why}. The same fit command goes on with it; to write it as it is: --unfinished.")
    target = check_place(output, overwrite, run, weights.base)
    if push_to_hub:
        check_hub(push_to_hub)
    card = model_card(run, weights, push_to_hub or str(output))
    with replacing(target) as fresh:
        write_weights(weights, fresh, dtype, public=push_to_hub is not None)
        replace_text(fresh / "README.md", card)
    print(f"the {weights.kind} is in {output}, described in {output / 'README.md'}")
    if push_to_hub:
        print(f"uploaded to {push(target, push_to_hub, public)}")


def check_place(output: Path, overwrite: bool, run: Path, base: str) -> Path:
    """Where to write, links followed.

    Args:
        output: The folder as it was named.
        overwrite: Whether a model there may be replaced.
        run: The run, of which nothing may be lost.
        base: The base model, which may be a folder.

    Raises:
        UserError: Something else is there, or the folder stands in the way of what is read.
    """
    target = output.resolve()
    for read in filter(Path.exists, (run / "adapter", run / "model", Path(base))):
        if target.is_relative_to(read.resolve()):
            raise UserError(f"--output {output}: this is in {read}, which is read. Name another folder.")
    for read in filter(Path.exists, (run, Path(base))):
        if read.resolve().is_relative_to(target):
            raise UserError(f"--output {output}: this holds {read}, which is read. Name another folder.")
    if target.exists() and not target.is_dir():
        raise UserError(f"--output {output}: this is a file. Name a folder.")
    if not target.exists() or not any(target.iterdir()):
        return target
    if not overwrite:
        raise UserError(f"--output {output}: the folder is not empty. Name another one, or add --overwrite.")
    if not any((target / name).is_file() for name in ("adapter_config.json", "config.json")):  # a slip of the finger
        raise UserError(f"--output {output}: there is no model there to overwrite. Name another folder.")
    return target


def check_hub(name: str) -> None:
    """Finds out before the work what would stop the upload after it.

    Raises:
        UserError: The name is no repository's, there is no token, or the Hub is switched off.
    """
    if not REPOSITORY.fullmatch(name):
        raise UserError(f"--push-to-hub {name!r}: expected OWNER/NAME, of letters, digits, '-', '_' and '.'.")
    if constants.HF_HUB_OFFLINE:
        raise UserError("--push-to-hub: HF_HUB_OFFLINE is set, so that nothing can be uploaded.")
    if get_token() is None:
        raise UserError("--push-to-hub: there is no token. Run `hf auth login`, or set HF_TOKEN.")


def push(folder: Path, name: str, public: bool) -> str:
    """Uploads a folder and returns its address.

    Args:
        folder: The exported model.
        name: The repository, such as me/my-model; it is made where there is none.
        public: Makes a new one public; one that exists stays what it is.

    Raises:
        UserError: The Hub cannot be reached or refuses.
    """
    api = HfApi()
    try:
        repository = api.create_repo(name, private=not public, exist_ok=True)
        api.upload_folder(
            repo_id=repository.repo_id, folder_path=folder, commit_message="Upload a model fine-tuned by cai_lightning"
        )
    except (hub_errors.HTTPError, OSError, ValueError) as error:  # type: ignore[attr-defined]
        cause = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise UserError(
            f"{folder} is written, but it could not be uploaded to {name} ({_without_token(cause)}). "
            f"Once that is mended: hf upload {name} {folder}"
        ) from None
    return str(repository)


def _without_token(text: str) -> str:
    token = get_token()
    return text.replace(token, "...") if token else text
