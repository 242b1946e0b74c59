"""The parser of requests: one that asks for another protocol is read as if it did not.

A server may do so (RFC 9110, 7.8), and this one speaks nothing else. The library takes such a request for one without
a body, and what follows for the next request: Java's own client, which asks for HTTP/2 with each, would be answered
that its body is missing, and behind a proxy a body could be a request of somebody else.
"""

from array import array
from typing import Protocol as Interface

from httptools import HttpParserUpgrade, HttpRequestParser

_read = HttpRequestParser.feed_data


class Reads(Interface):
    """Whom the parser tells, of what this one needs."""

    parser: "Parser"
    url: bytes
    headers: list[tuple[bytes, bytes]]


class Parser(HttpRequestParser):
    """Tells `protocol` of requests, as the library's parser does."""

    def __init__(self, protocol: Reads) -> None:
        super().__init__(protocol)
        self.set_dangerous_leniencies(lenient_data_after_close=True)  # as Uvicorn's; it closes by itself
        self._protocol = protocol
        self.left_out: bytes | None = None
        """The head of the message at hand, where it is read again."""

    def leaves_out(self) -> bool:
        """Tell of a head that asks for another protocol whether it is read again without that.

        The protocol then makes nothing of it, nor of the end of the message. CONNECT asks for nothing else.
        """
        if self.get_method() == b"CONNECT":
            return False
        lines = [b"%b: %b\r\n" % line for line in self._protocol.headers if line[0] != b"upgrade"]
        version = self.get_http_version().encode()
        self.left_out = b"%b %b HTTP/%b\r\n%b\r\n" % (
            self.get_method(),
            self._protocol.url,
            version,
            b"".join(lines),
        )
        return True

    def feed_data(self, data: "bytes | bytearray | memoryview[int] | array[int]") -> None:
        """Read on."""
        parser = self
        while True:
            try:
                _read(parser, data)
            except HttpParserUpgrade as upgrade:
                head, parser.left_out = parser.left_out, None
                if head is None:
                    raise
                data = memoryview(data)[upgrade.args[0] :]
                parser = self._protocol.parser = Parser(self._protocol)
                _read(parser, head)
            else:
                return
