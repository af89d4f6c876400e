"""A YAML text as plain data with the line of every key.

Only what JSON can say is read: mappings with text keys, lists, strings, numbers, booleans and null.
"""

from typing import Any, NamedTuple

import yaml

from mpvm.abi.errors import ConfigError
from mpvm.config.keys import Key, dotted

MAX_NODES = 10_000

# A date is a text here: no key takes one.
_SCALARS = frozenset(f"tag:yaml.org,2002:{name}" for name in ("null", "bool", "int", "float", "str"))

_Loader: type[Any] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class Document(NamedTuple):
    """The text's data, and for each key path in it the line (from 1) that it stands on."""

    data: Any
    lines: dict[Key, int]


def parse(text: str, name: str) -> Document:
    """The document in `text`; `ConfigError` that names the file `name` and the line."""
    loader = _Loader(text)
    try:
        root = loader.get_single_node()
        reader = _Reader(loader, name)
        data = {} if root is None else reader.read(root, ())
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f":{mark.line + 1}" if mark else ""
        raise ConfigError(f"{name}{line}: not YAML: {error.problem or error.context}") from error
    except yaml.reader.ReaderError as error:
        raise ConfigError(f"{name}: not YAML: {error.reason} at offset {error.position}") from error
    finally:
        loader.dispose()
    return Document(data, reader.lines)


class _Reader:
    def __init__(self, loader: Any, name: str) -> None:
        self._loader = loader
        self._name = name
        self._nodes = 0
        self.lines: dict[Key, int] = {}

    def read(self, node: yaml.Node, key: Key) -> Any:
        self._nodes += 1
        # Aliases share nodes: a short text can mean an endless document.
        if self._nodes > MAX_NODES or len(key) > 16:
            raise self._error(node, "too large or too deep, a configuration has a few dozen keys")
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, key)
        if isinstance(node, yaml.SequenceNode):
            items = []
            for position, item in enumerate(node.value):
                self.lines[*key, position] = item.start_mark.line + 1
                items.append(self.read(item, (*key, position)))
            return items
        return self._scalar(node)

    def _mapping(self, node: yaml.MappingNode, key: Key) -> dict[str, Any]:
        data: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                raise self._error(key_node, "a key is a collection, a word is right")
            word = key_node.value
            path = (*key, word)
            if word in data:
                first = self.lines[path]
                raise self._error(
                    key_node, f"{dotted(path)}: given twice, first on line {first}; once is right"
                )
            self.lines[path] = key_node.start_mark.line + 1
            data[word] = self.read(value_node, path)
        return data

    def _scalar(self, node: yaml.Node) -> Any:
        if node.tag not in _SCALARS:
            return node.value
        try:
            return self._loader.construct_object(node)
        except ValueError as error:
            raise self._error(node, f"{node.value}: {error}") from error

    def _error(self, node: yaml.Node, problem: str) -> ConfigError:
        return ConfigError(f"{self._name}:{node.start_mark.line + 1}: {problem}")
