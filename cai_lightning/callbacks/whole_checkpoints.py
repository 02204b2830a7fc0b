"""Checkpoints that are whole or not there: written beside the old one, synced, then put in its place."""

import os
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, TypeGuard

import torch
from lightning.pytorch.plugins import CheckpointIO

from cai_lightning.errors import UserError


class WholeCheckpoints(CheckpointIO):
    """Writes and reads `.ckpt` files; a kill or a full disk leaves the last good one where it is."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        target = Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        fresh = target.with_name(f".{target.name}.new")
        try:
            with fresh.open("wb") as file:
                torch.save(checkpoint, file)
                file.flush()
                os.fsync(file.fileno())
        except (OSError, RuntimeError) as error:  # torch's writer raises RuntimeError where the disk is full
            fresh.unlink(missing_ok=True)
            raise UserError(f"{target}: the checkpoint cannot be written ({error!s:.120}).") from error
        fresh.replace(target)

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = True) -> dict[str, Any]:
        try:
            checkpoint = torch.load(path, map_location=map_location or "cpu", weights_only=True)
        except (RuntimeError, EOFError, UnpicklingError) as error:
            raise _unreadable(path, str(error)) from error
        if not _is_whole(checkpoint):
            raise _unreadable(path, "it is none of a training")
        return checkpoint

    def remove_checkpoint(self, path: Any) -> None:
        Path(path).unlink(missing_ok=True)


def _is_whole(checkpoint: Any) -> TypeGuard[dict[str, Any]]:
    if not isinstance(checkpoint, dict):
        return False
    return "pytorch-lightning_version" in checkpoint and isinstance(checkpoint.get("state_dict"), dict)


def _unreadable(path: Any, why: str) -> UserError:
    return UserError(f"{path}: no readable checkpoint ({why:.120}). Remove it, or begin anew: --fresh.")
