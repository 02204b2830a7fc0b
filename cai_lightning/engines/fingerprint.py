"""What the base of an adapter was, kept beside it, so that the adapter is put on no other one.

save_fingerprint(base.config, folder)
check_adapter(base.config, folder)
"""

import json
from pathlib import Path
from typing import Any

from transformers import PreTrainedConfig

from cai_lightning.errors import UserError
from cai_lightning.json_file import load_json, object_at
from cai_lightning.pretrained import weights_revision

FINGERPRINT = "base_fingerprint.json"
SHAPES = ("model_type", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "vocab_size")


def save_fingerprint(base: PreTrainedConfig, folder: Path) -> None:
    """Writes beside an adapter the name of its base, what stands in its weight files, and its shapes."""
    _write(_fingerprint(base), folder)


def copy_fingerprint(source: Path, folder: Path, base: str) -> None:
    """Writes that of one adapter beside a copy of it, where the base goes by another name."""
    if (kept := _read(source)) is not None:
        _write(kept | {"base": base}, folder)


def check_adapter(base: PreTrainedConfig, folder: Path) -> None:
    """Refuses an adapter of another base: one for a deeper base loads on a shallower one without a warning, and one
    for a base of the same shapes on any of them.

    Raises:
        UserError: There is no adapter, the shapes differ, or the weights do where both are known.
    """
    if not (folder / "adapter_config.json").exists():
        raise UserError(f"{folder}: no adapter there (adapter_config.json is missing); run fit first, or name another.")
    trained, found = _read(folder), _fingerprint(base)
    if trained is None:
        return
    for key in SHAPES:
        if trained.get(key) != found[key]:
            raise UserError(
                f"{folder}: this adapter was trained on a base with {key} {trained.get(key)}; "
                f"{found['base']} has {found[key]}."
            )
    weights = trained.get("weights"), found["weights"]
    if None not in weights and weights[0] != weights[1]:
        raise UserError(
            f"{folder}: this adapter was trained on {trained.get('base')} (weights {weights[0]}), and {found['base']} "
            f"(weights {weights[1]}) is another model of the same shapes. Name the first; if the two are the same one "
            f"in other files, remove {folder / FINGERPRINT}."
        )


def _fingerprint(base: PreTrainedConfig) -> dict[str, Any]:
    config = base.to_dict()
    shapes = {key: config.get(key) for key in SHAPES}
    return {"base": base.name_or_path, "weights": weights_revision(base.name_or_path), **shapes}


def _write(content: dict[str, Any], folder: Path) -> None:
    (folder / FINGERPRINT).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def _read(folder: Path) -> dict[str, Any] | None:
    """None beside an adapter that was trained elsewhere."""
    path = folder / FINGERPRINT
    return object_at(path, "its top", load_json(path, "fingerprint of a base")) if path.exists() else None
