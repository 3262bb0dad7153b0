"""Numbers as the contract carries them: whole, not negative, of 32 or 64 bits."""

U32_MAX = 2**32 - 1
U64_MAX = 2**64 - 1


def whole(what: str, number: int, most: int) -> int:
    """Returns `number` if the contract can carry it. The bindings would end the call without saying what is wrong."""
    if isinstance(number, bool) or not isinstance(number, int):
        raise TypeError(f"{what} is {number!r}: give a whole number")
    if not 0 <= number <= most:
        raise ValueError(f"{what} is {number}: give 0 to {most}")
    return number
