"""Cutting a batch in pieces that are computed one after another, or by several processes."""

from collections.abc import Callable, Sequence
from typing import TypeVar

Item = TypeVar("Item")


def balanced_micro_batches(
    items: Sequence[Item], size: Callable[[Item], int], max_tokens: int, min_batches: int = 1
) -> list[list[Item]]:
    """Items, sorted by size, in pieces of at most `max_tokens` tokens with padding.

    Items of like length stand together, because padding to the longest of a training batch would
    waste a fifth of the work. The pieces are of equal size, and there are 1, 2, 4 or a multiple of
    8 of them, so that as many processes have equal shares; a longer item stands alone.

    Args:
        items: sorted by size.
        size: tokens of an item.
        max_tokens: of a piece, with padding.
        at_least: how many pieces there are to be, if there are as many items.
    """
    total = sum(map(size, items))
    count = max(min_batches, -(-total // max_tokens))
    while True:
        shares = min(8, 1 << max(0, count - 1).bit_length())
        planned = -(-count // shares) * shares
        pieces = _split(items, size, max_tokens, total / planned)
        # Padding can fill pieces early. Of many one more does no harm; of few, it is a small rest
        # that all but one process would wait for.
        if len(pieces) <= planned or planned >= min(8, len(items)):
            return pieces
        count = planned + 1


def _split(
    items: Sequence[Item], size: Callable[[Item], int], max_tokens: int, target_tokens: float
) -> list[list[Item]]:
    """Pieces of about `share` tokens."""
    pieces: list[list[Item]] = [[]]
    tokens = 0
    for item in items:
        longest = size(item)
        if pieces[-1] and (
            tokens + longest / 2 > target_tokens * len(pieces)
            or (len(pieces[-1]) + 1) * longest > max_tokens
        ):
            pieces.append([])
        pieces[-1].append(item)
        tokens += longest
    return pieces if items else []
