"""The Jinja environment of messages: sandboxed, strict about undefined names, with counted loops.

What a template costs in time and memory is bounded by the process that it runs in (`worker.py`), not here.
"""

import gc
import hashlib
import re
from collections import OrderedDict
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, Self

import orjson
from jinja2 import (
    Environment,
    Template,
    TemplateRuntimeError,
    TemplateSyntaxError,
    Undefined,
    meta,
    nodes,
    pass_context,
    pass_eval_context,
)
from jinja2.exceptions import SecurityError
from jinja2.nodes import EvalContext
from jinja2.runtime import Context, LoopContext, Macro
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.visitor import NodeTransformer
from markupsafe import Markup

from app.domain.rendering.confined.columns import column
from app.domain.rendering.confined.errors import LimitExceeded, RenderAborted
from app.domain.rendering.confined.fixed import CONTEXT, Counters, write_in
from app.domain.rendering.confined.names import digests, links, pictures, times, values
from app.domain.rendering.confined.names.missing import MissingProperty, UnknownName, nearest
from app.domain.rendering.confined.names.tags import AbortExtension
from app.domain.rendering.confined.names.values import MESSAGE
from app.domain.rendering.confined.vouchers import LOOP_LIMIT, Pool, Vouchers

COUNTED, METHOD, SCRIPT_JSON, PRINTED = "counted loop", "called method", "json in a script", "printed name"
COUNTED_AT_ONCE = "counted turns"
"""Names of filters; with their spaces, no template can write them after a `|`."""
OWN_FILTERS = frozenset({COUNTED, COUNTED_AT_ONCE, METHOD, SCRIPT_JSON, PRINTED})
_KEPT_TEMPLATES = 256
_KEPT_SIZE = 16 * 1024**2
"""Of the sources and contexts of the templates that are kept: what is made shares the memory with them."""
UNKNOWN = re.compile(r"No (filter|test) named '(.*)'\.", re.DOTALL)
"""What Jinja says of a filter or test that there is not."""


class _Rewrite(NodeTransformer):
    """Counts loops, and marks what is only called from what is printed: a method is never a value."""

    def visit_For(self, node: nodes.For) -> nodes.For:  # noqa: N802  (named by the node)
        self.generic_visit(node)
        node.iter = nodes.Filter(node.iter, COUNTED, [], [], None, None, lineno=node.lineno)
        return node

    def visit_Output(self, node: nodes.Output) -> nodes.Output:  # noqa: N802  (as above)
        self.generic_visit(node)
        node.nodes = [_guarded(child) for child in node.nodes]
        return node

    def visit_Name(self, node: nodes.Name) -> nodes.Expr:  # noqa: N802  (as above)
        if node.ctx != "load" or node.name not in FUNCTIONS:
            return node
        named: list[nodes.Expr] = [nodes.Const(node.name)]
        return nodes.Filter(node, PRINTED, named, [], None, None, lineno=node.lineno)

    def visit_Test(self, node: nodes.Test) -> nodes.Test:  # noqa: N802  (as above)
        asked = node.node
        self.generic_visit(node)
        if isinstance(asked, nodes.Name):
            node.node = asked  # whether there is such a function may be asked
        return node

    def visit_Call(self, node: nodes.Call) -> nodes.Node:  # noqa: N802  (as above)
        called = node.node
        self.generic_visit(node)
        if isinstance(called, nodes.Name):
            node.node = called
        if not isinstance(node.node, nodes.Getattr):
            return node
        arguments = [nodes.Const(node.node.attr), *node.args]
        return nodes.Filter(
            node.node.node, METHOD, arguments, node.kwargs, node.dyn_args, node.dyn_kwargs, lineno=node.lineno
        )


FUNCTIONS = frozenset({"now", "range", "dict", "namespace", "cycler", "joiner", "qr", "datetime"})
"""Names of functions: each is called where it stands, and is no value."""
SERIES = frozenset(
    {"map", "select", "reject", "selectattr", "rejectattr", "unique", "batch", "slice", "reverse"}
)
"""Filters whose values are worked out as somebody goes through them."""


def _guarded(child: nodes.Expr) -> nodes.Expr:
    """Have what is no text refused where it is printed: look-ups refuse it themselves, and data is none."""
    if isinstance(child, (nodes.Name, nodes.CondExpr, nodes.And, nodes.Or, nodes.Call)) or (
        isinstance(child, nodes.Filter) and child.name in SERIES
    ):
        return nodes.Filter(child, PRINTED, [], [], None, None, lineno=child.lineno)
    return child


_TAG = re.compile(r"""<script\b(?:"[^"]*"|'[^']*'|[^>"'])*>|</script""", re.IGNORECASE)


def _mark_scripts(tree: nodes.Node) -> None:
    """Let `json` print its quotes as they are between the tags of a script, and only there."""
    written = ""
    for node in _in_order(tree):
        if isinstance(node, nodes.TemplateData):
            written += node.data
        elif isinstance(node, nodes.Filter) and node.name in {"json", "tojson"}:
            tags = _TAG.findall(written)
            if tags and not tags[-1].startswith("</"):
                node.name = SCRIPT_JSON
        elif isinstance(node, nodes.Expr):
            written += "x"


def _in_order(node: nodes.Node) -> Iterator[nodes.Node]:
    """Walk what is printed in the order of the source; what is printed elsewhere, such as a macro, is left out."""
    for child in node.iter_child_nodes():
        if isinstance(
            child, (nodes.Macro, nodes.CallBlock, nodes.AssignBlock, nodes.FilterBlock, nodes.Block)
        ):
            continue
        yield child
        yield from _in_order(child)


@pass_eval_context
def to_json(eval_context: EvalContext, value: object) -> str:
    r"""Return the value as JSON.

    In HTML no character of it ends an element or an attribute: `<`, `>`, `&` and `'` are written as `\u003c` and
    so on, and the quotes are escaped as all that is printed is, save in a script.
    """
    text = _dumps(value)
    if eval_context.autoescape:
        for character, code in ESCAPES.items():
            text = text.replace(character, code)
    return text


def script_json(value: object) -> Markup:
    """Return the value as JSON inside of a script element."""
    text = _dumps(value)
    for character, code in ESCAPES.items():
        text = text.replace(character, code)
    return Markup(text)  # noqa: S704  (nothing in it ends the element)


ESCAPES = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "'": "\\u0027"}


def _dumps(value: object) -> str:
    if isinstance(value, MissingProperty):
        return "null"
    if isinstance(value, Undefined):
        str(value)  # raises, and says why
    try:
        return orjson.dumps(value, default=_plain).decode()
    except TypeError as error:
        raise TemplateRuntimeError(f"This cannot be written as JSON: {error}.") from None


def _plain(value: object) -> object:
    if isinstance(value, MissingProperty):
        return None
    if isinstance(value, str):
        return str.__str__(value)
    raise TypeError(f"a {type(value).__name__}")


@pass_context
def call_method(context: Context, owner: object, name: str, *arguments: object, **named: object) -> object:
    """Call a method: of data only those that read it, of the template's own lists and mappings also others."""
    kind = type(owner)
    if kind is Pool and name in POOL_METHODS:
        return getattr(owner, name)(context, *arguments, **named)
    if kind is LoopContext and name in LOOP_METHODS:
        return getattr(owner, name)(*arguments, **named)
    environment = context.environment
    assert isinstance(environment, MessageEnvironment)  # noqa: S101  (narrows the type)
    if type(owner) is dict and name not in owner:
        if name in READERS or (name in CHANGERS and hasattr(owner, name) and context[MESSAGE].owns(owner)):
            return getattr(owner, name)(*arguments, **named)
        if hasattr(owner, name):
            raise SecurityError(f"{name}() changes data, or is none of its methods")
    if kind is list and name in CHANGERS and hasattr(owner, name):
        if not context[MESSAGE].owns(owner):
            raise SecurityError(
                f"{name}() would change data; make a list of the template's own by the filter 'list'"
            )
        return getattr(owner, name)(*arguments, **named)
    method = environment.method(owner, name)
    if isinstance(method, MissingProperty):
        return method
    return environment.call(context, method, *arguments, **named)


READERS = frozenset({"items", "keys", "values", "get", "copy"})
POOL_METHODS = frozenset({"assign_available", "count_available", "count_total"})
LOOP_METHODS = frozenset({"cycle", "changed"})
CHANGERS = frozenset(
    {"append", "extend", "insert", "pop", "remove", "clear", "reverse", "sort"}
    | {"update", "setdefault", "popitem"}
)
"""Methods of lists and mappings that change them: a template may change what it made itself."""


def printable(value: object, name: str | None = None) -> object:
    """Refuse to print what is no data: a function lacks its parentheses, a series is not gone through."""
    if isinstance(value, (str, int, float, list, dict, tuple)) or value is None:
        return value
    if callable(value) and not isinstance(value, Undefined):
        name = name or getattr(value, "__name__", None) or getattr(value, "name", None) or "this"
        raise TemplateRuntimeError(f"{name} is a function: write {name}() with parentheses.")
    if isinstance(value, Iterator):
        raise TemplateRuntimeError("A series is no text: write it with the filter 'join' or 'list'.")
    if name is None and type(value).__str__ is object.__str__ and repr(value).startswith("<"):
        raise TemplateRuntimeError(f"A {type(value).__name__} is no text.")
    return value


@pass_context
def counted(context: Context, iterable: Iterable[object]) -> Iterator[object]:
    """Yield the items, and count each towards the most that the loops of a message may go through."""
    left = context[LOOP_LIMIT]
    for item in iterable:
        left[0] -= 1
        if left[0] < 0:
            raise LimitExceeded(TOO_MANY_TURNS)
        yield item


@pass_context
def counted_at_once(context: Context, turns: int) -> None:
    """Count the turns of a loop that was written out."""
    left = context[LOOP_LIMIT]
    left[0] -= turns
    if left[0] < 0:
        raise LimitExceeded(TOO_MANY_TURNS)


TOO_MANY_TURNS = "The loops of the template go round too often."


class MessageUnderWay(Protocol):
    """What look-ups ask the message that is rendered."""

    strict: bool

    def is_fixed(self, owner: object) -> bool:
        """Return whether all that this mapping may hold is known."""

    def missing(self, owner: object, name: str) -> MissingProperty:
        """Return what stands for a property that is not set."""


class MessageEnvironment(ImmutableSandboxedEnvironment):
    """Jinja for messages. What a mapping holds is data, and what it does not hold is missing, never a method."""

    intercepted_binops = frozenset({"**"})
    """Not for what it does, but to keep the compiler from working it out."""
    message: MessageUnderWay | None = None
    """The message under way: this process renders one after another, and look-ups have no context."""

    def __init__(self, *, autoescape: bool) -> None:
        # optimized=False: constants are worked out under the limits of the rendering, each at its own line.
        super().__init__(
            undefined=UnknownName,
            autoescape=autoescape,
            extensions=["jinja2.ext.do", "jinja2.ext.loopcontrols", AbortExtension],
            optimized=False,
            keep_trailing_newline=True,
            cache_size=0,
        )
        del self.globals["lipsum"]
        self.globals |= {"vouchers": Vouchers(), "qr": pictures.qr, "datetime": times.to_datetime}
        for module in (times, digests, values, pictures, links):
            self.filters |= module.FILTERS
        self.filters |= {
            "json": to_json,
            "tojson": to_json,
            SCRIPT_JSON: script_json,
            COUNTED: counted,
            COUNTED_AT_ONCE: counted_at_once,
            METHOD: call_method,
            PRINTED: printable,
        }

    def getattr(self, obj: object, attribute: str) -> object:
        """Return a property; data first, and never a function without its parentheses."""
        if type(obj) is dict:
            value = obj.get(attribute)
            return self._absent(obj, attribute) if value is None else value
        return self._value(self.method(obj, attribute))

    def method(self, obj: object, attribute: str) -> object:
        """Return an attribute that is called at once."""
        if type(obj) is dict:
            return self.getattr(obj, attribute)
        if isinstance(obj, MissingProperty) and not attribute.startswith("_"):
            return obj.child(attribute)
        return super().getattr(obj, attribute)

    def getitem(self, obj: object, argument: object) -> object:
        """Return an item, as `getattr` does."""
        if type(obj) is dict and isinstance(argument, str):
            value = obj.get(argument)
            return self._absent(obj, argument) if value is None else value
        if isinstance(obj, MissingProperty) and not str(argument).startswith("_"):
            return obj.child(argument)
        return self._value(super().getitem(obj, argument))

    def _value(self, value: object) -> object:
        if callable(value) and not isinstance(value, (Macro, Undefined)) and hasattr(value, "__name__"):
            printable(value)
        return value

    def _absent(self, obj: object, name: str) -> object:
        if name.startswith("_") and not (isinstance(obj, Container) and name in obj):
            return super().getattr(obj, name)
        if self.message is None or self.message.strict or self.message.is_fixed(obj):
            return self.undefined(obj=obj, name=name)
        return self.message.missing(obj, name)

    def call_filter(
        self,
        name: str,
        value: object,
        args: Sequence[object] | None = None,
        kwargs: Mapping[str, object] | None = None,
        context: Context | None = None,
        eval_ctx: EvalContext | None = None,
    ) -> object:
        """Call a filter that a template names by a text, as `map` does: none of the rewriting's own."""
        if name in OWN_FILTERS:
            raise TemplateRuntimeError(f"No filter named {name!r}.")
        return super().call_filter(name, value, args, kwargs, context, eval_ctx)

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        parsed = super()._parse(source, name, filename)
        for node in parsed.find_all((nodes.Include, nodes.Import, nodes.FromImport, nodes.Extends)):
            tag = type(node).__name__.removeprefix("From").lower()
            raise TemplateSyntaxError(f"{tag!r} is not available: a template is one text.", node.lineno)
        tree: nodes.Template = _Rewrite().visit(parsed)
        if self.autoescape:
            _mark_scripts(tree)
        return tree


@dataclass(frozen=True, slots=True)
class Compiled:
    """A compiled template, and the names that it reads from what the message gives it."""

    template: Template
    names: frozenset[str]
    size: int
    """Of what it was made of."""


@dataclass(frozen=True, slots=True)
class Fixed:
    """A context that is one for many messages, and what tells it from others."""

    context: Mapping[str, object]
    key: bytes
    size: int

    @classmethod
    def of(cls, context: Mapping[str, object]) -> Self:
        """Return a context with its digest: the whole of it, kept for each template, would take much memory."""
        text = orjson.dumps(context)
        return cls(context, hashlib.sha256(text).digest(), len(text))


class Templates:
    """Compiled templates by content, those used last."""

    def __init__(self) -> None:
        self._environments = {escape: MessageEnvironment(autoescape=escape) for escape in (False, True)}
        self._compiled: OrderedDict[tuple[bool, str, bytes | None], Compiled] = OrderedDict()
        self._size = 0
        self._forgotten = 0

    def of(self, source: str, *, autoescape: bool, fixed: Fixed | None = None) -> Compiled:
        """Return the template of this source, where `fixed` is given made for that context.

        Raises:
            RenderAborted: it is none; `line` and `column` tell where.
        """
        key = autoescape, source, None if fixed is None else fixed.key
        found = self._compiled.get(key)
        if found is not None:
            self._compiled.move_to_end(key)
            return found
        size = len(source) + (0 if fixed is None else fixed.size)
        self._make_room(size)
        template, names = _compile(self._environments[autoescape], source, fixed)
        self._compiled[key] = compiled = Compiled(template, names, size)
        self._size += size
        return compiled

    def _make_room(self, size: int) -> None:
        """Forget what was used least lately until a template of this size can be kept."""
        while self._compiled and (len(self._compiled) >= _KEPT_TEMPLATES or self._size + size > _KEPT_SIZE):
            _, forgotten = self._compiled.popitem(last=False)
            self._size -= forgotten.size
            self._forgotten += forgotten.size
        if self._forgotten > _KEPT_SIZE:
            self._forgotten = 0
            gc.collect()  # what is compiled refers to itself, and few objects may be much memory


def _compile(environment: Environment, source: str, fixed: Fixed | None) -> tuple[Template, frozenset[str]]:
    try:
        tree = environment.parse(source)
        names = frozenset(meta.find_undeclared_variables(tree))
        if fixed is not None and CONTEXT in names:
            write_in(environment, tree, fixed.context, Counters(COUNTED, COUNTED_AT_ONCE))
        return environment.from_string(tree), names
    except TemplateSyntaxError as error:
        said = error.message or "Syntax error."
        if unknown := UNKNOWN.fullmatch(said):
            known = environment.filters if unknown[1] == "filter" else environment.tests
            said += nearest(unknown[2], (name for name in known if name.isidentifier()))
        raise RenderAborted(
            "template-error",
            said,
            line=error.lineno,
            column=column(environment, source, error.lineno),
        ) from None
