"""`sidecar schema`: JSON Schemas of the files that users write, for editors."""

import json

import click

from sidecar.config.schema import SCHEMAS


@click.command()
@click.argument("name", type=click.Choice(list(SCHEMAS)), default="config")
def schema(name: str) -> None:
    """Print the JSON Schema of one kind of file.

    config: sidecar.yaml, rules: *.rules.yaml, patterns: *.patterns.yaml, tests: *.test.yaml. An
    editor with YAML support takes it by a first line such as

    # yaml-language-server: $schema=docs/schema/config.schema.json
    """
    click.echo(schema_text(name), nl=False)


def schema_text(name: str) -> str:
    """Return the schema as it is shipped in docs/schema."""
    return json.dumps(SCHEMAS[name](), indent=2, ensure_ascii=False) + "\n"
