"""What determines the rows of a run is written down, compared, and never deleted."""

import json
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
from lightning.pytorch import LightningModule

from cai_lightning.callbacks.checkpoints import TRAINED as FIT
from cai_lightning.engines import ScriptedEngine
from cai_lightning.modules import CritiqueRevision, Evaluation
from cai_lightning.run import jsonl, manifest
from cai_lightning.run.errors import UserError
from cai_lightning.run.records import Score


@dataclass(frozen=True)
class Shape:
    r: int = 4
    names: tuple[str, ...] = ("a", "b")


class Engine:
    NOT_FINGERPRINTED = frozenset({"batch_size"})

    def __init__(self, model: Path, batch_size: int = 1, shape: Shape = Shape()) -> None:
        self.model, self.batch_size, self.shape = model, batch_size, shape


class Module(LightningModule):
    def __init__(self, engine: Engine, extra: dict | None = None) -> None:
        super().__init__()
        self.engine, self.extra = engine, extra


class Forgetful(LightningModule):
    def __init__(self, rate: float) -> None:
        super().__init__()


def test_settings_follow_nested_objects_and_leave_out_what_cannot_change_a_row():
    found = manifest.settings({"model": Module(Engine(Path("m"), batch_size=9), {"k": [True, None]})})
    assert found == {
        "model.class": "test_manifest.Module",
        "model.engine.class": "test_manifest.Engine",
        "model.engine.model": "m",
        "model.engine.shape.r": 4,
        "model.engine.shape.names.0": "a",
        "model.engine.shape.names.1": "b",
        "model.extra.k.0": True,
        "model.extra.k.1": None,
    }


def test_an_argument_that_is_not_kept_is_the_programmers_error():
    with pytest.raises(TypeError, match="Forgetful has to keep its argument 'rate'"):
        manifest.settings(Forgetful(0.1))


PREDICT = CritiqueRevision.outputs
VALIDATE = Evaluation(ScriptedEngine([""]), []).outputs


def made(run, verb="predict"):
    run.mkdir(exist_ok=True)
    (run / {"predict": "revisions.jsonl", "validate": "responses.rank3.jsonl"}[verb]).write_text('{"id": "a"}\n')


def test_the_same_settings_go_on_and_others_are_named(tmp_path):
    run = tmp_path / "run"
    found = {"seed": 42, "path": Path("p")}
    manifest.check_or_write(run, PREDICT, found)
    made(run)
    manifest.check_or_write(run, PREDICT, found)
    with pytest.raises(UserError) as error:
        manifest.check_or_write(run, PREDICT, {**found, "seed": 7})
    message = str(error.value)
    assert all(text in message for text in (str(run), "seed = 42", "now it is 7", "--run", "--fresh"))
    assert "\n" not in message


@pytest.mark.parametrize("now", [{}, {"seed": 42, "more": 1}])
def test_a_setting_that_is_gone_or_new_is_named(tmp_path, now):
    manifest.check_or_write(tmp_path, PREDICT, {"seed": 42})
    made(tmp_path)
    with pytest.raises(UserError, match="None"):
        manifest.check_or_write(tmp_path, PREDICT, now)


def test_before_anything_is_made_settings_may_change(tmp_path):
    manifest.check_or_write(tmp_path, VALIDATE, {"seed": 42})
    (tmp_path / "responses.rank0.jsonl").touch()
    made(tmp_path, "predict")
    manifest.check_or_write(tmp_path, VALIDATE, {"seed": 7})
    assert json.loads((tmp_path / "validate.json").read_text())["settings"] == {"seed": 7}


def test_setting_aside_moves_everything_and_deletes_nothing(tmp_path):
    for n in (1, 2, 3):
        manifest.check_or_write(tmp_path, VALIDATE, {"n": n})
        made(tmp_path, "validate")
        made(tmp_path, "predict")
        assert manifest.set_aside(tmp_path, VALIDATE) == tmp_path / f"before-{n}"
        kept = {path.name for path in (tmp_path / f"before-{n}").iterdir()}
        assert kept == {"responses.rank3.jsonl", "validate.json"}
        assert json.loads((tmp_path / f"before-{n}" / "validate.json").read_text())["settings"] == {"n": n}
    assert (tmp_path / "revisions.jsonl").exists()
    assert manifest.set_aside(tmp_path, VALIDATE) is None


def test_a_folder_of_the_users_is_no_hindrance(tmp_path):
    for name in ("before-old", "before-", "before-2b", "before-½"):
        (tmp_path / name).mkdir()
    (tmp_path / "before-4").touch()
    manifest.check_or_write(tmp_path, VALIDATE, {"n": 1})
    made(tmp_path, "validate")
    assert manifest.set_aside(tmp_path, VALIDATE) == tmp_path / "before-5"


def test_what_another_process_writes_is_not_moved(tmp_path):
    with jsonl.JournalWriter(tmp_path / "scores.jsonl") as writer:
        writer.append(Score("a", "m", 1.0))
        with pytest.raises(UserError, match="is writing to this file"):
            manifest.set_aside(tmp_path, VALIDATE)
    assert (tmp_path / "scores.rank0.jsonl").exists()


def test_finished_is_noted_beside_the_settings(tmp_path):
    assert not manifest.is_finished(tmp_path, "fit")
    manifest.check_or_write(tmp_path, FIT, {"n": 1})
    assert not manifest.is_finished(tmp_path, "fit")
    manifest.finish(tmp_path, "fit")
    assert manifest.is_finished(tmp_path, "fit")
    assert json.loads((tmp_path / "fit.json").read_text())["settings"] == {"n": 1}


def test_a_folders_digest_stands_for_its_files(tmp_path):
    (tmp_path / "a").write_text("1")
    before = manifest.folder_digest(tmp_path)
    assert manifest.folder_digest(tmp_path) == before
    (tmp_path / "a").write_text("2")
    assert manifest.folder_digest(tmp_path) != before


def test_a_large_file_is_told_by_samples(tmp_path):
    """Of 8 GB that every process asks about, 4 MB are read; other weights differ wherever one looks."""
    path = tmp_path / "model.safetensors"
    with path.open("wb") as file:
        file.truncate(8 * 10**9)
    begun = time.monotonic()
    before = manifest.folder_digest(tmp_path)
    assert time.monotonic() - begun < 5
    with path.open("r+b") as file:
        for place in range(0, 8 * 10**9, 5 * 10**7):
            file.seek(place)
            file.write(b"x")
        file.seek(0)
        file.write(b"x" * 2**17)
    assert manifest.folder_digest(tmp_path) != before


def test_rows_of_unknown_origin_are_not_adopted(tmp_path):
    (tmp_path / "revisions.jsonl").write_text('{"id": "a"}\n')
    with pytest.raises(UserError, match=r"predict\.json"):
        manifest.check_or_write(tmp_path, PREDICT, {"model.seed": 7})


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b'{"settings": {',
        b"[]",
        b"null",
        b"{}",
        b"\xff\xfe\x00",
        pytest.param(b"[" * 200_000, id="deep"),
        b'{"settings": [1]}',
    ],
)
@pytest.mark.parametrize(
    "read",
    [
        lambda run: manifest.check_or_write(run, PREDICT, {"n": 1}),
        lambda run: manifest.require_same(run, PREDICT, {"n": 1}),
        lambda run: manifest.is_finished(run, "predict"),
        lambda run: manifest.finish(run, "predict"),
    ],
    ids=["check_or_write", "require_same", "is_finished", "finish"],
)
def test_a_damaged_note_is_named_and_fresh_begins_anew(tmp_path, content, read):
    made(tmp_path)
    (tmp_path / "predict.json").write_bytes(content)
    with pytest.raises(UserError, match=r"predict\.json.*Choose another --run, or start predict with --fresh"):
        read(tmp_path)
    assert (manifest.set_aside(tmp_path, PREDICT) / "predict.json").read_bytes() == content
    manifest.check_or_write(tmp_path, PREDICT, {"n": 1})
    read(tmp_path)


def test_verbs_of_one_run_agree_on_the_split(tmp_path):
    manifest.check_or_write(tmp_path, FIT, {"data.shares.test": 0.15, "model.learning_rate": 1})
    manifest.require_same(tmp_path, FIT, {"data.shares.test": 0.9})  # nothing is trained yet
    (tmp_path / "adapter").mkdir()
    (tmp_path / "adapter" / "adapter_config.json").write_text("{}")
    manifest.require_same(tmp_path, FIT, {"data.shares.test": 0.15})
    with pytest.raises(UserError, match=r"data\.shares\.test"):
        manifest.require_same(tmp_path, FIT, {"data.shares.test": 0.9})
