"""What is put into a template when it is compiled, so that it pays for what it does by itself."""

from typing import Any

from jinja2 import nodes
from jinja2.visitor import NodeTransformer

# Names that no template can write.
SIZED, CHAINED, TURNS, RUN = "sized in the sandbox", "chained …", "turns …", "run …"


class Meters(NodeTransformer):
    """Has a template pay for what it does by itself, without a call, a filter or an operator."""

    def visit(self, node: Any, *_: Any, **__: Any) -> Any:
        length = _length(node) if isinstance(node, _REPEATED) else 0
        self.generic_visit(node)
        match node:
            case nodes.For():
                node.iter = _filter(node.iter, TURNS, length)
            case nodes.Compare():
                sides: list[Any] = [node, *node.ops]
                for side in sides:
                    side.expr = _sized(side.expr)
            case nodes.Concat():
                return _filter(nodes.List(node.nodes, lineno=node.lineno), CHAINED)
            case nodes.List() | nodes.Dict() | nodes.Tuple(ctx="load"):
                return _sized(node)
            case nodes.Getitem(arg=nodes.Slice()):
                return _sized(node)
            case nodes.Template() | nodes.Macro() | nodes.CallBlock() | nodes.Block():
                begun = _filter(nodes.Const(None, lineno=node.lineno), RUN, length)
                node.body.insert(0, nodes.ExprStmt(begun, lineno=node.lineno))
            case _:
                pass
        return node


# What can be run more than once.
_REPEATED = (nodes.For, nodes.Template, nodes.Macro, nodes.CallBlock, nodes.Block)


def _sized(node: nodes.Expr) -> nodes.Expr:
    """Have what a template builds or compares paid for; what is written in it is already."""
    written = node.items if isinstance(node, nodes.List | nodes.Tuple) else [node]
    if all(isinstance(one, nodes.Const) for one in written):
        return node
    return _filter(node, SIZED)


def _filter(value: nodes.Node, name: str, *args: int) -> nodes.Filter:
    given = [nodes.Const(one) for one in args]
    return nodes.Filter(value, name, given, [], None, None, lineno=value.lineno)


def _length(node: nodes.Node) -> int:
    """Return how long a part of a template is: its texts and all else that stands in it."""
    texts = sum(len(one.data) for one in node.find_all(nodes.TemplateData))
    consts = sum(len(one.value) for one in node.find_all(nodes.Const) if isinstance(one.value, str))
    return texts + consts + sum(1 for _ in node.find_all(nodes.Node))
