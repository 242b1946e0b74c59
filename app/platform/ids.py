"""Ids of what is stored in great numbers: UUIDs in the order of time, so that their indexes grow at the end.

Random ones would each touch another page of an index; of a large one, that is most of what storing a row costs.
"""

import os
import time

_VARIANTS = "89ab" * 4
_BYTES = 8
_COUNTED = 0xFFF


def ordered_ids(n: int) -> list[str]:
    """Return new ids, each 4,096 in ascending order: UUIDv7 with a counter (RFC 9562, sections 5.7 and 6.2)."""
    at = f"{time.time_ns() // 1_000_000:012x}"
    begin = f"{at[:8]}-{at[8:]}-7"
    random = os.urandom(_BYTES * n).hex()
    ids = []
    for place in range(n):
        own = random[2 * _BYTES * place : 2 * _BYTES * (place + 1)]
        ids.append(f"{begin}{place & _COUNTED:03x}-{_VARIANTS[int(own[0], 16)]}{own[1:4]}-{own[4:]}")
    return ids
