"""The logging set-up: every log, ours and the libraries', goes to stderr."""

import logging
import sys
from typing import Protocol

import structlog
from structlog.typing import Processor


class LogSettings(Protocol):
    """The part of the settings that logging needs."""

    @property
    def log_format(self) -> str:
        """``json``, ``text`` or ``auto``."""

    @property
    def log_level(self) -> str:
        """``debug``, ``info``, ``warning`` or ``error``."""


def is_text(settings: LogSettings) -> bool:
    """Whether logs are for a person who reads along; else each is a line of JSON."""
    return settings.log_format == "text" or (settings.log_format == "auto" and sys.stderr.isatty())


def configure_logging(settings: LogSettings) -> None:
    """Send all logs, ours and the libraries', to stderr: JSON lines, or text on a terminal."""
    as_text = is_text(settings)
    level = logging.getLevelNamesMapping()[settings.log_level.upper()]
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.stdlib.ExtraAdder(),
    ]
    last: list[Processor] = (
        [
            structlog.dev.ConsoleRenderer(
                colors=sys.stderr.isatty(),
                # The usual one shows the values of local variables: keys and people are among them.
                exception_formatter=structlog.dev.plain_traceback,
            )
        ]
        if as_text
        else [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(max(level, logging.INFO))
    for name in ("sluice", "gateway", "worker"):
        logging.getLogger(name).setLevel(level)
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
