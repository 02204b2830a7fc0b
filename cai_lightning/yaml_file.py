"""YAML in which a key may not stand twice: its parsers take the last one and lose the others without a word.

content = load_yaml(path.read_text(encoding="utf-8"))
refuse_repeated_keys(loader)
"""

from typing import Any

import yaml


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
