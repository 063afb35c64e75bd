"""Logs: one line per decision, key=value, to the process's error output, which Ray keeps in its log files."""

from __future__ import annotations

import sys

import structlog


def log_to_stderr() -> None:
    """Set up logging for this whole process; called once, by the actor that owns it."""
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.KeyValueRenderer(key_order=["timestamp", "level", "event"]),
        ],
        logger_factory=structlog.PrintLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=True,
    )
