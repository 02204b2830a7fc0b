"""Uploads an exported model to the Hugging Face Hub, with the token of the environment or of `hf auth login`.

The token is left to `huggingface_hub`: it is in no file, log or message of ours.
"""

import re
from pathlib import Path

from huggingface_hub import HfApi, constants, get_token
from huggingface_hub.errors import HTTPError  # type: ignore[attr-defined]  # httpx's or httpx2's, by version

from cai_lightning.errors import UserError

REPOSITORY = re.compile(r"[\w-][\w.-]{0,95}/[\w-][\w.-]{0,95}", re.ASCII)


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
    except (HTTPError, OSError, ValueError) as error:
        cause = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise UserError(
            f"{folder} is written, but it could not be uploaded to {name} ({_without_token(cause)}). "
            f"Once that is mended: hf upload {name} {folder}"
        ) from None
    return str(repository)


def _without_token(text: str) -> str:
    token = get_token()
    return text.replace(token, "...") if token else text
