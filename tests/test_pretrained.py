"""What stands behind the name of a model is told without loading it, and changes when the model does."""

import shutil

import pytest

from cai_lightning import pretrained
from cai_lightning.pretrained import revision


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "model"
    (folder / "1_Pooling").mkdir(parents=True)
    (folder / "config.json").write_text('{"model_type": "bert"}')
    (folder / "1_Pooling" / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(bytes(range(256)) * 8)
    return folder


def test_a_copy_has_the_same_revision(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "copy")
    assert revision(str(folder)) == revision(str(tmp_path / "copy"))
    assert len(revision(str(folder))) == 16


@pytest.mark.parametrize("file", ["config.json", "1_Pooling/config.json", "model.safetensors"])
def test_other_contents_of_the_same_size_are_another_revision(folder, file):
    before = revision(str(folder))
    content = (folder / file).read_bytes()
    (folder / file).write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert revision(str(folder)) != before


def test_a_file_more_or_under_another_name_is_another_revision(folder):
    before = revision(str(folder))
    (folder / "config.json").rename(folder / "configuration.json")
    renamed = revision(str(folder))
    (folder / "configuration.json").unlink()
    assert len({before, renamed, revision(str(folder))}) == 3


def test_what_is_hidden_does_not_count(folder):
    before = revision(str(folder))
    (folder / ".cache").mkdir()
    (folder / ".cache" / "lock").write_text("")
    (folder / ".gitattributes").write_text("*")
    assert revision(str(folder)) == before


def test_large_files_are_read_by_samples_that_other_weights_differ_in(folder, monkeypatch):
    monkeypatch.setattr(pretrained, "WHOLE", 1000)
    monkeypatch.setattr(pretrained, "BLOCK", 2)
    before = revision(str(folder))
    weights = folder / "model.safetensors"
    content = weights.read_bytes()
    weights.write_bytes(bytes(reversed(content)))
    assert revision(str(folder)) != before
    weights.write_bytes(content[:-1] + b"\0")
    assert revision(str(folder)) != before
    weights.write_bytes(content)
    assert revision(str(folder)) == before


def test_of_a_name_it_is_the_commit_in_the_cache(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    assert revision("some/encoder") is None
    cached = tmp_path / "models--some--encoder"
    (cached / "snapshots" / "abc123").mkdir(parents=True)
    (cached / "snapshots" / "abc123" / "config.json").write_text("{}")
    (cached / "refs").mkdir()
    (cached / "refs" / "main").write_text("abc123")
    assert revision("some/encoder") == "abc123"


@pytest.mark.parametrize("name", ["/no/such/folder", "a/b/c"])
def test_of_nothing_it_is_none(name):
    assert revision(name) is None
