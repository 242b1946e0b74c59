"""What goes from the processes that fetch to the service: frames of a letter, a length, that many bytes."""

import struct

BEGUN, BYTES, FAULT, END = b"A", b"B", b"F", b"E"
HEAD = struct.Struct(">cI")
UNWORDED = "unworded"
"""Name of a fault that a library has worded: what it says may hold secrets."""
