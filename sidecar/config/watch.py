"""Which files a configuration is made of, and one checksum over them all: how a change is seen.

It reads `sidecar.yaml` leniently: a file that is wrong, or names what is not there yet, must be
watched all the more. Contents count, not times or inodes, so that a Kubernetes ConfigMap, whose
files change by one swap of the link `..data`, is seen like any other.
"""

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from sidecar.config.environment import expand
from sidecar.config.files import absolute, matching

_GLOBS = ("rule_files", "pattern_files", "template_files")
_NAMES_A_FILE = "_file"


class WatchedFiles:
    """The configuration at `path` with all files it names: rules, patterns, templates, secrets.

    `environ` fills the variables in their names.
    """

    def __init__(self, path: str, environ: Mapping[str, str]) -> None:
        self._path = path
        self._environ = environ
        self._text: bytes | None = None
        self._globs: list[str] = []
        self._named: list[str] = []

    def checksum(self) -> bytes:
        """Return a digest of the names and contents of all files there are at this moment.

        A file that is missing or cannot be read counts as such. Raises nothing.
        """
        text = _content(self._path)
        if text != self._text:
            self._text = text
            self._read(text or b"")
        digest = hashlib.blake2b(text or b"", digest_size=16)
        for path in self._files():
            content = _content(path)
            name = path.encode("utf-8", "surrogateescape")
            digest.update(b"\0%d:%s\0" % (len(name), name))
            digest.update(b"-" if content is None else b"%d:" % len(content) + content)
        return digest.digest()

    def directories(self) -> frozenset[str]:
        """Return the directories in which a change may happen, as of the last checksum."""
        files = (self._path, *self._files())
        return frozenset(str(Path(path).absolute().parent) for path in files)

    def _files(self) -> list[str]:
        found = {path for pattern in self._globs for path in _matching(self._path, pattern)}
        return sorted(found.union(self._named))

    def _read(self, text: bytes) -> None:
        """Take the file names out of a new text; of one that is no YAML, the old ones hold."""
        try:
            tree = yaml.safe_load(text)
        except (yaml.YAMLError, ValueError, RecursionError):
            return
        if not isinstance(tree, dict):
            return
        lists = [tree[key] for key in _GLOBS if isinstance(tree.get(key), list)]
        self._globs = [name for values in lists for v in values for name in self._expanded(v)]
        self._named = [
            absolute(self._path, name)
            for value in _values_of_files(tree, set())
            for name in self._expanded(value)
        ]

    def _expanded(self, value: Any) -> Iterator[str]:
        if not isinstance(value, str):
            return
        try:
            name = expand(value, self._environ)
        except ValueError:
            return
        if name and "\0" not in name:
            yield name


def _values_of_files(node: Any, seen: set[int]) -> Iterator[Any]:
    """Yield the value of each key that ends in `_file`; aliases are followed once."""
    if not isinstance(node, dict | list) or id(node) in seen:
        return
    seen.add(id(node))
    for key, value in node.items() if isinstance(node, dict) else enumerate(node):
        if isinstance(key, str) and key.endswith(_NAMES_A_FILE):
            yield value
        yield from _values_of_files(value, seen)


def _matching(path: str, pattern: str) -> list[str]:
    try:
        return matching(path, pattern)
    except OSError:
        return []


def _content(path: str) -> bytes | None:
    try:
        return Path(path).read_bytes()
    except (OSError, ValueError):
        return None
