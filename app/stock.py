"""Which row of a pool's stock a process writes to. Whoever changes a voucher's state changes the stock with it."""

import os

from app.models import STOCK_SLOTS

SLOT = os.getpid() % STOCK_SLOTS
"""The slot of this process: processes write to different rows, and so do not wait for each other."""
