"""A folder is written whole or not at all, whatever was left there before and whatever goes wrong."""

import resource

import pytest
import torch
from safetensors.torch import save_file

from cai_lightning.run.errors import WriteError
from cai_lightning.run.files import replacing


@pytest.fixture
def folder(tmp_path):
    """A folder that holds one file."""
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a").write_text("old")
    return tmp_path / "out"


@pytest.fixture
def full_disk():
    """No file may have more than 4,096 bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def contents(folder):
    """The one folder that there is, and what it holds."""
    assert list(folder.parent.iterdir()) == [folder]
    return {path.name: path.read_text() for path in folder.iterdir()}


def test_it_takes_the_place_of_the_old_one(folder):
    with replacing(folder) as fresh:
        (fresh / "b").write_text("new")
        assert (folder / "a").read_text() == "old"
    assert contents(folder) == {"b": "new"}


def test_what_a_killed_process_has_left_is_in_nobodys_way(folder):
    (folder.parent / ".out.new" / "deep").mkdir(parents=True)
    with replacing(folder) as fresh:
        (fresh / "b").write_text("new")
    assert contents(folder) == {"b": "new"}


def test_killed_between_the_renames_the_old_one_comes_back(folder):
    folder.rename(folder.parent / ".out.old")
    with pytest.raises(KeyboardInterrupt), replacing(folder):
        raise KeyboardInterrupt
    assert contents(folder) == {"a": "old"}


@pytest.mark.parametrize(
    "write",
    [
        lambda fresh: (fresh / "b").write_text("x" * 5000),
        lambda fresh: save_file({"x": torch.zeros(5000)}, fresh / "b.safetensors"),
    ],
    ids=["text", "tensors"],
)
def test_on_a_full_disk_the_old_one_stays(folder, full_disk, write):
    message = r"out: cannot be written \(.*File too large.*\); what stood there is kept"
    with pytest.raises(WriteError, match=message), replacing(folder) as fresh:
        write(fresh)
    assert contents(folder) == {"a": "old"}
