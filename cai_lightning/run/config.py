"""An experiment's YAML file: keys that stand twice are refused, and the section of one verb is cut out of it.

YAML in which a key may not stand twice: its parsers take the last one and lose the others without a word.

content = load_yaml(path.read_text(encoding="utf-8"))
refuse_repeated_keys(loader)

Cuts the section of one verb out of an experiment's YAML file, for LightningCLI to read as a configuration.
"""

from pathlib import Path
from typing import Any

import yaml

from cai_lightning.run.errors import UserError


class RepeatedKey(yaml.MarkedYAMLError):
    """A key stands twice in a mapping; `problem` says which, `line` where.

    Args:
        key: The second of the two.
        first: Where the first stands.
    """

    def __init__(self, key: yaml.ScalarNode, first: yaml.ScalarNode) -> None:
        self.line = key.start_mark.line + 1
        problem = f"the key {key.value!r} stands twice, first in line {first.start_mark.line + 1}"
        super().__init__(problem=problem, problem_mark=key.start_mark)


def refuse_repeated_keys(loader: Any) -> None:
    """Makes one of PyYAML's classes of loaders raise `RepeatedKey`.

    Its `flatten_mapping` sees every mapping before it is constructed, and the first time before anything is merged into
    it, when what a `<<` brings in beside a key is still apart.
    """
    flatten = loader.flatten_mapping

    def checked(self: Any, node: yaml.MappingNode) -> None:
        if not hasattr(node, "cai_checked"):
            node.cai_checked = True  # type: ignore[attr-defined]
            _check(node)
        flatten(self, node)

    loader.flatten_mapping = checked


def _check(node: yaml.MappingNode) -> None:
    found: dict[tuple[str, str], yaml.ScalarNode] = {}
    for key, _ in node.value:
        if not isinstance(key, yaml.ScalarNode) or key.tag == "tag:yaml.org,2002:merge":
            continue
        if (first := found.setdefault((key.tag, key.value), key)) is not key:
            raise RepeatedKey(key, first)


class _Loader(yaml.SafeLoader):
    pass


refuse_repeated_keys(_Loader)


def load_yaml(text: str) -> Any:
    """What a YAML text says.

    Raises:
        RepeatedKey: A key stands twice in a mapping.
        yaml.YAMLError: It is no YAML.
    """
    return yaml.load(text, _Loader)


RUN_VERBS = ("predict", "fit", "validate")
MOST_VALUES, MOST_LEVELS = 100_000, 100
"""Values of a file with its aliases written out, and how deep they may lie in each other; a bomb has more."""

SHARED = "shared"
"""A section that no verb reads: the place of values that the others refer to as YAML anchors."""


def cut_sections(verb: str, args: list[str]) -> list[str]:
    """Replaces every `--config FILE` by its verb's section, and puts the default of `--run` before all.

    Raises:
        UserError: A file is missing, is no YAML, or has no section for the verb.
    """
    result: list[str] = []
    first: Path | None = None
    remaining = iter(args)
    for arg in remaining:
        option, equals, value = arg.partition("=")
        if option not in ("--config", "-c"):
            result.append(arg)
            continue
        path = Path(value if equals else next(remaining, ""))
        first = first or path
        result += ["--config", yaml.dump(read_section(path, verb), Dumper=_PlainDumper, sort_keys=False)]
    return ["--run", f"runs/{first.stem}", *result] if first else result


def read_section(path: Path, verb: str) -> dict[str, Any]:
    """The section of a verb; a file without sections, such as `--print_config` writes, is passed whole.

    Raises:
        UserError: See `cut_sections`.
    """
    content = _load(path)
    if not any(name in content for name in RUN_VERBS):
        return content
    unknown = sorted(content.keys() - {*RUN_VERBS, SHARED})
    if unknown:
        raise UserError(f"{path}: unknown section {unknown[0]!r}; a file has {', '.join(RUN_VERBS)} and {SHARED}.")
    if not isinstance(content.get(verb), dict):
        found = ", ".join(name for name in RUN_VERBS if name in content)
        raise UserError(f"{path}: no section {verb!r} in it; it has {found}.")
    return dict(content[verb])


def verbs_in(path: Path) -> list[str]:
    """The verbs that a file has a section for; none where it is a file without sections.

    Raises:
        UserError: The file is missing or no YAML.
    """
    content = _load(path)
    return [verb for verb in RUN_VERBS if verb in content]


def _load(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise UserError(f"{path}: no such configuration file.")
    try:
        content = load_yaml(path.read_text(encoding="utf-8"))
    except RepeatedKey as error:
        raise UserError(f"{path}, line {error.line}: {error.problem}; keep one of them.") from None
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise UserError(f"{path}: not YAML: {' '.join(str(error).split())}") from None
    _check_size(path, content)
    if not isinstance(content, dict):
        raise UserError(f"{path}: expected sections for {', '.join(RUN_VERBS)}, found {str(content)[:60]!r}.")
    return content


def _check_size(path: Path, content: Any) -> None:
    values, found = [(content, 1)], 0
    while values:
        (value, level), found = values.pop(), found + 1
        held = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
        values += [(each, level + 1) for each in held]
        if found > MOST_VALUES or level > MOST_LEVELS:
            raise UserError(
                f"{path}: more than {MOST_VALUES:,} values, or {MOST_LEVELS} levels of them, once its aliases are "
                "written out."
            )


class _PlainDumper(yaml.SafeDumper):
    """Writes shared values out in full, without anchors."""

    def ignore_aliases(self, data: Any) -> bool:
        return True
