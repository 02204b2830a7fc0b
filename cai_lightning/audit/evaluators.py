"""The evaluators that a configuration names at `validate.model.init_args.metrics`, as arguments of the command line.

with_evaluators(["--config", "configs/qwen_contextual.yaml", "--limit", "5"])
"""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from cai_lightning.errors import UserError
from cai_lightning.sections import read_section

SETTINGS = ("metrics", "score_batch_size")
"""What `audit` takes over from the module of validate."""


def with_evaluators(args: Sequence[str]) -> list[str]:
    """Replaces every `--config FILE` by what it says about evaluators.

    Raises:
        UserError: A file is missing, is no YAML, or names no evaluator.
    """
    return list(_arguments(args))


def config_files(args: Sequence[str]) -> list[Path]:
    """The files named by `--config`."""
    return [Path(value) for option, value in _pairs(args) if option in ("--config", "-c")]


def _arguments(args: Sequence[str]) -> Iterator[str]:
    for option, value in _pairs(args):
        if option in ("--config", "-c"):
            yield f"--config={json.dumps(_evaluators(Path(value)))}"
        else:
            yield option


def _pairs(args: Sequence[str]) -> Iterator[tuple[str, str]]:
    """The words, `--config` together with its file."""
    remaining = iter(args)
    for arg in remaining:
        option, equals, value = arg.partition("=")
        if option in ("--config", "-c"):
            yield option, value if equals else next(remaining, "")
        else:
            yield arg, ""


def _evaluators(path: Path) -> dict[str, object]:
    module = read_section(path, "validate").get("model")
    settings = module.get("init_args") if isinstance(module, dict) else None
    if not isinstance(settings, dict) or not settings.get("metrics"):
        raise UserError(f"{path}: no evaluators to audit; name some at validate.model.init_args.metrics.")
    return {name: settings[name] for name in SETTINGS if name in settings}
