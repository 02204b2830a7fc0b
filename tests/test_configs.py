"""Every shipped configuration is read by the real command line, and loads nothing by being read."""

import json
from pathlib import Path

import pytest
import yaml

from cai_lightning.cli.main import main
from cai_lightning.principles.wording import NO_META_COMMENTARY
from cai_lightning.run import manifest
from cai_lightning.run.config import RUN_VERBS, read_configuration

FOLDER = Path(__file__).parent.parent / "configs"
PROMISED = {
    **{f"{model}_{way}": RUN_VERBS for model in ("qwen", "mistral", "sandbox") for way in ("random", "contextual")},
    "laptop_contextual": RUN_VERBS,
    "sandbox_rounds": RUN_VERBS,
    **{f"{model}_feedback_dpo": RUN_VERBS for model in ("qwen", "mistral", "smollm2")},
    **{f"{model}_preference_model": ("fit", "validate") for model in ("qwen", "smollm2", "sandbox")},
    "sandbox_dpo": ("fit", "validate"),
    **{f"{model}_base": ("validate",) for model in ("qwen", "mistral", "sandbox")},
    "sandbox_feedback": ("predict",),
    "score_responses": ("validate",),
    **{f"{model}_grpo": ("fit", "validate") for model in ("qwen", "smollm2", "sandbox")},
    **{f"{model}_control": ("fit", "validate") for model in ("qwen", "sandbox")},
    **{f"sandbox_suffix_{suffix}": RUN_VERBS for suffix in ("none", "no_meta")},
}


def verbs(path):
    return read_configuration(path).verbs


CASES = [(path, verb) for path in sorted(FOLDER.glob("*.yaml")) for verb in verbs(path)]


@pytest.fixture(autouse=True)
def closed(monkeypatch, tmp_path):
    """No network, no model that could be loaded, and a folder where nothing may appear."""

    def refuse(*arguments, **settings):
        raise AssertionError("a model is opened")

    monkeypatch.setattr("socket.socket.connect", refuse)
    monkeypatch.setattr("transformers.AutoTokenizer.from_pretrained", refuse)
    monkeypatch.setattr("transformers.AutoModelForCausalLM.from_pretrained", refuse)
    monkeypatch.chdir(tmp_path)
    yield
    assert list(tmp_path.glob("runs")) == []


SETTINGS = Path(__file__).parent / "shipped_settings.json"


def test_a_file_that_others_extend_changes_no_experiment_by_accident():
    """A change that is meant stands in CHANGELOG.md: runs made before it no longer go on under the same command."""
    digests = {f"{p.stem} {verb}": manifest.digest(read_configuration(p).section(verb)) for p, verb in CASES}
    assert digests == json.loads(SETTINGS.read_text())


def printed(capsys, verb, *arguments):
    with pytest.raises(SystemExit) as exit:
        main([verb, *arguments, "--print_config"])
    out, err = capsys.readouterr()
    assert exit.value.code == 0, err
    return out


def test_the_promised_experiments_are_there():
    found = {path.stem: tuple(verbs(path)) for path in FOLDER.glob("*.yaml")}
    assert {name: found.get(name) for name in PROMISED} == PROMISED


def test_the_original_experiment_learns_from_english_letters_alone():
    every = {path.stem: read_configuration(path).section("fit") for path, verb in CASES if verb == "fit"}
    fits = {name: fit for name, fit in every.items() if fit["data"]["class_path"].endswith(".RevisionData")}
    plain = {name for name, fit in fits.items() if fit["data"]["init_args"].get("ascii") == "all"}
    learned = {name for name, fit in fits.items() if fit["data"]["class_path"].endswith("RevisionData")}
    assert plain == {name for name in learned if name.startswith(("qwen_", "mistral_"))}


@pytest.mark.parametrize(("path", "verb"), CASES, ids=[f"{path.stem}-{verb}" for path, verb in CASES])
def test_it_parses(path, verb, capsys):
    config = yaml.safe_load(printed(capsys, verb, "--config", str(path)))
    section = read_configuration(path).section(verb)
    assert config["run"] == f"runs/{path.stem}"
    assert config["model"]["class_path"] == section["model"]["class_path"]
    assert section["trainer"].items() <= {**config["trainer"], "callbacks": section["trainer"].get("callbacks")}.items()


def test_the_two_suffixes_differ_in_nothing_else():
    files = (read_configuration(FOLDER / f"sandbox_suffix_{name}.yaml") for name in ("none", "no_meta"))
    none, no_meta = ({verb: file.section(verb) for verb in RUN_VERBS} for file in files)
    assert none["predict"]["model"]["init_args"].pop("suffix") == ""
    assert no_meta["predict"]["model"]["init_args"].pop("suffix") == NO_META_COMMENTARY
    assert none == no_meta


@pytest.mark.parametrize("verb", RUN_VERBS)
def test_what_is_printed_is_read_back(verb, capsys, tmp_path):
    path = str(FOLDER / "sandbox_contextual.yaml")
    first = printed(capsys, verb, "--config", path, "--run", "elsewhere", "--data.limit", "7")
    (tmp_path / "printed.yaml").write_text(first)
    assert printed(capsys, verb, "--config", str(tmp_path / "printed.yaml")) == first
    assert yaml.safe_load(first)["run"] == "elsewhere"
    assert yaml.safe_load(first)["data"]["init_args"]["limit"] == 7


@pytest.mark.parametrize("verb", RUN_VERBS)
@pytest.mark.parametrize(
    "override",
    [("--data.prompts", "p"), ("--data.limit", "3"), ("--run", "r"), ("--fresh",)],
    ids=lambda override: override[0],
)
def test_the_promised_overrides_are_on_every_verb(verb, override, capsys):
    printed(capsys, verb, "--config", str(FOLDER / "qwen_random.yaml"), *override)


def test_the_promised_overrides_of_predict(capsys):
    overrides = ("--model.constitution", "mine.json", "--model.selector.init_args.encoder", "mine")
    out = printed(capsys, "predict", "--config", str(FOLDER / "qwen_contextual.yaml"), *overrides)
    model = yaml.safe_load(out)["model"]["init_args"]
    assert (model["constitution"], model["selector"]["init_args"]["encoder"]) == ("mine.json", "mine")


def test_a_later_file_overrides_an_earlier_one(tmp_path, capsys):
    (tmp_path / "more.yaml").write_text("fit:\n  model:\n    init_args:\n      learning_rate: 3e-5\n")
    out = printed(capsys, "fit", "--config", str(FOLDER / "qwen_random.yaml"), "--config", str(tmp_path / "more.yaml"))
    model = yaml.safe_load(out)["model"]
    assert model["init_args"]["learning_rate"] == 3e-5
    assert model["init_args"]["model"] == "Qwen/Qwen2.5-3B-Instruct"


@pytest.mark.parametrize(
    ("verb", "override", "key"),
    [
        ("predict", ("--model.sufix", "x"), "sufix"),
        ("fit", ("--model.lora.rank", "8"), "rank"),
        ("validate", ("--trainer.device", "1"), "trainer.device"),
        ("fit", ("--data.limits", "1"), "limits"),
    ],
)
def test_an_unknown_option_is_named(verb, override, key, capsys):
    assert_refused(capsys, key, verb, "--config", str(FOLDER / "qwen_random.yaml"), *override)


@pytest.mark.parametrize("place", ["", "model", "data", "trainer"])
def test_an_unknown_key_is_named(place, tmp_path, capsys):
    content = {verb: read_configuration(FOLDER / "sandbox_random.yaml").section(verb) for verb in RUN_VERBS}
    section = content["fit"][place] if place else content["fit"]
    section.get("init_args", section)["sugar"] = 1
    (tmp_path / "typo.yaml").write_text(yaml.safe_dump(content))
    assert_refused(capsys, "sugar", "fit", "--config", str(tmp_path / "typo.yaml"))
    printed(capsys, "predict", "--config", str(tmp_path / "typo.yaml"))


def assert_refused(capsys, key, *arguments):
    with pytest.raises(SystemExit) as exit:
        main(arguments)
    message = capsys.readouterr().err
    assert exit.value.code == 2, message
    assert key in message.partition("error:")[2]
