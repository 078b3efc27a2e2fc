"""A server that does not let a member change its entry."""

import pytest

from aiopartition import AuthenticationError
from tests.faults.rights import AGENT, SUPER_USER, url_of
from tests.support import ZooKeeperServer
from tests.support.admin import Operator, rights
from tests.support.fleet import GROUP, Fleet


@pytest.mark.parametrize("left", ["cr", "rd", "r"])
async def test_the_weight_stays(
    fleet: Fleet, guarded_server: ZooKeeperServer, administrator: Operator, namespace: str, left: str
) -> None:
    """Who may not make or delete its own entry is told so, and keeps what it has. With the rights it works."""
    await administrator.create(namespace, acl=[rights(SUPER_USER, "crwda")])
    await administrator.create(f"{namespace}/groups", acl=[rights(AGENT, "c")])
    url = url_of(guarded_server, f"{namespace}/groups")
    members = f"{namespace}/groups/{GROUP}/members"
    member = await fleet.start(url, "a", auth=AGENT)
    await fleet.start(url, "b", auth=AGENT)
    await fleet.settle()
    await administrator.set_acl(members, [rights(AGENT, left)])
    with pytest.raises(AuthenticationError) as refused:
        await member.set_weight(GROUP, 5)
    assert (refused.value.path, refused.value.permission) == (members, "CREATE or DELETE")
    await member.heartbeat()
    assert member.status(GROUP).state == "steady"
    assert [each.weight for each in (await member.view(GROUP)).members] == [1, 1]
    await administrator.set_acl(members, [rights(AGENT, "crd")])
    await member.set_weight(GROUP, 5)
    assert [each.weight for each in (await member.view(GROUP)).members] == [5, 1]
