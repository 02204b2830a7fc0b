"""A verb's section is cut out of an experiment's file; what is wrong with the file is said in one line."""

from itertools import pairwise

import pytest
import yaml

from cai_lightning.run.config import cut_sections, read_section
from cai_lightning.run.errors import UserError

FILE = """
shared:
  model: &model some/model
  trainer: &trainer {accelerator: cpu, devices: 1}
predict:
  model: *model
  trainer: *trainer
fit:
  model: *model
  trainer:
    <<: *trainer
    max_epochs: 3
  rate: 1e-4
"""


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(FILE)
    return path


def sections(arguments):
    return [yaml.safe_load(value) for name, value in pairwise(arguments) if name == "--config"]


@pytest.mark.parametrize("option", ["--config", "-c"])
def test_the_verbs_section_is_cut_out(config, option):
    arguments = cut_sections("predict", [option, str(config), "--data.limit", "5"])
    assert arguments[:3] == ["--run", "runs/mine", "--config"]
    assert arguments[-2:] == ["--data.limit", "5"]
    assert sections(arguments) == [{"model": "some/model", "trainer": {"accelerator": "cpu", "devices": 1}}]


def test_the_option_may_carry_its_value(config):
    assert cut_sections("fit", [f"--config={config}"]) == cut_sections("fit", ["--config", str(config)])


def test_anchors_and_merges_are_written_out(config):
    (section,) = sections(cut_sections("fit", ["--config", str(config)]))
    assert section["trainer"] == {"accelerator": "cpu", "devices": 1, "max_epochs": 3}
    assert "&" not in cut_sections("fit", ["--config", str(config)])[-1]


def test_several_files_in_their_order_and_the_first_names_the_run(config, tmp_path):
    other = tmp_path / "more.yaml"
    other.write_text("predict: {limit: 5}\n")
    arguments = cut_sections("predict", ["--config", str(config), "--x", "1", "--config", str(other)])
    assert arguments[:2] == ["--run", "runs/mine"]
    assert [list(section) for section in sections(arguments)] == [["model", "trainer"], ["limit"]]


def test_the_users_run_comes_last_and_counts(config):
    arguments = cut_sections("predict", ["--run", "elsewhere", "--config", str(config)])
    assert [n for n, arg in enumerate(arguments) if arg == "--run"] == [0, 2]
    assert arguments[3] == "elsewhere"


def test_without_a_file_nothing_is_added():
    assert cut_sections("predict", ["--help"]) == ["--help"]


def test_a_file_without_sections_is_whole(tmp_path):
    (tmp_path / "printed.yaml").write_text("model: {class_path: x}\nrun: runs/mine\n")
    assert read_section(tmp_path / "printed.yaml", "fit") == {"model": {"class_path": "x"}, "run": "runs/mine"}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("predict: {}\nfitt: {}\n", "unknown section 'fitt'"),
        ("predict: {}\nvalidate: {}\n", "no section 'fit' in it; it has predict, validate"),
        ("fit: 5\n", "no section 'fit'"),
        ("fit: {a: [}\n", "not YAML"),
        ("fit: *nowhere\n", "not YAML"),
        ("- 1\n", "expected sections for predict, fit, validate"),
        ("", "expected sections"),
    ],
)
def test_what_is_wrong_with_a_file_is_one_line(tmp_path, content, message):
    path = tmp_path / "wrong.yaml"
    path.write_text(content)
    with pytest.raises(UserError, match=message) as error:
        cut_sections("fit", ["--config", str(path)])
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("arguments", [["--config", "absent.yaml"], ["--config"]])
def test_a_missing_file_is_named(arguments):
    with pytest.raises(UserError, match="no such configuration file"):
        cut_sections("fit", arguments)


def test_what_is_no_text_is_no_yaml(tmp_path):
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="not YAML"):
        read_section(tmp_path / "binary.yaml", "fit")


NINE_TIMES = [f"  {name}: &{name} [{', '.join([f'*{held}'] * 9)}]" for held, name in pairwise("abcdefghi")]
BOMB = "\n".join(["shared:", "  a: &a [x]", *NINE_TIMES, "predict: {data: *i}"])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[" * 3000, "not YAML: maximum recursion depth"),
        (f"predict: {{model: {'[' * 300 + ']' * 300}}}", "or 100 levels of them"),
        ("predict: &a\n  model: *a\n", "more than 100,000 values, or 100 levels of them, once its aliases"),
        (BOMB, "more than 100,000 values"),
    ],
    ids=["too deep to read", "deep", "endless", "bomb"],
)
def test_a_file_that_would_take_for_ever_is_refused(config, content, message):
    config.write_text(content)
    with pytest.raises(UserError, match=message):
        cut_sections("predict", ["--config", str(config)])
