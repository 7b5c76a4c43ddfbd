"""Texts of other people's documents and servers, made fit for a terminal; times as people read."""

from datetime import datetime


def plain(text: str) -> str:
    """Return a text without what would steer a terminal or is no Unicode."""
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)


def moment(text: object) -> datetime | None:
    """Return a time of the API; None for what is none."""
    try:
        return datetime.fromisoformat(text) if isinstance(text, str) else None
    except ValueError:
        return None


def duration(seconds: float) -> str:
    """Return a length of time in its two largest units: ``4.2 s``, ``3 m 20 s``, ``2 h 5 m``."""
    if seconds < 60:
        return f"{max(seconds, 0):.1f} s"
    minutes, rest = divmod(int(seconds), 60)
    if minutes < 60:
        return f"{minutes} m {rest} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} m" if hours < 24 else f"{hours // 24} d {hours % 24} h"
