"""Regular expressions whose time is linear in the text, whatever the pattern.

They run on the ``regex`` crate of Rust, through jsonschema-rs, which has it for the keyword
``pattern``: a finite automaton without backtracking. Look-around and backward references need
backtracking and are refused with the document. The syntax is that of JSON Schema (ECMA-262).
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import jsonschema_rs

MAX_CHARS: Final = 1_000
PATTERN_OPTIONS: Final = jsonschema_rs.RegexOptions(size_limit=1 << 20, dfa_size_limit=1 << 20)


@dataclass(frozen=True, slots=True)
class Pattern:
    """A compiled pattern."""

    validator: jsonschema_rs.Draft202012Validator

    def is_in(self, text: str) -> bool:
        """Whether the pattern matches anywhere in a text."""
        return self.validator.is_valid(text)


@lru_cache(maxsize=256)
def compile_pattern(pattern: str) -> Pattern | str:
    """Return a compiled pattern, or why it is none."""
    if len(pattern) > MAX_CHARS:
        return f"is longer than {MAX_CHARS:,} characters"
    try:
        return Pattern(
            jsonschema_rs.Draft202012Validator(
                {"pattern": pattern}, pattern_options=PATTERN_OPTIONS, offline=True
            )
        )
    except jsonschema_rs.ValidationError:
        return "is not a regular expression without look-around and backward references"
