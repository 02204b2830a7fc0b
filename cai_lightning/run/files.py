"""A folder that is written whole or not at all.

with replacing(run / "adapter") as fresh:
model.save_pretrained(fresh)
"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

from cai_lightning.run.errors import WriteError


@contextmanager
def replacing(folder: Path) -> Iterator[Path]:
    """A fresh folder beside this one, which takes its place once all is written; after an error nothing has changed.

    Raises:
        WriteError: It cannot be written: the disk is full.
    """
    fresh, old = folder.with_name(f".{folder.name}.new"), folder.with_name(f".{folder.name}.old")
    try:
        shutil.rmtree(fresh, ignore_errors=True)
        if old.exists() and not folder.exists():  # killed between the two renames
            old.rename(folder)
        shutil.rmtree(old, ignore_errors=True)
        fresh.mkdir(parents=True)
        yield fresh
        for path in fresh.iterdir():  # safetensors writes for its owner alone, and a server may be another user
            path.chmod(fresh.stat().st_mode & 0o666)
        if folder.exists():
            folder.rename(old)
        fresh.rename(folder)
    except (OSError, SafetensorError) as error:
        raise WriteError(
            f"{folder}: cannot be written ({error}); what stood there is kept. Make room on the disk, or make the "
            "folder writable, and start the same command again."
        ) from error
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    shutil.rmtree(old, ignore_errors=True)
