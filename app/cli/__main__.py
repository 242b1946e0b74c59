"""`vouchers`, and `python -m app.cli`.

Each process of the service loads again what it was started by: the command line is no part of that.
"""


def main() -> None:
    """Run the command line."""
    from app.cli.main import main as run  # noqa: PLC0415  (see above)

    run()


if __name__ == "__main__":
    main()
