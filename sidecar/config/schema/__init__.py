"""JSON Schemas (2020-12) of the files that users write, for editors; the loader has the last word.

`SCHEMAS` maps the names that `sidecar schema` takes to functions that make the schema.
"""

from collections.abc import Callable

from sidecar.config.schema.files import patterns_schema, tests_schema
from sidecar.config.schema.rules import rules_schema
from sidecar.config.schema.settings import config_schema
from sidecar.config.schema.shapes import Schema

SCHEMAS: dict[str, Callable[[], Schema]] = {
    "config": config_schema,
    "rules": rules_schema,
    "patterns": patterns_schema,
    "tests": tests_schema,
}
