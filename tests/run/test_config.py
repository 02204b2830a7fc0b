"""An experiment's file: what it extends, the values it names, its sections, and what is wrong with it, in one line."""

import random

import pytest
import yaml

from cai_lightning.run.config import (
    Configuration,
    cut_configurations,
    cut_sections,
    load_yaml,
    merge,
    read_configuration,
)
from cai_lightning.run.errors import UserError

FILE = """
shared:
  model: some/model
  trainer: &trainer {accelerator: cpu, devices: 1}
  engine: {class_path: Engine, init_args: {model: "${shared.model}", size: 3}}
predict:
  model: ${shared.engine}
  trainer: *trainer
fit:
  model: ${shared.model}
  trainer:
    <<: *trainer
    max_epochs: 3
  rate: 1e-4
"""


@pytest.fixture
def write(tmp_path):
    """Writes a file and returns its path."""

    def write(name, text):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        return path

    return write


@pytest.fixture
def config(write):
    return write("mine.yaml", FILE)


def sections(arguments):
    return [yaml.safe_load(word.removeprefix("--config=")) for word in arguments if word.startswith("--config=")]


@pytest.mark.parametrize("option", ["--config", "-c"])
def test_the_verbs_section_is_cut_out(config, option):
    run, cut, *others = cut_sections("fit", [option, str(config), "--data.limit", "5"])
    assert run == "--run=runs/mine"
    assert others == ["--data.limit", "5"]
    trainer = {"accelerator": "cpu", "devices": 1, "max_epochs": 3}
    assert sections([cut]) == [{"model": "some/model", "trainer": trainer, "rate": "1e-4"}]
    assert "&" not in cut


def test_the_option_may_carry_its_value(config):
    assert cut_sections("fit", [f"--config={config}"]) == cut_sections("fit", ["--config", str(config)])


def test_several_files_in_their_order_and_the_first_names_the_run(config, write):
    other = write("more.yaml", "predict: {limit: 5}\n")
    arguments = cut_sections("predict", ["--config", str(config), "--x", "1", "--config", str(other)])
    assert arguments[0] == "--run=runs/mine"
    assert [list(section) for section in sections(arguments)] == [["model", "trainer"], ["limit"]]


def test_the_users_run_comes_last_and_counts(config):
    arguments = cut_sections("predict", ["--run", "elsewhere", "--config", str(config)])
    assert arguments[:3] == ["--run=runs/mine", "--run", "elsewhere"]


def test_without_a_file_nothing_is_added():
    assert cut_sections("predict", ["--help"]) == ["--help"]


def test_a_file_without_sections_is_whole(write):
    path = write("printed.yaml", "model: {class_path: x}\nrun: runs/mine\nsuffix: ${x}\nckpt_path: null\n")
    whole = {"model": {"class_path": "x"}, "run": "runs/mine", "suffix": "${x}", "ckpt_path": None}
    assert read_configuration(path).section("fit") == whole


def test_values_are_looked_up_in_text_lists_and_other_values(write):
    path = write(
        "a.yaml",
        "shared: {name: qwen, folder: 'runs/${shared.name}', inner: {n: 3}}\n"
        "predict: {file: '${shared.folder}/x.jsonl', several: [1, '${shared.inner.n}', '${shared.inner}']}\n",
    )
    assert read_configuration(path).section("predict") == {"file": "runs/qwen/x.jsonl", "several": [1, 3, {"n": 3}]}


def test_what_a_file_says_goes_over_what_it_extends(config, write):
    path = write(
        "folder/other.yaml",
        "extends: ../mine.yaml\nshared: {model: other/model, engine: {init_args: {size: 4}}}\nfit: null\n",
    )
    found = read_configuration(path)
    engine = {"class_path": "Engine", "init_args": {"model": "other/model", "size": 4}}
    assert found.verbs == ["predict"]
    assert found.section("predict") == {"model": engine, "trainer": {"accelerator": "cpu", "devices": 1}}
    with pytest.raises(UserError, match=r"other.yaml: no section 'fit' in it; it has predict\.$"):
        found.section("fit")
    assert cut_sections("predict", [f"--config={path}"])[0] == "--run=runs/other"


def test_it_extends_a_file_by_its_whole_path_too(config, tmp_path, write):
    path = write("elsewhere/other.yaml", f"extends: {tmp_path / 'mine.yaml'}\n")
    assert read_configuration(path).content == read_configuration(config).content


@pytest.mark.parametrize(
    ("below", "above", "merged"),
    [
        ({"a": {"b": 1, "c": 2}}, {"a": {"c": 3}, "d": 4}, {"a": {"b": 1, "c": 3}, "d": 4}),
        ({"a": [1, 2]}, {"a": [3]}, {"a": [3]}),
        ({"a": {"b": 1}}, {"a": None}, {"a": None}),
        ({"a": "${shared.a}"}, {"a": {"class_path": "A"}}, {"a": {"class_path": "A"}}),
        ({"a": "${shared.a} b"}, {"a": {"b": 1}}, {"a": {"b": 1}}),
        ({"class_path": "A", "init_args": {"x": 1}}, {"init_args": {"y": 2}}, ("A", {"x": 1, "y": 2})),
        ({"class_path": "A", "init_args": {"x": 1}}, {"class_path": "A", "init_args": {}}, ("A", {"x": 1})),
        ({"class_path": "A", "init_args": {"x": 1}}, {"class_path": "B", "init_args": {"y": 2}}, ("B", {"y": 2})),
        ({"class_path": "A", "init_args": {"x": 1}}, {"class_path": "B"}, {"class_path": "B"}),
    ],
)
def test_dictionaries_merge_and_another_class_drops_the_settings_of_the_one_before(below, above, merged):
    if isinstance(merged, tuple):
        merged = dict(zip(("class_path", "init_args"), merged, strict=True))
    assert merge(below, above) == merged


def test_a_shared_value_is_overridden_wherever_it_is_referred_to(config, write):
    other = write("more.yaml", "predict: {limit: 5}\n")
    words = ["--shared.engine.init_args.size=7", f"--config={config}", "--shared.model", "my/model", f"-c={other}"]
    cut, (first, second) = cut_configurations([*words, "--x"], lambda file: {"from": file.path.name})
    assert cut == ["--config=from: mine.yaml\n", "--config=from: more.yaml\n", "--x"]
    assert first.section("predict")["model"]["init_args"] == {"model": "my/model", "size": 7}
    assert first.section("fit")["model"] == "my/model"
    assert second == Configuration(other, {"predict": {"limit": 5}})


@pytest.mark.parametrize("name", ["modell", "model.name", "engine.init_args.sice", "nothing.model"])
def test_a_shared_value_that_is_not_there_is_named(config, name):
    with pytest.raises(UserError, match=rf"^--shared.{name}: .*mine.yaml has no such value in its section shared\.$"):
        cut_sections("fit", ["--config", str(config), f"--shared.{name}", "x"])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("predict: {}\nfitt: {}\n", "unknown section 'fitt'"),
        ("predict: {}\nvalidate: {}\n", "no section 'fit' in it; it has predict, validate"),
        ("fit: 5\n", "no section 'fit'"),
        ("fit: {a: [}\n", "not YAML"),
        ("fit: *nowhere\n", "not YAML"),
        ("- 1\n", "expected sections for predict, fit, validate"),
        ("", "nothing stands there"),
        ("fit: {a: '${shared.b}'}\n", r"\${shared.b} stands for nothing"),
        ("shared: {b: 1}\nfit: {a: '${shared.b.c}'}\n", r"\${shared.b.c} stands for nothing"),
        ("shared: {b: 1}\nfit: {a: ['x/${b}']}\n", r"\${b} stands for nothing"),
        ("shared: {b: '${shared.c}', c: ['${shared.b}']}\nfit: {a: '${shared.b}'}\n", "stands for itself"),
        ("extends: absent.yaml\n", "extends 'absent.yaml': no such file beside it"),
        ("extends: [mine.yaml]\n", r"extends \['mine.yaml'\]: no such file"),
        ("extends: null\n", "extends None: no such file"),
        ("extends: wrong.yaml\n", "extends 'wrong.yaml', which extends 'wrong.yaml' itself; name a whole file"),
        ("extends: child.yaml\n", "extends 'child.yaml', which extends 'mine.yaml' itself; name a whole file"),
    ],
)
def test_what_is_wrong_with_a_file_is_one_line(config, write, content, message):
    write("child.yaml", "extends: mine.yaml\n")
    path = write("wrong.yaml", content)
    with pytest.raises(UserError, match=message) as error:
        cut_sections("fit", ["--config", str(path)])
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_a_reference_of_another_section_does_not_matter(write):
    path = write("a.yaml", "predict: {a: '${shared.b}'}\nfit: {a: 1}\n")
    assert read_configuration(path).section("fit") == {"a": 1}


@pytest.mark.parametrize("arguments", [["--config", "absent.yaml"], ["--config"]])
def test_a_missing_file_is_named(arguments):
    with pytest.raises(UserError, match="no such configuration file"):
        cut_sections("fit", arguments)


def test_what_is_no_text_is_no_yaml(tmp_path):
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="not YAML"):
        read_configuration(tmp_path / "binary.yaml")


@pytest.mark.parametrize(
    ("child", "message"),
    [
        ("shared: {modle: b}", "child.yaml: nothing refers to shared.modle; the file it extends has model, engine"),
        ("shared: {mode: b}", "nothing refers to shared.mode"),
        ("shared: b", "child.yaml: shared: values by name expected, found 'b'"),
        ("fit: {engine: {init_args: {size: 8}}}", r"init_args: set under what stands for \$\{shared.engine\}"),
    ],
)
def test_a_child_that_changes_nothing_or_half_is_refused(write, child, message):
    shared = "shared: {model: a, engine: {class_path: E, init_args: {size: 3}}}"
    write("own.yaml", f"{shared}\nfit: {{engine: '${{shared.engine}}', model: '${{shared.model}}'}}\n")
    with pytest.raises(UserError, match=message):
        read_configuration(write("child.yaml", f"extends: own.yaml\n{child}\n"))


def test_a_plain_dictionary_takes_the_place_of_one_that_is_referred_to(write):
    write("own.yaml", "shared: {shares: {train: 0.8, test: 0.2}}\nfit: {shares: '${shared.shares}'}\n")
    child = write("child.yaml", "extends: own.yaml\nfit: {shares: {test: 0.3}}\n")
    assert read_configuration(child).section("fit") == {"shares": {"test": 0.3}}


def test_a_child_may_name_shared_values_of_its_own(write):
    write("own.yaml", "shared: {model: a}\nfit: {model: '${shared.model}'}\n")
    child = write("child.yaml", "extends: own.yaml\nshared: {size: 3}\nfit: {size: '${shared.size}'}\n")
    assert read_configuration(child).section("fit") == {"model": "a", "size": 3}


def test_a_file_whose_sections_are_taken_away_has_none(write):
    write("own.yaml", "shared: {model: a}\nfit: {model: '${shared.model}'}\n")
    child = write("child.yaml", "extends: own.yaml\nfit: null\n")
    with pytest.raises(UserError, match="no section 'fit' in it; it has none"):
        read_configuration(child).section("fit")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--shared.model=x"], "--shared.model goes over a value of a file; name one with --config"),
        (["--config", "FILE", "--shared.model"], "--shared.model: nothing stands there"),
        (["--config", "FILE", "--shared.model", "{x"], "--shared.model: not YAML"),
        (["--config", "FILE", "--shared.model={x: 1, x: 2}"], "the key 'x' stands twice"),
    ],
)
def test_a_shared_value_is_refused_in_one_line(write, words, message):
    path = write("own.yaml", "shared: {model: a}\nfit: {model: '${shared.model}'}\n")
    with pytest.raises(UserError, match=message):
        cut_sections("fit", [str(path) if word == "FILE" else word for word in words])


def nested(draw, depth=0):
    """A random tree of mappings, as a configuration is."""
    values = [draw.randint(0, 9), "text", None, [draw.random(), {"a": 1, "b": [2]}]]
    if depth < 3:
        values += [nested(draw, depth + 1), nested(draw, depth + 1)]
    return {f"key{n}": draw.choice(values) for n in range(draw.randint(1, 4))}


@pytest.mark.parametrize("seed", range(100))
def test_one_line_repeated_anywhere_is_found(seed):
    draw = random.Random(seed)
    tree = nested(draw)
    text = yaml.safe_dump(tree, sort_keys=False)
    assert load_yaml(text) == tree == yaml.safe_load(text)
    lines = text.splitlines()
    place = draw.choice([n for n, line in enumerate(lines) if line.lstrip().startswith("key")])
    indent = len(lines[place]) - len(lines[place].lstrip())
    key = lines[place].strip().partition(":")[0]
    ends = (n for n, line in enumerate([*lines, "end"]) if n > place and not line.startswith(" " * indent + " "))
    end = next(n for n in ends if not [*lines, "end"][n].startswith(" " * indent + "- "))
    lines.insert(end, f"{' ' * indent}{key}: again")
    with pytest.raises(yaml.MarkedYAMLError) as found:
        load_yaml("\n".join(lines))
    assert found.value.problem_mark.line == end
    assert found.value.problem == f"the key {key!r} stands twice, first in line {place + 1}"


@pytest.mark.parametrize(
    "text",
    [
        "a: &a {x: 1, y: 2}\nb: &b {<<: *a, x: 3}\nc: {<<: *b, x: 4}\nd: [*a, *b]\n",
        "a: &a {x: 1}\nb: &b {x: 2}\nc: {<<: [*a, *b], x: 3}\n",
        "a: &a {x: 1}\nb: &b {y: 2}\nc:\n  <<: *a\n  <<: *b\n",
        "1: a\n'1': b\n",
        "? [1, 2]\n: a\n",
    ],
)
def test_what_yaml_allows_is_read_as_ever(text):
    if text.startswith("?"):
        with pytest.raises(yaml.YAMLError):
            load_yaml(text)
    else:
        assert load_yaml(text) == yaml.safe_load(text)


def test_a_key_twice_is_told_by_file_and_line(write):
    path = write("twice.yaml", "fit: {}\npredict: {}\nfit: {}\n")
    with pytest.raises(UserError, match=r"twice.yaml: not YAML: the key 'fit' stands twice, first in line 1 .* line 3"):
        read_configuration(path)
    child = write("child.yaml", "extends: twice.yaml\n")
    with pytest.raises(UserError, match=r"twice.yaml: .* line 3"):
        read_configuration(child)
