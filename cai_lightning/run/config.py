"""An experiment's YAML file: the file it extends, the values it names, and its section for each verb.

    extends: qwen_contextual.yaml      # a whole file, found from here; what this one says goes over it
    shared:
      model: Qwen/Qwen2.5-0.5B-Instruct
    fit:
      model:
        init_args:
          learning_rate: 2.0e-4
    validate: null                     # takes the section away

Dictionaries are merged and everything else is replaced; another `class_path` drops the `init_args` of the one before.
`${shared.model}` stands for a value of the section `shared`, looked up once the files are merged.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from cai_lightning.run.errors import UserError

RUN_VERBS = ("predict", "fit", "validate")
"""The verbs that have a section in an experiment's file."""

SHARED, EXTENDS = "shared", "extends"
REFERENCE = re.compile(r"\$\{([^{}]*)\}")
MERGE = "tag:yaml.org,2002:merge"  # YAML's own key `<<`, which may stand in a mapping more than once


@dataclass(frozen=True)
class Configuration:
    """An experiment's file, merged with the one that it extends.

    Args:
        path: The file.
        content: What it says, with its references still in it.
    """

    path: Path
    content: dict[str, Any]

    @property
    def verbs(self) -> list[str]:
        """The verbs that it has a section for; none where it is a file without sections."""
        return [verb for verb in RUN_VERBS if verb in self.content]

    def section(self, verb: str) -> dict[str, Any]:
        """What it says for a verb; a file without sections, such as `--print_config` writes, is passed whole.

        Raises:
            UserError: There are sections, and none for the verb, or one that no verb has; or a reference leads nowhere.
        """
        if not self.verbs and SHARED not in self.content:
            return self.content
        if unknown := sorted(map(str, self.content.keys() - {*RUN_VERBS, SHARED})):
            names = ", ".join(RUN_VERBS)
            raise UserError(f"{self.path}: unknown section {unknown[0]!r}; a file has {names} and {SHARED}.")
        if not isinstance(self.content.get(verb), dict):
            raise UserError(f"{self.path}: no section {verb!r} in it; it has {', '.join(self.verbs) or 'none'}.")
        try:
            return {key: self._resolve(value) for key, value in self.content[verb].items()}
        except RecursionError:
            raise UserError(f"{self.path}: a value in the section {SHARED} stands for itself.") from None

    def _resolve(self, value: Any) -> Any:
        """The value with its references looked up."""
        if isinstance(value, dict):
            return {key: self._resolve(each) for key, each in value.items()}
        if isinstance(value, list):
            return [self._resolve(each) for each in value]
        if not isinstance(value, str):
            return value
        if whole := REFERENCE.fullmatch(value):
            return self._look_up(whole[1])
        return REFERENCE.sub(lambda found: str(self._look_up(found[1])), value)

    def _look_up(self, name: str) -> Any:
        group, key = _place(self.content, name)
        if group is None or not name.startswith(f"{SHARED}."):
            raise UserError(f"{self.path}: ${{{name}}} stands for nothing: the section {SHARED} has no such value.")
        return self._resolve(group[key])


def read_configuration(path: Path, shared: Mapping[str, Any] | None = None) -> Configuration:
    """Reads an experiment's file and the one that it extends.

    Args:
        path: The file.
        shared: Other values for its section `shared`, by dotted name.

    Raises:
        UserError: A file is missing or no YAML, the other one extends a file itself, or there is no such shared value.
    """
    content = _load(path)
    if EXTENDS in content:
        parent, own = _parent(path, content.pop(EXTENDS)), content
        content = merge(parent, own)
        _check_shared(path, parent.get(SHARED) or {}, own.get(SHARED) or {}, content)
    for name, value in (shared or {}).items():
        group, key = _place(content, name)
        if group is None:
            raise UserError(f"--{name}: {path} has no such value in its section {SHARED}.")
        group[key] = value
    kept = {key: value for key, value in content.items() if value is not None or key not in RUN_VERBS}
    return Configuration(path, kept)


def cut_configurations(
    args: Iterable[str], cut: Callable[[Configuration], Mapping[str, Any]]
) -> tuple[list[str], list[Configuration]]:
    """The words of a command line, with what is needed of each file in the place of its `--config FILE`, and the files.

    Words `--shared.KEY VALUE` are taken out: they go over the section `shared` of the first file.

    Args:
        args: The words.
        cut: What is needed of a file.

    Raises:
        UserError: See `read_configuration`; or a shared value is none, no YAML, or no file is there for it.
    """
    words, shared, remaining = list[str | Path](), dict[str, Any](), iter(args)
    for arg in remaining:
        option, equals, value = arg.partition("=")
        if option in ("--config", "-c"):
            words.append(Path(value if equals else next(remaining, "")))
        elif option.startswith(f"--{SHARED}."):
            shared[option.removeprefix("--")] = _parse(value if equals else next(remaining, ""), option)
        else:
            words.append(arg)
    paths = [word for word in words if isinstance(word, Path)]
    if shared and not paths:
        raise UserError(f"--{next(iter(shared))} goes over a value of a file; name one with --config.")
    files = [read_configuration(path, None if number else shared) for number, path in enumerate(paths)]
    options = (f"--config={yaml.safe_dump(dict(cut(file)), sort_keys=False)}" for file in files)
    return [word if isinstance(word, str) else next(options) for word in words], files


def cut_sections(verb: str, args: Iterable[str]) -> list[str]:
    """Replaces every `--config FILE` by its section for a verb, and puts the default of `--run` before all.

    Raises:
        UserError: A file is missing, is no YAML, or has no section for the verb.
    """
    words, files = cut_configurations(args, lambda file: file.section(verb))
    return [f"--run=runs/{files[0].path.stem}", *words] if files else words


def run_folder(name: str) -> Path:
    """The folder that `--run` names; without a name, as from an unset variable, it would be the current folder.

    Raises:
        UserError: There is no name, or one that no folder can have.
    """
    if not name.strip() or "\0" in name:
        raise UserError(f"--run: the name of a folder expected, found {name!r}.")
    return Path(name)


def merge(below: Any, above: Any) -> Any:
    """What one file says over what another does.

    Raises:
        UserError: It changes a part of what the other one refers to as a whole.
    """
    is_part = isinstance(above, dict) and "init_args" in above and "class_path" not in above
    if is_part and isinstance(below, str) and REFERENCE.fullmatch(below):
        raise UserError(
            f"{', '.join(map(str, above))}: set under what stands for {below} in the file that is extended; change it "
            "there, or give the whole class."
        )
    if not (isinstance(below, dict) and isinstance(above, dict)):
        return above
    if "class_path" in above and above["class_path"] != below.get("class_path"):
        below = {key: value for key, value in below.items() if key != "init_args"}
    return {**below, **{key: merge(below.get(key), value) for key, value in above.items()}}


def _parent(path: Path, name: Any) -> dict[str, Any]:
    """What the file says that another one extends."""
    if not isinstance(name, str) or not (path.parent / name).is_file():
        raise UserError(f"{path}: {EXTENDS} {name!r}: no such file beside it.")
    content = _load(path.parent / name)
    if EXTENDS in content:
        raise UserError(f"{path}: {EXTENDS} {name!r}, which extends {content[EXTENDS]!r} itself; name a whole file.")
    return content


def _check_shared(path: Path, parents: Mapping[str, Any], own: Mapping[str, Any], merged: Mapping[str, Any]) -> None:
    """Refuses a shared value that the extended file does not have and that nothing refers to: a misspelt one."""
    for name in own.keys() - parents.keys():
        if not re.search(rf"\$\{{{SHARED}\.{re.escape(str(name))}[.}}]", str(merged)):
            raise UserError(f"{path}: nothing refers to {SHARED}.{name}; the file it extends has {', '.join(parents)}.")


def _place(content: Any, name: str) -> tuple[dict[str, Any] | None, str]:
    """The dictionary in which a value with a dotted name stands, if there is one, and its key there."""
    *groups, key = name.split(".")
    for group in groups:
        content = content.get(group) if isinstance(content, dict) else None
    return (content, key) if isinstance(content, dict) and key in content else (None, key)


def _load(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise UserError(f"{path}: no such configuration file.")
    content = _parse(path.read_bytes(), path)
    if not isinstance(content, dict):
        raise UserError(f"{path}: expected sections for {', '.join(RUN_VERBS)}, found {str(content)[:60]!r}.")
    if not isinstance(content.get(SHARED, {}), dict | None):
        raise UserError(f"{path}: {SHARED}: values by name expected, found {str(content[SHARED])[:60]!r}.")
    return content


def _parse(text: str | bytes, where: str | Path) -> Any:
    if not text.strip():
        raise UserError(f"{where}: nothing stands there.")
    try:
        return load_yaml(text)
    except yaml.YAMLError as error:
        raise UserError(f"{where}: not YAML: {' '.join(str(error).split())}") from None


def load_yaml(text: str | bytes) -> Any:
    """What a YAML text says.

    Raises:
        yaml.YAMLError: It is no YAML, or a key stands twice in a mapping.
    """
    return yaml.load(text, _Loader)


class _Loader(yaml.SafeLoader):
    """Refuses a key that stands twice in a mapping, of which YAML's parsers keep the last."""

    def compose_mapping_node(self, anchor: Any) -> Any:
        node, found = super().compose_mapping_node(anchor), dict[tuple[str, str], yaml.Node]()
        for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode) and key.tag != MERGE):
            first = found.setdefault((key.tag, key.value), key)
            if first is not key:
                problem = f"the key {key.value!r} stands twice, first in line {first.start_mark.line + 1}"
                raise yaml.MarkedYAMLError(problem=problem, problem_mark=key.start_mark)
        return node
