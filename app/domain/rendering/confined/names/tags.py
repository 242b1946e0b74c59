"""Tags: `{% abort %}`.

After https://documentation.bloomreach.com/engagement/docs/jinjablocks.
"""

from jinja2 import nodes
from jinja2.ext import Extension
from jinja2.parser import Parser

from app.domain.rendering.confined.errors import RenderAborted


class AbortExtension(Extension):
    """`{% abort %}`, `{% abort 'why' %}`: the message is not sent, and takes nothing."""

    tags = {"abort"}  # noqa: RUF012  (as Jinja declares it)

    def parse(self, parser: Parser) -> nodes.Node:
        """Read the tag and its reason."""
        line = next(parser.stream).lineno
        ended = parser.stream.current.type == "block_end"
        reason: nodes.Expr = nodes.Const("") if ended else parser.parse_expression()
        return nodes.ExprStmt(self.call_method("_abort", [reason]), lineno=line)

    def _abort(self, reason: object) -> None:
        raise RenderAborted("aborted", str(reason)[:500])
