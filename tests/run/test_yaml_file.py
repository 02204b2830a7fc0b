"""A key that stands twice is an error that names its line, whoever reads the YAML; what is merged in is none."""

import random

import pytest
import yaml
from jsonargparse import ArgumentParser

from cai_lightning.commands.usage import refuse_repeated_settings
from cai_lightning.run.config import RepeatedKey, load_yaml


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
    with pytest.raises(RepeatedKey) as found:
        load_yaml("\n".join(lines))
    assert found.value.line == end + 1
    assert found.value.problem == f"the key {key!r} stands twice, first in line {place + 1}"


@pytest.mark.parametrize(
    "text",
    [
        "a: &a {x: 1, y: 2}\nb: &b {<<: *a, x: 3}\nc: {<<: *b, x: 4}\nd: [*a, *b]\n",
        "a: &a {x: 1}\nb: &b {x: 2}\nc: {<<: [*a, *b], x: 3}\n",
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


def test_an_experiment_with_a_key_twice_is_told_by_file_and_line(experiment, capsys):
    text = experiment.config.read_text()
    place = next(n for n, line in enumerate(text.splitlines(), 1) if line.startswith("validate:"))
    experiment.config.write_text(f"{text}fit: {{}}\n")
    last = len(text.splitlines()) + 1
    for verb in ("predict", "fit", "validate"):
        assert experiment(verb) == 1
        assert f"tiny.yaml, line {last}: the key 'fit' stands twice, first in line" in capsys.readouterr().err
    assert place
    assert not experiment.run.exists()


def test_a_value_of_the_command_line_with_a_key_twice_is_refused(experiment, capsys):
    refuse_repeated_settings()
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--of", type=dict[str, int])
    parser.add_argument("--text", type=str)
    assert parser.parse_args(["--of={a: 1, b: 2}"]).of == {"a": 1, "b": 2}
    assert parser.parse_args(["--text={a: 1, a: 2}"]).text == "{a: 1, a: 2}"
    with pytest.raises(Exception, match="of"):
        parser.parse_args(["--of={a: 1, a: 2}"])
    experiment.write_revisions()
    assert experiment("fit", "--model.lora", "{r: 4, alpha: 8, r: 2}") == 2
    assert "lora" in capsys.readouterr().err
