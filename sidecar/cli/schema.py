"""`sidecar schema`: JSON Schemas (2020-12) of the files that users write, for editors.

They know keys and shapes; the loader has the last word.
"""

import json
from collections.abc import Callable
from functools import partial

import click

from sidecar.cli.output import say
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


@click.command()
@click.argument("name", type=click.Choice(list(SCHEMAS)), default="config")
def schema(name: str) -> None:
    """Print the JSON Schema of one kind of file.

    config: sidecar.yaml, rules: *.rules.yaml, patterns: *.patterns.yaml, tests: *.test.yaml. An
    editor with YAML support takes it by a first line such as

    # yaml-language-server: $schema=docs/schema/config.schema.json
    """
    for line in json.dumps(SCHEMAS[name](), indent=2, ensure_ascii=False).split("\n"):
        say(line)
