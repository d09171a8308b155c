"""Patterns: plain text lines that state a fact become events (`*.patterns.yaml`)."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Pattern:
    """An RE2 `regex` searched in each line; its named groups and `fields` make the event's fields.

    `fields` are fixed; a named group of the same name wins. The result needs `event_type` and
    `status`, from either side.
    """

    name: str
    regex: str
    fields: Mapping[str, str] = field(default_factory=dict)
