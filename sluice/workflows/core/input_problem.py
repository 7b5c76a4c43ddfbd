"""Why inputs of a workflow are refused, apart from what checks them.

JSON Schema is heavy to import; the edge, which only tells of problems, starts without it.
"""

from dataclasses import dataclass
from typing import Final

MASK: Final = "***"
"""What is shown of a secret."""


@dataclass(frozen=True, slots=True)
class InputProblem:
    """Why inputs are refused: never the value."""

    pointer: str
    reason: str
