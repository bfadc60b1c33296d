"""How logs look: one event a line on stderr; JSON unless a person is watching. The libraries' own logs go the same way."""

import io
import logging
import re
import sys
import time

import structlog

SELDOM_S = 10.0
MOST_TEXTS = 1_000
_VARIES = re.compile(r"#(?:consumer|producer)-\d+|\b\d+ ?ms\b|, \d+ identical error\(s\) suppressed")


class _Stderr(io.StringIO):
    """sys.stderr of the moment: loggers outlive whoever replaces it for a while, as tests do."""

    def write(self, text: str) -> int:
        return sys.stderr.write(text)

    def flush(self) -> None:
        sys.stderr.flush()


class Seldom(logging.Filter):
    """Lets a text through every `SELDOM_S` seconds, with the number of those that were held back before.

    While no broker is there librdkafka says so some hundred times a second, for each of its clients. What is critical is never held back.
    """

    def __init__(self) -> None:
        super().__init__()
        self._said: dict[str, tuple[float, int]] = {}  # when last, and how often not since

    def filter(self, record: logging.LogRecord) -> bool:
        if record.levelno >= logging.CRITICAL:
            return True
        text, now = _VARIES.sub("", record.getMessage()), time.monotonic()
        at, held = self._said.get(text, (-SELDOM_S, 0))
        if now - at < SELDOM_S:
            self._said[text] = at, held + 1
            return False
        if len(self._said) >= MOST_TEXTS:
            self._said.clear()
        self._said[text] = now, 0
        if held:
            record.msg, record.args = f"{record.getMessage()} ({held} more like it since the last one)", ()
        return True


def configure(*, level: str = "info") -> None:
    """Sets up structlog and the standard logging beneath Faust, aiokafka and librdkafka."""
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    person = sys.stderr.isatty()
    last: list[structlog.typing.Processor] = (
        [structlog.dev.ConsoleRenderer()]
        if person
        else [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    )
    number = logging.getLevelNamesMapping()[level.upper()]
    structlog.configure(
        processors=[*shared, *last],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        # a line is one write: threads and librdkafka log side by side
        logger_factory=structlog.WriteLoggerFactory(_Stderr()),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(_Stderr())
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
        )
    )
    library = logging.getLogger("librdkafka")
    library.filters[:] = [Seldom()]
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(max(number, logging.WARNING))
