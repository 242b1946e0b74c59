"""The parser of requests: one that asks for another protocol is read as if it did not.

A server may do so (RFC 9110, 7.8), and this one speaks nothing else. The library takes such a request for one without
a body, and what follows for the next request: Java's own client, which asks for HTTP/2 with each, would be answered
that its body is missing, and behind a proxy a body could be a request of somebody else.
"""

from array import array
from typing import Protocol as Interface

from httptools import HttpParserUpgrade, HttpRequestParser


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
        self._head: bytes | None = None

    def leaves_out(self) -> bool:
        """Tell, once a head is complete, whether it is read again without its wish for another protocol.

        The protocol then makes nothing of it, nor of the end of the message. CONNECT asks for nothing else.
        """
        if not self.should_upgrade() or self.get_method() == b"CONNECT":
            return False
        lines = [b"%b: %b\r\n" % line for line in self._protocol.headers if line[0] != b"upgrade"]
        version = self.get_http_version().encode()
        self._head = b"%b %b HTTP/%b\r\n%b\r\n" % (
            self.get_method(),
            self._protocol.url,
            version,
            b"".join(lines),
        )
        return True

    @property
    def left_out(self) -> bool:
        """Whether the message at hand is read again."""
        return self._head is not None

    def feed_data(self, data: "bytes | bytearray | memoryview[int] | array[int]") -> None:
        """Read on."""
        parser = self
        while True:
            try:
                super(Parser, parser).feed_data(data)
            except HttpParserUpgrade as upgrade:
                head, parser._head = parser._head, None
                if head is None:
                    raise
                data = memoryview(data)[upgrade.args[0] :]
                parser = self._protocol.parser = Parser(self._protocol)
                super(Parser, parser).feed_data(head)
            else:
                return
