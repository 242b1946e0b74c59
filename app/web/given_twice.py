"""What is given more than once where only one of it would count."""

from collections.abc import Sequence

from app.platform.errors import Fault, InvalidRequestError


def refuse(places: Sequence[Sequence[str]]) -> None:
    """Refuse a request that gives something more than once.

    Args:
        places: of what is given so, from the outside in.

    Raises:
        InvalidRequestError: there is a place.
    """
    if places:
        said = "it is given more than once, and only one of them would count"
        faults: list[Fault] = [{"loc": place, "msg": said} for place in places]
        raise InvalidRequestError(f"{'.'.join(places[0])}: {said}", faults)
