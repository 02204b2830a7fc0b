"""Where an export is written: it takes nobody's place but another model's.

with replacing(check_place(output, overwrite, run, base)) as fresh:
    (fresh / "README.md").write_text("...")
"""

from pathlib import Path

from cai_lightning.errors import UserError


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
    if target.exists() and any(target.iterdir()):
        _check_replaced(target, output, overwrite)
    return target


def _check_replaced(target: Path, output: Path, overwrite: bool) -> None:
    """Lets a model be replaced, and nothing else: a slip of the finger shall not cost a home directory."""
    if not overwrite:
        raise UserError(f"--output {output}: the folder is not empty. Name another one, or add --overwrite.")
    if not any((target / name).is_file() for name in ("adapter_config.json", "config.json")):
        raise UserError(f"--output {output}: there is no model there to overwrite. Name another folder.")
