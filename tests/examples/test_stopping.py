"""The examples stop as services are stopped: SIGTERM ends them in good order, with the conventional status."""

from __future__ import annotations

import signal

import pytest

from tests.examples.started import read_until, start


@pytest.mark.parametrize(
    ("example", "arguments", "sign"),
    [
        ("quickstart", (), "alice"),
        ("polling", (), "cycle 1"),
        ("watching", (), "cache-2"),
        ("connections", ("--pause", 30), "agent-1 has"),
        ("fencing", (), "alice: ownership"),
        ("fleet", ("--files", 200, "--seconds", 30), "files held"),
    ],
    ids=["quickstart", "polling", "watching", "connections", "fencing", "fleet"],
)
def test_sigterm(example: str, arguments: tuple[object, ...], sign: str, url: str) -> None:
    """Without a traceback, and with no process left behind, for which the fixture looks."""
    with start(example, url, *arguments) as process:
        output = read_until(process, sign)
        process.send_signal(signal.SIGTERM)
        rest, _ = process.communicate(timeout=20)
    assert process.returncode in (143, 0)  # 0: it was about to end
    assert "Traceback" not in output + rest
