"""Logs: lines with fields, ours and the libraries', to stderr as JSON or as text for a person.

Everything goes through the standard library's ``logging``; a field is what ``extra`` holds. Nothing
here shows the value of a local variable: keys and people are among them.
"""

import logging
import sys
from datetime import UTC, datetime
from typing import Final, Protocol

import msgspec

_STANDARD: Final = frozenset(
    {*vars(logging.makeLogRecord({})), "message", "asctime", "taskName", "color_message"}
)
"""What every record of ``logging`` has; anything else in one is a field."""
_OURS: Final = "sluice_fields"
"""Where ``Logger`` keeps its fields, so that none meets a name of ``logging``."""
_EVENT_WIDTH: Final = 30
_RESET, _DIM, _BOLD = "\x1b[0m", "\x1b[2m", "\x1b[1m"
_COLOURS: Final = {
    logging.DEBUG: "\x1b[32m",
    logging.INFO: "\x1b[32m",
    logging.WARNING: "\x1b[33m",
    logging.ERROR: "\x1b[31m",
    logging.CRITICAL: "\x1b[31m",
}


class LogSettings(Protocol):
    """The part of the settings that logging needs."""

    @property
    def log_format(self) -> str:
        """``json``, ``text`` or ``auto``."""

    @property
    def log_level(self) -> str:
        """``debug``, ``info``, ``warning`` or ``error``."""


class Logger:
    """A logger of the standard library that takes fields by name."""

    __slots__ = ("_logger",)

    def __init__(self, logger: logging.Logger) -> None:
        self._logger = logger

    def debug(self, event: str, **fields: object) -> None:
        """Say what only helps to find a fault."""
        self._log(logging.DEBUG, event, fields)

    def info(self, event: str, **fields: object) -> None:
        """Say what happened."""
        self._log(logging.INFO, event, fields)

    def warning(self, event: str, **fields: object) -> None:
        """Say what may need somebody, or mends itself."""
        self._log(logging.WARNING, event, fields)

    def error(self, event: str, **fields: object) -> None:
        """Say what needs somebody."""
        self._log(logging.ERROR, event, fields)

    def exception(self, event: str, **fields: object) -> None:
        """Say what failed, with the traceback of the error that is being handled."""
        self._log(logging.ERROR, event, fields, is_failure=True)

    def _log(
        self, level: int, event: str, fields: dict[str, object], *, is_failure: bool = False
    ) -> None:
        if self._logger.isEnabledFor(level):
            self._logger.log(level, event, exc_info=is_failure, extra={_OURS: fields})


def get_logger(name: str) -> Logger:
    """Return the logger of a module."""
    return Logger(logging.getLogger(name))


class JsonLines(logging.Formatter):
    """Each record as a line of JSON: its fields, then event, level, logger and time."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line of a record."""
        line = _fields(record) | {
            "event": _event(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "timestamp": _time(record),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        if record.stack_info:
            line["stack"] = record.stack_info
        try:
            return _encoded(line).decode()
        except Exception:  # noqa: BLE001 - such as half of a surrogate pair, or a repr that fails
            return _encoded({name: _sayable(value) for name, value in line.items()}).decode()


class TextLines(logging.Formatter):
    """Each record as a line for a person, with colours on a terminal."""

    def __init__(self, *, has_colours: bool) -> None:
        super().__init__()
        self._has_colours = has_colours

    def format(self, record: logging.LogRecord) -> str:
        """Return the line of a record, and a traceback below it."""
        level = self._in(_COLOURS.get(record.levelno, ""), record.levelname.lower().ljust(9))
        event = self._in(_BOLD, _printable(_event(record)).ljust(_EVENT_WIDTH))
        words = [self._in(_DIM, _time(record)), f"[{level}]", event, f"[{record.name}]"]
        words += [f"{name}={_shown(value)}" for name, value in _fields(record).items()]
        lines = [" ".join(words)]
        if record.exc_info:
            lines.append(self.formatException(record.exc_info))
        if record.stack_info:
            lines.append(record.stack_info)
        return "\n".join(lines)

    def _in(self, colour: str, text: str) -> str:
        return f"{colour}{text}{_RESET}" if self._has_colours else text


def is_text(settings: LogSettings) -> bool:
    """Whether logs are for a person who reads along; else each is a line of JSON."""
    return settings.log_format == "text" or (settings.log_format == "auto" and sys.stderr.isatty())


def configure_logging(settings: LogSettings) -> None:
    """Send all logs, ours and the libraries', to stderr: JSON lines, or text on a terminal."""
    level = logging.getLevelNamesMapping()[settings.log_level.upper()]
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        TextLines(has_colours=sys.stderr.isatty()) if is_text(settings) else JsonLines()
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(max(level, logging.INFO))
    for name in ("sluice", "gateway", "worker"):
        logging.getLogger(name).setLevel(level)


def _fields(record: logging.LogRecord) -> dict[str, object]:
    others = {name: value for name, value in vars(record).items() if name not in _STANDARD}
    ours: dict[str, object] = others.pop(_OURS, {})
    return others | ours


def _time(record: logging.LogRecord) -> str:
    return f"{datetime.fromtimestamp(record.created, UTC):%Y-%m-%dT%H:%M:%S.%fZ}"


def _event(record: logging.LogRecord) -> str:
    """Return what a record says, also where a library's words do not fit their places."""
    try:
        return record.getMessage()
    except Exception:  # noqa: BLE001 - whatever the words do
        return f"{_told(record.msg)} {_told(record.args)}"


def _encoded(value: object) -> bytes:
    return msgspec.json.encode(value, enc_hook=repr)


def _sayable(value: object) -> object:
    """Return a value as it is where JSON can say it, else in words."""
    try:
        return msgspec.Raw(_encoded(value))
    except Exception:  # noqa: BLE001 - whatever the value does
        return _printable(_told(value))


def _told(value: object) -> str:
    """Return a value in words; of what fails to give any, the type."""
    try:
        return str(value)
    except Exception:  # noqa: BLE001 - whatever the value does
        return f"<{type(value).__name__}>"


def _printable(text: str) -> str:
    return text if text.isprintable() else repr(text)[1:-1]


def _shown(value: object) -> str:
    """Return a value as one word: as it is where that is plain, else quoted."""
    text = _told(value)
    is_plain = bool(text) and text.isprintable() and not set(text) & set(" \"'=")
    return text if is_plain else repr(text)
