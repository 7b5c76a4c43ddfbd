"""What was logged meanwhile."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import msgspec

from sluice.logs import JsonLines


class _Kept(logging.Handler):
    """Keeps every record as its line of JSON says it."""

    def __init__(self) -> None:
        super().__init__()
        self.setFormatter(JsonLines())
        self.lines: list[dict[str, Any]] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(msgspec.json.decode(self.format(record), type=dict[str, Any]))


@contextmanager
def captured_logs(*names: str) -> Iterator[list[dict[str, Any]]]:
    """Yield the lines of these loggers (and those below them), which grow while inside."""
    kept = _Kept()
    loggers = [logging.getLogger(name) for name in names]
    before = [(logger.level, logger.disabled) for logger in loggers]
    for logger in loggers:
        logger.addHandler(kept)
        logger.setLevel(logging.DEBUG)
        logger.disabled = False  # as another library's set-up of logging may leave it
    try:
        yield kept.lines
    finally:
        for logger, (level, was_disabled) in zip(loggers, before, strict=True):
            logger.removeHandler(kept)
            logger.setLevel(level)
            logger.disabled = was_disabled
