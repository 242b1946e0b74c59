"""How the process that reads a spreadsheet answers; who asks it need not load the library (1.5 MiB)."""

import struct

ANSWER, FAULT = "answer", "fault"
HEAD = struct.Struct(">I")
"""The length of what follows: JSON, a kind and a value."""
