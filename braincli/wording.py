"""Numbers and nouns in messages."""

from __future__ import annotations


def counted(number: int, noun: str) -> str:
    """``1 case``, ``1,200 cases``: the noun agrees with the number."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
