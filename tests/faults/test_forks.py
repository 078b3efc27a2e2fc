"""Nothing of a coordinator acts in a process that did not start it."""

from pathlib import Path

import pytest

from tests.support import ZooKeeperServer
from tests.support.forking import ENDS, EXIT_CODE, Outcome, fork
from tests.support.ports import free_port
from tests.support.tls import Certificates

WAYS_AND_ENDS = [
    *(("coroutine", end) for end in ENDS),
    ("callback", "exit"),
    *(("change", end) for end in ENDS),
    ("thread", "exit"),
    ("multiprocessing", "exit"),
    ("multiprocessing", "return"),
]


def expect_parent_lives_on(outcome: Outcome) -> None:
    """It takes part as before, in the same session on the same connection."""
    assert outcome.parent["whole"], outcome.log
    assert outcome.parent["same_session"], outcome.log
    assert outcome.parent["shared"], outcome.log
    assert "connection lost" not in outcome.log, outcome.log
    assert "resumed session" not in outcome.log, outcome.log


def expect_nothing_happened(outcome: Outcome, way: str, end: str) -> None:
    """The parent takes part as before, the child was refused everything, and said nothing of its own."""
    expect_parent_lives_on(outcome)
    if way != "thread":  # whose child ends with its thread
        assert outcome.parent["code"] == {"exit": EXIT_CODE, "return": 0}.get(end, outcome.parent["code"])
    found = outcome.child["found"]
    assert found.pop("stop") == "returned"
    assert "RuntimeError" in found.pop("start")
    for name, told in found.items():
        assert told.startswith(f"refused: {name.split()[0]}() "), (name, told)
        assert "parent process" in told
    assert not outcome.child["connected"]
    assert outcome.child["groups"] == []
    assert outcome.child["started"] == 0
    child = f"{outcome.child['pid']} "
    assert [line for line in outcome.log.splitlines() if line.startswith(child)] == []
    assert outcome.log.count("Traceback") == (1 if end == "error" else 0), outcome.log


@pytest.mark.parametrize(("way", "end"), WAYS_AND_ENDS)
async def test_a_child_leaves_the_session_alone(url: str, way: str, end: str) -> None:
    """However a child is forked and ends: the parent's session, entries and ownership survive it, and the parent
    still hears of the others."""
    expect_nothing_happened(await fork(url, way, end), way, end)


@pytest.mark.parametrize(("way", "end"), WAYS_AND_ENDS)
async def test_a_child_leaves_a_memory_cluster_alone(anyio_backend: str, way: str, end: str) -> None:
    """Likewise without a server."""
    expect_nothing_happened(await fork("memory://forked", way, end), way, end)


@pytest.mark.parametrize("way", ["coroutine", "multiprocessing"])
async def test_a_child_may_have_one_of_its_own(url: str, way: str) -> None:
    """A coordinator that the child starts is another member."""
    outcome = await fork(url, way, "exit", "--own")
    assert outcome.child["own"] == ["child", "parent"]
    assert outcome.parent["same_session"]
    assert outcome.parent["shared"]


async def test_a_child_has_a_memory_cluster_of_its_own(anyio_backend: str) -> None:
    """In which the parent's members are not."""
    outcome = await fork("memory://forked", "coroutine", "exit", "--own")
    assert outcome.child["own"] == ["child"]
    assert outcome.parent["whole"]
    assert outcome.parent["shared"]


@pytest.mark.parametrize("end", ENDS)
async def test_on_uvloop(url: str, end: str) -> None:
    """Which has its own transports. Its child dies of uvloop itself, whose loops do not survive a fork."""
    expect_parent_lives_on(await fork(url, "coroutine", end, "--uvloop"))


async def test_a_child_at_work_for_longer_than_the_session(url: str) -> None:
    """All that is due in the event loop that it inherited comes due at once."""
    outcome = await fork(url, "coroutine", "return", "--busy", "0.9")
    expect_nothing_happened(outcome, "coroutine", "return")


@pytest.mark.parametrize("end", ENDS)
async def test_a_child_leaves_a_tls_session_alone(anyio_backend: str, tmp_path: Path, namespace: str, end: str) -> None:
    """Nor does TLS say good-bye for the parent."""
    certificates, port = Certificates(tmp_path), free_port()
    authority, certificate = tmp_path / "authority.pem", tmp_path / "client.pem"
    certificates.authority.cert_pem.write_to_path(str(authority))
    certificates.authority.issue_cert("client").private_key_and_cert_chain_pem.write_to_path(str(certificate))
    async with ZooKeeperServer(settings=certificates.server_settings(port, client_certificate=True)):
        outcome = await fork(
            f"zookeeper://localhost:{port}{namespace}",
            *("coroutine", end, "--authority", str(authority), "--certificate", str(certificate)),
        )
    expect_nothing_happened(outcome, "coroutine", end)
