"""The examples stop as services are stopped: SIGTERM ends them in good order, with the conventional status."""

import signal

import pytest

from tests.examples.started import RUNNING, read_until, start


@pytest.mark.parametrize(("example", "arguments", "sign"), RUNNING.values(), ids=RUNNING)
def test_sigterm(example: str, arguments: tuple[object, ...], sign: str, url: str) -> None:
    """Without a traceback, and with no process left behind, for which the fixture looks."""
    with start(example, url, *arguments) as process:
        output = read_until(process, sign)
        process.send_signal(signal.SIGTERM)
        rest, _ = process.communicate(timeout=20)
    assert process.returncode in (143, 0)  # 0: it was about to end
    assert "Traceback" not in output + rest
