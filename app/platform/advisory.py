"""The advisory locks of the service that have a number: no two of them may have the same one in a database.

A number is taken in the one or the other of two spaces that PostgreSQL keeps apart: by itself, or as the class of locks
that have a second number too. Locks made of a text, such as an import's id, stand where they are taken.
"""

SCHEMA = 7_246_551
"""By itself: of a session that migrates or restores."""
CONTROL = 7_246_552
"""By itself: of the control database, while a further one is added; who cannot take it there is in the same."""
USES = 7_246_552
"""A class, with projects: shared by those who judge uses of codes, alone for who brings in codes that may be used."""
MERGES = 7_246_553
"""A class, with projects: of a merge of customers; shared by those who need that there is none."""
REQUESTS = 7_246_554
"""A class, with 0: shared by processes that have many requests, which long jobs give way to."""
MOVES = 7_246_555
"""A class, with projects, in the control database: of the session that moves the project."""
