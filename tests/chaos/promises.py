"""How soon the service has to be back, and how long the suite takes."""

import os

LONG = os.environ.get("VOUCHERS_TEST_CHAOS") == "long"
SLACK = float(os.environ.get("VOUCHERS_TEST_SLACK", "2"))
"""How much slower than promised a machine may be on which other things run."""
AT_ONCE, AFTER_START = 3.0 * SLACK, 10.0 * SLACK
"""Seconds after the end of a fault in which assigns are served: at once, or after the start of a process."""
REFUSED = 5.0 * SLACK
"""Seconds in which a refusal comes; a connection to a process that is starting waits for its start as well."""
PROMOTED = 5.0 * SLACK
"""Seconds after the promotion of a standby in which assigns are served."""
