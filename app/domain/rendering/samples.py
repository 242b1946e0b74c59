"""Made-up codes for previews."""

from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.rendering import queries

_FILLERS = (("X", "x", "0"), ("Z", "z", "9"), ("Q", "q", "7"))
"""For a capital, a small letter and a digit; the next where the first make a code that there is."""


async def sample_of(connection: AsyncConnection, code: str) -> str:
    """Return a made-up code of the shape of this one, which nobody can be given."""
    samples = [_shaped(code, *fillers) for fillers in _FILLERS]
    there = await queries.existing(connection, samples)
    return next((sample for sample in samples if sample not in there), "SAMPLE")


def _shaped(code: str, capital: str, small: str, digit: str) -> str:
    def fill(character: str) -> str:
        if character.isalpha():
            return capital if character.isupper() else small
        return digit if character.isnumeric() else character

    return "".join(fill(character) for character in code)
