"""What an editor finds in a YAML file by our schemas."""

from typing import Any

from jsonschema.validators import Draft202012Validator

from sidecar.syntax.faults import Faults
from sidecar.syntax.tree import ListNode, Node, Scalar, ScalarKind, compose


def validator(schema: dict[str, Any]) -> Draft202012Validator:
    """Return what validates by the schema; raises SchemaError if it is none itself."""
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)


def problems(schema: Draft202012Validator, value: Any) -> list[str]:
    """Return what the schema finds wrong with a value."""
    found = schema.iter_errors(value)
    return [f"{one.json_path}: {one.message}" for one in found]


def yaml_value(text: str) -> Any:
    """Return what an editor reads from a YAML text; raises ValueError where it is none."""
    faults = Faults()
    root = compose(text, "file", faults)
    if root is None or any("alias" in f.message or "twice" in f.message for f in faults.errors):
        raise ValueError("not YAML as editors know it")
    return _value(root)


def _value(node: Node) -> Any:
    if isinstance(node, ListNode):
        return [_value(item) for item in node.items]
    if not isinstance(node, Scalar):
        return {name: _value(value) for name, value in node.values.items()}
    if node.kind is ScalarKind.NUMBER:
        number = float(node.text.replace("_", "")) if ":" not in node.text else node.text
        return int(number) if isinstance(number, float) and number.is_integer() else number
    known = {
        ScalarKind.TEXT: node.text,
        ScalarKind.FLAG: node.text == "true",
        ScalarKind.NULL: None,
    }
    return known[node.kind]
