"""Redaction: what leaves the process or is stored goes through here first.

`names` knows secrets by the name that holds them, `shapes` by their looks anywhere in a text;
`redactor` applies both to values of any depth, and to the line that an event was read from.
"""

from sidecar.redact.names import REDACTED, is_secret_name, plain_name
from sidecar.redact.redactor import (
    MAX_DEPTH,
    MAX_FIELDS,
    MAX_SAMPLE,
    OWNER_FIELD,
    TRUNCATED,
    Labels,
    LabelsOf,
    Redactor,
    RedactPolicy,
    without_secrets,
)
from sidecar.redact.shapes import is_secret_text

__all__ = [
    "MAX_DEPTH",
    "MAX_FIELDS",
    "MAX_SAMPLE",
    "OWNER_FIELD",
    "REDACTED",
    "TRUNCATED",
    "Labels",
    "LabelsOf",
    "RedactPolicy",
    "Redactor",
    "is_secret_name",
    "is_secret_text",
    "plain_name",
    "without_secrets",
]
