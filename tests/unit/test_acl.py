"""For whom nodes are: what may be said, and what is said of what may not."""

from collections.abc import Callable
from typing import Any, cast

import pytest

from aiopartition import Acl, ConfigurationError, PartitionCoordinator
from aiopartition.acl import ALL, Grant, Permission


def test_digest_id_is_zookeepers() -> None:
    """From ZooKeeper's own documentation of the super user."""
    assert Acl.digest_id("super", "admin") == "digest:super:xQJmxLMiHGwaqBvst5y6rkB6HQs="


def test_roles() -> None:
    """Members get everything, readers look. Lists are taken as well, and become tuples."""
    acl = Acl(cast("Any", ["sasl:a@B", "x509:CN=a,O=b"]), ("ip:10.0.0.0/8", "ip:::1", "world:anyone"))
    assert acl == Acl(("sasl:a@B", "x509:CN=a,O=b"), ("ip:10.0.0.0/8", "ip:::1", "world:anyone"))
    assert len({acl, Acl(acl.members, acl.readers)}) == 1
    assert acl.grants[0] == Grant("sasl:a@B", ALL)
    assert acl.grants[-1] == Grant("world:anyone", Permission.READ)


def test_hashes_are_not_shown() -> None:
    """From one that stands in a log, a weak password can be guessed."""
    identity = Acl.digest_id("user", "password")
    acl = Acl((identity,), ("sasl:reader",))
    assert repr(acl) == "Acl(members=('digest:user',), readers=('sasl:reader',))"
    with pytest.raises(ConfigurationError) as refused:
        Acl((identity,), (identity,))
    assert str(refused.value) == "acl: has 'digest:user' twice; members may read anyway"


@pytest.mark.parametrize(
    ("make", "part", "reason"),
    [
        (lambda: Acl(cast("Any", "sasl:a")), "acl members", "must be a tuple of ids, not str"),
        (lambda: Acl(cast("Any", None)), "acl members", "must be a tuple of ids, not NoneType"),
        (lambda: Acl(("sasl:a",), cast("Any", "sasl:b")), "acl readers", "must be a tuple of ids, not str"),
        (lambda: Acl(()), "acl members", "must not be empty: nobody could take part"),
        (lambda: Acl(cast("Any", (5,))), "acl members", "must have ids as str, not int"),
        (lambda: Acl(("digest:user:password",)), "acl members", "is not a user and the hash that Acl.digest_id"),
        (lambda: Acl(("digest:user",)), "acl members", "digest that is not a user and the hash"),
        (lambda: Acl(("user:secret",)), "acl members", "does not begin with digest:, sasl:, x509:, ip: or world:"),
        (lambda: Acl(("auth:",)), "acl members", "does not begin with"),
        (lambda: Acl(("super:",)), "acl members", "does not begin with"),
        (lambda: Acl(("sasl:",)), "acl members", "names nobody"),
        (lambda: Acl(("x509:poller",)), "acl members", "is not a subject like CN=poller,O=example: 'poller'"),
        (lambda: Acl(("ip:10.0.0.0/255.0.0.0",)), "acl members", "neither an address nor a network like 10.0.0.0/8"),
        (lambda: Acl(("ip:host",)), "acl members", "neither an address nor a network"),
        (lambda: Acl(("world:all",)), "acl members", "is not world:anyone"),
        (lambda: Acl.digest_id("", "p"), "auth", "must not be empty"),
        (lambda: PartitionCoordinator(acl=cast("Any", "world:anyone")), "acl", "must be an Acl, not str"),
        (lambda: PartitionCoordinator(strict_acl=cast("Any", 1)), "strict_acl", "must be a bool, not 1"),
        (lambda: PartitionCoordinator("zookeeper://h", strict_acl=True), "strict_acl", "needs auth, acl or a client"),
        (lambda: PartitionCoordinator("memory://", strict_acl=True), "strict_acl", "memory:// has no connection"),
        (lambda: PartitionCoordinator("memory://", acl=Acl(("world:anyone",))), "acl", "memory:// has no connection"),
    ],
)  # fmt: skip
def test_what_is_refused(make: Callable[[], object], part: str, reason: str) -> None:
    """By name, with the reason; what may be a password is not quoted."""
    with pytest.raises(ConfigurationError) as refused:
        make()
    assert refused.value.part == part
    assert reason in refused.value.reason
    assert "password" not in str(refused.value).replace("(user, password)", "")
    assert "secret" not in str(refused.value)


def test_strict_acl_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """A word that says neither is refused by the name of its variable."""
    monkeypatch.setenv("P_BACKEND_URL", "zookeeper://h")
    monkeypatch.setenv("P_AUTH", "user:password")
    for text, strict in (("true", True), ("false", False)):
        monkeypatch.setenv("P_STRICT_ACL", text)
        assert PartitionCoordinator.from_env("P_")._runner.settings.strict_acl is strict
    monkeypatch.setenv("P_STRICT_ACL", "yes")
    with pytest.raises(ConfigurationError, match="P_STRICT_ACL: must be true or false, not 'yes'"):
        PartitionCoordinator.from_env("P_")
