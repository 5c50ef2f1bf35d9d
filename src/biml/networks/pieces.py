"""Cutting a batch in pieces that are computed one after another, or by several processes."""

from collections.abc import Callable, Sequence
from typing import TypeVar

Item = TypeVar("Item")


def equal_pieces(
    items: Sequence[Item], size: Callable[[Item], int], max_tokens: int
) -> list[list[Item]]:
    """Items, sorted by size, in pieces of at most `max_tokens` tokens with padding.

    Items of like length stand together, because padding to the longest of a training batch would
    waste a fifth of the work. The pieces are of equal size, and there are 1, 2, 4 or a multiple of
    8 of them, so that as many processes have equal shares; a longer item stands alone.
    """
    total = sum(map(size, items))
    count = -(-total // max_tokens)
    shares = min(8, 1 << max(0, count - 1).bit_length())
    share = total / (-(-count // shares) * shares) if items else 0
    pieces: list[list[Item]] = [[]]
    tokens = 0
    for item in items:
        longest = size(item)
        if pieces[-1] and (
            tokens + longest / 2 > share * len(pieces)
            or (len(pieces[-1]) + 1) * longest > max_tokens
        ):
            pieces.append([])
        pieces[-1].append(item)
        tokens += longest
    return pieces if items else []
