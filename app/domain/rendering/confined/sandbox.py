"""The Jinja environment of messages: sandboxed, strict about undefined names, with counted loops.

What a template costs in time and memory is bounded by the process that it runs in (`worker.py`), not here.
"""

from collections import OrderedDict
from collections.abc import Iterable, Iterator
from typing import Any

import orjson
from jinja2 import (
    Environment,
    StrictUndefined,
    Template,
    TemplateSyntaxError,
    nodes,
    pass_context,
    pass_eval_context,
)
from jinja2.ext import Extension
from jinja2.nodes import EvalContext
from jinja2.parser import Parser
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import htmlsafe_json_dumps
from jinja2.visitor import NodeTransformer

from app.domain.rendering.confined.columns import column
from app.domain.rendering.confined.errors import LimitExceeded, RenderAborted
from app.domain.rendering.confined.vouchers import LOOP_LIMIT, Vouchers

FOREIGN_TAGS = ("extends", "import", "from", "include")
COUNTED = "counted loop"
"""Name of the filter that counts; with its space, no template can call it."""
_KEPT_TEMPLATES = 256


class _CountLoops(NodeTransformer):
    def visit_For(self, node: nodes.For) -> nodes.For:  # noqa: N802  (named by the node)
        self.generic_visit(node)
        node.iter = nodes.Filter(node.iter, COUNTED, [], [], None, None, lineno=node.lineno)
        return node


class VouchersExtension(Extension):
    """Gives templates `vouchers` and the `json` filter, and takes away the tags that read other templates.

    It holds no state: what belongs to one message lies in the context of its rendering.
    """

    tags = set(FOREIGN_TAGS)  # noqa: RUF012  (as Jinja declares it)

    def __init__(self, environment: Any) -> None:
        super().__init__(environment)
        environment.globals["vouchers"] = Vouchers()
        environment.filters["json"] = to_json
        environment.filters[COUNTED] = counted

    def parse(self, parser: Parser) -> nodes.Node:
        """Refuse a tag that reads another template: a message stands alone."""
        parser.fail(f"The tag {parser.stream.current.value!r} is not available: a message is one template.")


@pass_eval_context
def to_json(eval_context: EvalContext, value: Any) -> str:
    """The value as JSON; in HTML so that it ends no script element and no attribute."""
    if eval_context.autoescape:
        return htmlsafe_json_dumps(value, dumps=_dumps)
    return _dumps(value)


def _dumps(value: Any) -> str:
    return orjson.dumps(value).decode()


@pass_context
def counted(context: Context, iterable: Iterable[Any]) -> Iterator[Any]:
    """The items, each counted towards the most that the loops of a message may go through."""
    left = context[LOOP_LIMIT]
    for item in iterable:
        left[0] -= 1
        if left[0] < 0:
            raise LimitExceeded("The loops of the template go round too often.")
        yield item


class MessageEnvironment(ImmutableSandboxedEnvironment):
    """Jinja for messages. A property of a customer goes before a method of the mapping that holds it."""

    intercepted_binops = frozenset({"**"})
    """Not for what it does, but to keep the compiler from working it out."""

    def __init__(self, *, autoescape: bool) -> None:
        # optimized=False: constants are worked out under the limits of the rendering, each at its own line.
        super().__init__(
            undefined=StrictUndefined,
            autoescape=autoescape,
            extensions=[VouchersExtension],
            optimized=False,
            keep_trailing_newline=True,
            cache_size=0,
        )
        for name in ("lipsum",):
            del self.globals[name]

    def getattr(self, obj: Any, attribute: str) -> Any:
        """As in the sandbox, but what a mapping holds comes first: `customer.items` is a property."""
        if type(obj) is dict and attribute in obj:
            return obj[attribute]
        return super().getattr(obj, attribute)

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        tree: nodes.Template = _CountLoops().visit(super()._parse(source, name, filename))
        return tree


class Templates:
    """Compiled templates by content, those used last."""

    def __init__(self) -> None:
        self._environments = {escape: MessageEnvironment(autoescape=escape) for escape in (False, True)}
        self._compiled: OrderedDict[tuple[bool, str], Template] = OrderedDict()

    def of(self, source: str, *, autoescape: bool) -> Template:
        """The template of this source.

        Raises:
            Stop: it is none; `line` and `column` tell where.
        """
        key = autoescape, source
        if key in self._compiled:
            self._compiled.move_to_end(key)
        else:
            self._compiled[key] = _compile(self._environments[autoescape], source)
            if len(self._compiled) > _KEPT_TEMPLATES:
                self._compiled.popitem(last=False)
        return self._compiled[key]


def _compile(environment: Environment, source: str) -> Template:
    try:
        return environment.from_string(source)
    except TemplateSyntaxError as error:
        raise RenderAborted(
            "template-error",
            error.message or "Syntax error.",
            line=error.lineno,
            column=column(environment, source, error.lineno),
        ) from None
