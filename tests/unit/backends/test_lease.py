"""What answers prove about a session, and what a handshake takes back."""

import pytest

from aiopartition.backends.lease import NO_LEASE, Lease


def test_counts_from_the_question() -> None:
    """For two thirds of the timeout it is safe, at the end of the timeout it is lost."""
    lease = Lease.starting(10.0, 6.0)
    assert (lease.safe_until, lease.lost_at) == (14.0, 16.0)
    assert not lease.lapsed(13.9)
    assert lease.lapsed(14.0)


def test_one_that_never_began_has_not_lapsed() -> None:
    assert not NO_LEASE.lapsed(1e9)
    assert NO_LEASE.cut(4.0) == NO_LEASE


@pytest.mark.parametrize(("sent", "safe_until"), [(9.0, 14.0), (10.0, 14.0), (11.0, 15.0)])
def test_an_earlier_question_renews_nothing(sent: float, safe_until: float) -> None:
    assert Lease.starting(10.0, 6.0).renewed(sent, 6.0).safe_until == safe_until


@pytest.mark.parametrize(
    ("grants", "least"), [([3.0], 3.0), ([60.0], 6.0), ([4.5, 3.0], 3.0), ([3.0, 60.0], 3.0), ([60.0, 3.0, 6.0], 3.0)]
)
def test_handshakes_shorten_and_never_lengthen(grants: list[float], least: float) -> None:
    """Whatever is granted in whatever order: the least of it counts, from the same question."""
    lease = Lease.starting(10.0, 6.0)
    for granted in grants:
        lease = lease.cut(granted)
    assert lease == Lease.starting(10.0, least)
