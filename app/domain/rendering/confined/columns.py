"""Where on its line a syntax error is. Jinja knows the line only."""

from collections.abc import Iterator

from jinja2 import Environment, TemplateSyntaxError
from jinja2.lexer import Token, ignored_tokens, newline_re
from jinja2.parser import Parser

_DROPPED = ignored_tokens | {"raw_begin", "raw_end"}


def column(environment: Environment, source: str, line: int) -> int | None:
    """Return the column, from 1, of the token at which parsing ends; None where that is not on this line."""
    source = newline_re.sub("\n", source)
    starts, end = _starts(environment, source)
    read = 0

    def counted(tokens: Iterator[Token]) -> Iterator[Token]:
        nonlocal read
        try:
            for token in tokens:
                read += 1
                yield token
        except TemplateSyntaxError:
            read = len(starts)  # no token could be made of what comes next
            raise

    try:
        parser = Parser(environment, source)
        parser.stream._iter = counted(parser.stream._iter)  # noqa: SLF001  (no public way in)
        parser.parse()
    except TemplateSyntaxError:
        place = starts[read] if read < len(starts) else end
        if source.count("\n", 0, place) + 1 == line:
            return place - source.rfind("\n", 0, place)
    return None


def _starts(environment: Environment, source: str) -> tuple[list[int], int]:
    """Return where each token that the parser sees begins, and where the last one ends."""
    starts, place = [], 0
    try:
        for _, kind, value in environment.lexer.tokeniter(source, None):
            begin = source.find(value, place)
            place = begin + len(value)
            if kind not in _DROPPED and value:
                starts.append(begin)
    except TemplateSyntaxError:
        pass
    return starts, place
