"""What ClickHouse's refusal of an insert says: that rows are bad, or something else."""

from typing import Final

ABOUT_ROWS: Final = frozenset(
    {
        *(6, 26, 27, 38, 41, 72, 376, 467, 675),  # text that is no value of its column's type
        *(33, 117),  # JSON that ends early, or has a field that the table does not
        *(36, 53, 69, 70, 131, 321, 349, 407),  # a value out of its column's range, or of no type
    }
)
"""Error codes that a row can cause by what it holds."""


def is_about_rows(code: int) -> bool:
    """Whether halving the batch can find what is wrong.

    Everything else (a missing table, rights, an unknown code) concerns all rows alike: they wait
    until it is mended, because putting good rows aside would be worse than waiting.
    """
    return code in ABOUT_ROWS
