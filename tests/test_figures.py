"""The README's figures are what `python -m benchmarks.all` printed, and nobody typed them."""

from benchmarks.all import BLOCK, PAGE, README, headlines

PRINTED = """# Figures

AMD EPYC, 2 cores, 24 GiB, Linux, Python 3.11.7, PostgreSQL 18, fsync on; load by wrk; medians of 5 rounds

| | per second | this service against it |
| --- | --- | --- |
| this service, 2 processes, 64 connections | 5,372 | 1.00 |
| Y1: pgbench, single claims | 4,582 | 1.17 |
| this service, 1,000 items a request, 4 clients | 29,425 | 1.26 |
| this service: HTTP, sandbox, drawn and committed | 3.39 | 2,950 | 1.95 |
| 1000000 | 8.09 | 9.36 | 1.12 | 9.36 | 1.00 | 137 | 139 | 11.2 | 35.3 | 3.15 |
"""


def test_the_table_says_what_was_printed():
    made = headlines(PRINTED)
    assert made.startswith("AMD EPYC, 2 cores, 24 GiB, Linux, Python 3.11.7, PostgreSQL 18, fsync on\n")
    for said in (
        "| single assigns over HTTP, 64 connections | 5,372 a second |",
        "| 1.17 times |",
        "29,425 codes a second: 1.26 times",
        "3.39 s: 1.95 times",
        "9.36 s: 1.12 times `COPY` into the same table; 137 MiB at most",
    ):
        assert said in made


def test_the_readme_has_the_table_of_the_page():
    (block,) = BLOCK.findall(README.read_text())
    assert block == headlines(PAGE.read_text())
