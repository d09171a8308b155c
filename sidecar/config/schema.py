"""JSON Schemas (2020-12) of the files that users write, for editors; the loader has the last word.

`SCHEMAS` maps the names that `sidecar schema` takes to functions that make the schema.
"""

from collections.abc import Callable
from functools import partial

from sidecar.config.rulefiles import RuleFile
from sidecar.config.settings import settings_of
from sidecar.parse.patterns import PatternFile
from sidecar.receivers import KINDS
from sidecar.ruletest.cases import CaseFile
from sidecar.syntax.table import Schema, document

SCHEMAS: dict[str, Callable[[], Schema]] = {
    "config": partial(document, settings_of(KINDS), "Configuration of the sidecar"),
    "rules": partial(document, RuleFile, "Rules of the sidecar"),
    "patterns": partial(document, PatternFile, "Patterns of the sidecar"),
    "tests": partial(document, CaseFile, "Rule tests of the sidecar"),
}
