"""What stands behind the name of a model is told without loading it, and changes when the model does."""

import json
import shutil

import pytest

from cai_lightning.models.hub import revision, weights_revision
from cai_lightning.run import manifest
from cai_lightning.run.errors import UserError


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
    monkeypatch.setattr(manifest, "WHOLE", 1000)
    monkeypatch.setattr(manifest, "BLOCK", 2)
    before = revision(str(folder))
    weights = folder / "model.safetensors"
    content = weights.read_bytes()
    weights.write_bytes(bytes(reversed(content)))
    assert revision(str(folder)) != before
    weights.write_bytes(content[:-1] + b"\0")
    assert revision(str(folder)) != before
    weights.write_bytes(content)
    assert revision(str(folder)) == before


@pytest.fixture
def cached(tmp_path, monkeypatch):
    """The snapshot of some/encoder in a cache that knows nothing else."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    assert revision("some/encoder") is None
    home = tmp_path / "models--some--encoder"
    snapshot = home / "snapshots" / "abc123"
    snapshot.mkdir(parents=True)
    (snapshot / "config.json").write_text("{}")
    (home / "refs").mkdir()
    (home / "refs" / "main").write_text("abc123")
    return snapshot


def test_of_a_name_it_is_the_commit_in_the_cache(cached):
    assert revision("some/encoder") == "abc123"


def test_weights_are_the_same_on_the_hub_and_in_a_folder(folder, cached):
    assert weights_revision("some/encoder") is None
    (cached / "model.safetensors").symlink_to(folder / "model.safetensors")
    assert weights_revision("some/encoder") == weights_revision(str(folder))
    assert len(weights_revision(str(folder))) == 16


def test_other_weights_are_another_revision_of_them_and_other_files_are_not(folder):
    before = weights_revision(str(folder))
    (folder / "config.json").write_text('{"model_type": "gpt2"}')
    (folder / "pytorch_model.bin").write_bytes(b"not read beside safetensors")
    assert weights_revision(str(folder)) == before
    (folder / "model.safetensors").write_bytes(bytes(reversed(range(256))) * 8)
    assert weights_revision(str(folder)) != before


def test_weights_in_several_files_are_known_when_all_are_there(folder):
    (folder / "model.safetensors").unlink()
    assert weights_revision(str(folder)) is None
    index = {"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors", "c": "model-1.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    (folder / "model-1.safetensors").write_bytes(b"one")
    assert weights_revision(str(folder)) is None
    (folder / "model-2.safetensors").write_bytes(b"two")
    whole = weights_revision(str(folder))
    (folder / "model-2.safetensors").write_bytes(b"ten")
    assert None not in (whole, weights_revision(str(folder)))
    assert whole != weights_revision(str(folder))
    (folder / "model.safetensors.index.json").write_text("[")
    with pytest.raises(UserError, match="not a JSON index of weights"):
        weights_revision(str(folder))


@pytest.mark.parametrize("name", ["/no/such/folder", "a/b/c"])
def test_of_nothing_it_is_none(name):
    assert revision(name) is None
    assert weights_revision(name) is None
