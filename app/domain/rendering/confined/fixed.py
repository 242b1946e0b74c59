"""Write into a template what its `context` says to everybody, so that it is worked out once and not for each message.

Texts and numbers of the context become constants, conditions on them are decided, and loops over its lists are written
out. What is left to do for a constant (its format, its escaping) Jinja's compiler does, as for the constants of any
template. What the context lacks stays as it was: each message notes that by itself.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from jinja2 import Environment, nodes
from jinja2.visitor import NodeTransformer

MAX_NODES = 4_000
"""Nodes that loops may be written out to: one that would come to more stays a loop."""

CONTEXT, _LOOP = "context", "loop"
_SIMPLE = (nodes.Output, nodes.If, nodes.For, nodes.ExprStmt, nodes.Expr, nodes.Helper)
"""What a loop that is written out may hold: nothing that has names of its own, or leaves the loop."""
_DECIDABLE = (nodes.Const, nodes.Not, nodes.And, nodes.Or, nodes.Compare, nodes.Operand)
_UNKNOWN = object()


@dataclass(frozen=True, slots=True)
class Counters:
    """Names of the filters that count the turns of loops: of one as it turns, and so many at once."""

    each: str
    at_once: str


@dataclass(frozen=True, slots=True)
class _Turn:
    """A turn of a loop that is written out."""

    index0: int
    length: int

    def read(self, name: str) -> object:
        """Return what `loop` says."""
        return {
            "index0": self.index0,
            "index": self.index0 + 1,
            "revindex0": self.length - self.index0 - 1,
            "revindex": self.length - self.index0,
            "first": self.index0 == 0,
            "last": self.index0 == self.length - 1,
            "length": self.length,
        }.get(name, _UNKNOWN)


def write_in(
    environment: Environment, tree: nodes.Template, context: Mapping[str, object], counters: Counters
) -> None:
    """Change the tree of a template to what it is for this context."""
    if any(name == CONTEXT for name in _names_bound(tree)):
        return
    _Writer(environment, context, counters).visit(tree)
    _complete(tree, 1)
    tree.set_environment(environment)


class _Writer(NodeTransformer):
    """Of one template. Its methods are named by the nodes that they replace."""

    def __init__(self, environment: Environment, context: Mapping[str, object], counters: Counters) -> None:
        self._evaluation = nodes.EvalContext(environment)
        self._counters = counters
        self._values: dict[str, object] = {CONTEXT: context}
        self._paths: dict[str, nodes.Expr] = {}
        """By variable of a loop that is being written out: how its value is read from the context."""
        self._turns: list[_Turn | None] = [None]
        """Of the loops around, the innermost last; None for one that stays a loop."""
        self._left = MAX_NODES

    def visit_Name(self, node: nodes.Name) -> nodes.Node:  # noqa: N802
        """Replace the variable of a loop."""
        if node.name not in self._paths:
            return node
        return self._constant(node) or _copy(self._paths[node.name])

    def visit_Getattr(self, node: nodes.Getattr) -> nodes.Node:  # noqa: N802
        """Replace what is read of the context or of `loop`."""
        return self._constant(node) or self.generic_visit(node)

    visit_Getitem = visit_Getattr  # noqa: N815

    def visit_Filter(self, node: nodes.Filter) -> nodes.Node:  # noqa: N802
        """Replace `loop.cycle()`."""
        turn = self._turns[-1]
        if turn is not None and _is_loop(node.node):
            choices = node.args[1:]
            return choices[turn.index0 % len(choices)]
        return self.generic_visit(node)

    def visit_If(self, node: nodes.If) -> nodes.Node | list[nodes.Node]:  # noqa: N802
        """Leave out what the context rules out."""
        kept: list[nodes.If] = []
        otherwise = node.else_
        for each in (node, *node.elif_):
            test = self.visit(each.test)
            decided = self._decide(test)
            if decided is None:
                kept.append(nodes.If(test, self._visit_all(each.body), [], [], lineno=each.lineno))
            elif decided:
                otherwise = each.body
                break
        otherwise = self._visit_all(otherwise)
        if not kept:
            return otherwise
        first, *first.elif_ = kept
        first.else_ = otherwise
        return first

    def visit_For(self, node: nodes.For) -> nodes.Node | list[nodes.Node]:  # noqa: N802
        """Write out a loop over a list of the context."""
        items = self._items(node)
        if items is not None:
            return self._written_out(node, items)
        node.iter = self.visit(node.iter)
        node.test = node.test and self.visit(node.test)
        node.else_ = self._visit_all(node.else_)
        self._turns.append(None)
        node.body = self._visit_all(node.body)
        self._turns.pop()
        return node

    def _visit_all(self, some: Sequence[nodes.Node]) -> list[nodes.Node]:
        return [new for node in some for new in self.visit_list(node)]

    def _decide(self, test: nodes.Expr) -> bool | None:
        if not all(isinstance(each, _DECIDABLE) for each in (test, *_inside(test))):
            return None
        try:
            return bool(test.as_const(self._evaluation))
        except nodes.Impossible:
            return None

    def _constant(self, node: nodes.Expr) -> nodes.Const | None:
        value = self._value(node)
        return nodes.Const(value, lineno=node.lineno) if isinstance(value, (str, int, float)) else None

    def _value(self, node: nodes.Node) -> object:
        """Return what an expression reads of the context or of `loop`, where that is there."""
        if isinstance(node, nodes.Name):
            return self._values.get(node.name, _UNKNOWN)
        if isinstance(node, nodes.Getattr):
            turn = self._turns[-1]
            if _is_loop(node.node):
                return _UNKNOWN if turn is None else turn.read(node.attr)
            return _member(self._value(node.node), node.attr)
        if isinstance(node, nodes.Getitem) and isinstance(node.arg, nodes.Const):
            return _member(self._value(node.node), node.arg.value)
        return _UNKNOWN

    def _items(self, node: nodes.For) -> list[object] | None:
        """Return the items of a loop that can be written out."""
        many = self._many(node)
        items = _UNKNOWN if many is None else self._value(many)
        if not isinstance(items, list) or not items:
            return None
        inside = [each for part in node.body for each in (part, *_inside(part))]
        names = {_LOOP, *self._values, *_names_bound(node.target)}
        plain = all(isinstance(each, _SIMPLE) for each in inside)
        hides = not isinstance(node.target, nodes.Name) or node.target.name in {_LOOP, *self._values}
        hides = hides or any(name in names for part in node.body for name in _names_bound(part))
        if not plain or hides or len(items) * len(inside) > self._left:
            return None
        return items if all(_reads_turn(part) for part in node.body) else None

    def _many(self, node: nodes.For) -> nodes.Expr | None:
        """Return what a loop goes over, without the filter that counts."""
        if not isinstance(node.iter, nodes.Filter) or node.iter.name != self._counters.each:
            return None
        return None if node.test or node.recursive else node.iter.node

    def _written_out(self, node: nodes.For, items: Sequence[object]) -> list[nodes.Node]:
        many = self._many(node)
        assert many is not None  # noqa: S101  (narrows the types: `_items` has looked)
        assert isinstance(node.target, nodes.Name)  # noqa: S101
        variable = node.target.name
        many = self.visit(many)
        count = nodes.Filter(nodes.Const(len(items)), self._counters.at_once, [], [], None, None)
        written: list[nodes.Node] = [nodes.ExprStmt(count, lineno=node.lineno)]
        for index, item in enumerate(items):
            self._values[variable] = item
            self._paths[variable] = nodes.Getitem(_copy(many), nodes.Const(index), "load")
            self._turns.append(_Turn(index, len(items)))
            for part in node.body:
                self._left -= 1 + sum(1 for _ in _inside(part))
                written += self.visit_list(_copy(part))
            self._turns.pop()
        del self._values[variable], self._paths[variable]
        return written


def _member(owner: object, name: object) -> object:
    """Return what a mapping or a list holds there; what it lacks, or holds as nothing, is not known."""
    if isinstance(owner, dict) and isinstance(name, str):
        value = owner.get(name)
        return _UNKNOWN if value is None else value
    if isinstance(owner, list) and type(name) is int and 0 <= name < len(owner):
        return owner[name]
    return _UNKNOWN


def _is_loop(node: nodes.Node | None) -> bool:
    return isinstance(node, nodes.Name) and node.name == _LOOP


def _reads_turn(node: nodes.Node) -> bool:
    """Return whether all that a part of a loop reads of `loop` can be told of each turn."""
    if isinstance(node, nodes.Getattr) and _is_loop(node.node):
        return _Turn(0, 1).read(node.attr) is not _UNKNOWN
    if isinstance(node, nodes.Filter) and _is_loop(node.node):
        return _is_cycle(node)
    if _is_loop(node):
        return False
    within = ("body",) if isinstance(node, nodes.For) else None  # there, `loop` is another one
    return all(_reads_turn(each) for each in node.iter_child_nodes(exclude=within))


def _is_cycle(node: nodes.Filter) -> bool:
    """Return whether a call of a method of `loop`, as the tree of a template writes it, is `cycle` of constants."""
    name = node.args[0] if node.args else None
    return (
        isinstance(name, nodes.Const)
        and name.value == "cycle"
        and len(node.args) > 1
        and all(isinstance(each, nodes.Const) for each in node.args)
        and not (node.kwargs or node.dyn_args or node.dyn_kwargs)
    )


def _inside(node: nodes.Node) -> Iterator[nodes.Node]:
    for child in node.iter_child_nodes():
        yield child
        yield from _inside(child)


def _names_bound(node: nodes.Node) -> Iterator[str]:
    """Yield the names that a part of a template gives a value."""
    for each in (node, *_inside(node)):
        if isinstance(each, nodes.Name) and each.ctx != "load":
            yield each.name


def _copy(node: nodes.Node) -> nodes.Node:
    fields = [
        _copy(value)
        if isinstance(value, nodes.Node)
        else [_copy(each) if isinstance(each, nodes.Node) else each for each in value]
        if isinstance(value, list)
        else value
        for _, value in node.iter_fields()
    ]
    return type(node)(*fields, lineno=node.lineno)


def _complete(node: nodes.Node, line: int) -> None:
    """Give the new nodes of a tree the lines of those around them."""
    node.lineno = node.lineno or line
    for child in node.iter_child_nodes():
        _complete(child, node.lineno)
