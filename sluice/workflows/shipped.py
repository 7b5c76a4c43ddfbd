"""Where the workflow documents are that are part of Sluice."""

from pathlib import Path
from typing import Final

SHIPPED: Final = Path(__file__).parent / "documents"
"""The folder of the documents."""
