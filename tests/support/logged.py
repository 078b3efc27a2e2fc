"""What was logged during a test."""

import logging

import pytest


def logged(caplog: pytest.LogCaptureFixture, part: str = "", *, level: int = logging.WARNING) -> list[str]:
    """The messages of this level and above in which ``part`` stands."""
    messages = [record.getMessage() for record in caplog.records if record.levelno >= level]
    return [message for message in messages if part in message]
