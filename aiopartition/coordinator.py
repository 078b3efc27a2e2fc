"""The public object: one process's part in any number of groups."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Mapping
from ssl import SSLContext
from typing import Any, Self, Unpack

from aiopartition.acl import Acl
from aiopartition.checks import (
    require_id,
    require_min_members,
    require_settle,
    require_weight,
)
from aiopartition.credentials import Auth
from aiopartition.errors import ConfigurationError
from aiopartition.group.description import MemberInfo
from aiopartition.group.reweighing import reweigh
from aiopartition.group.status import GroupStatus
from aiopartition.group.terms import JoinOptions
from aiopartition.placement.policy import GroupPolicy, require_policy
from aiopartition.placement.view import Change, View
from aiopartition.secret import Secret, hidden
from aiopartition.settings import Arguments, OnUnknown, Settings, arguments_from_environment, hide
from aiopartition.share import Share
from aiopartition.tls import TlsFiles
from aiopartition.work.changes import follow_changes
from aiopartition.work.iteration import Iteration

__all__ = ["PartitionCoordinator"]


class PartitionCoordinator(Share):
    """Shares work among all coordinators that join the same group: each gets a disjoint subset.

    >>> async with PartitionCoordinator("zookeeper://zk1,zk2,zk3/pollers") as coordinator:
    ...     mine = await coordinator.extract_my_subset("switches", switches)

    It holds one session with the backend, for any number of groups. It keeps the memberships current in the background,
    so asking what is mine is a local calculation.

    Call its methods in the event loop in which it was started; elsewhere they raise :class:`NotStartedError` at once.
    From another thread or event loop, use :func:`asyncio.run_coroutine_threadsafe`. Only facts can be asked anywhere:
    :attr:`member_id`, :attr:`connected`, :attr:`session_timeout`, :attr:`groups`, :meth:`is_active`. In a process that
    is forked from this one, the coordinator does nothing; the child needs a coordinator of its own.

    :param backend_url: ``zookeeper://[user:password@]host[:port][,host[:port]…][/namespace][?option=value&…]``, with
        the options ``session_timeout``, ``connect_timeout`` and ``heartbeat``; ``memory://[name]`` for coordinators in
        this process; ``None``: partitioning is off, and everything is mine.
    :param member_id: at most 1,024 bytes. A process that restarts with the same id keeps its keys. Default: a new UUID.
    :param heartbeat: seconds between checks for lost notifications (default 1). A group that stays quiet is checked at
        every fourth heartbeat.
    :param session_timeout: seconds after which the backend gives up a silent member. A server may grant another.
        Default 10.
    :param connect_timeout: seconds that :meth:`start` waits for a first connection (default 10).
    :param on_unknown: while this member cannot prove what it owns, subsets are empty, with one warning an episode
        (``"empty"``), or calls raise :class:`OwnershipUnknownError` (``"raise"``).
    :param ssl: for TLS to every server: a context, or :class:`TlsFiles`. A URL with ``zookeeper+tls://`` has TLS too,
        with the options ``ca``, ``cert`` and ``key``, which name files (PEM); a file given here takes precedence.
    :param auth: user and password (ZooKeeper's digest scheme). New nodes then admit only this user.
    :param acl: who gets which rights to new nodes, see :class:`Acl`. Default: the user of ``auth``; without it, all.
    :param strict_acl: with ``auth``, ``acl`` or a client certificate: refuse to join a group whose nodes others may
        change (:class:`ForeignRightsError`), rather than warn of them. Default: false.
    :param metadata: free text for operators, stored with this member's entry; never used for placement.
    :raises ConfigurationError: for an invalid argument. No I/O is done here.
    """

    def __init__(
        self,
        backend_url: str | Secret[str] | None = None,
        *,
        member_id: str | None = None,
        heartbeat: float | None = None,
        session_timeout: float | None = None,
        connect_timeout: float | None = None,
        on_unknown: OnUnknown = "empty",
        ssl: SSLContext | TlsFiles | None = None,
        auth: Auth | Secret[Auth] | None = None,
        acl: Acl | None = None,
        strict_acl: bool = False,
        metadata: Mapping[str, str] | None = None,
    ) -> None:
        backend_url, auth = hidden(backend_url), hidden(auth)
        super().__init__(
            Settings.resolve(
                backend_url,
                member_id=member_id,
                heartbeat=heartbeat,
                session_timeout=session_timeout,
                connect_timeout=connect_timeout,
                on_unknown=on_unknown,
                ssl=ssl,
                auth=auth,
                acl=acl,
                strict_acl=strict_acl,
                metadata=metadata,
            )
        )

    @classmethod
    def from_env(cls, prefix: str = "AIOPARTITION_", **overrides: Unpack[Arguments]) -> Self:
        """Return a coordinator that environment variables configure: ``<prefix>BACKEND_URL``, ``<prefix>MEMBER_ID``,
        ``<prefix>HEARTBEAT``, ``<prefix>SESSION_TIMEOUT``, ``<prefix>CONNECT_TIMEOUT``, ``<prefix>ON_UNKNOWN``,
        ``<prefix>AUTH`` (``user:password``), ``<prefix>AUTH_SCHEME`` (``digest``, ``sasl`` or ``kerberos``),
        ``<prefix>STRICT_ACL`` (``true`` or ``false``), and for TLS the files ``<prefix>TLS_CA``, ``<prefix>TLS_CERT``
        and ``<prefix>TLS_KEY``.

        A variable that is unset or empty means the default. ``overrides`` are arguments of the class and take
        precedence.

        :param prefix: belongs to this library: another variable that begins with it is an error, so that a misspelled
            one does no harm. With ``""`` others are not looked at.
        :raises ConfigurationError: naming the variable or argument.
        """
        hide(overrides)
        arguments: dict[str, Any] = {**arguments_from_environment(prefix, os.environ), **overrides}
        return cls(**arguments)

    # ---- groups

    async def join_group(
        self,
        group_id: str,
        *,
        weight: int = 1,
        policy: GroupPolicy | None = None,
        min_members: int = 1,
        settle: float = 0.05,
    ) -> None:
        """Join a group, which is created if necessary. Returns when there is a first view; in an exclusive group, when
        the first handoff is complete, or after ``connect_timeout`` seconds.

        Joining again with the same arguments does nothing. If :meth:`set_weight` was called since, the same ``weight``
        is the one that it set. Without a connection, or if a lost connection does not come back within
        ``connect_timeout`` seconds, this returns as :meth:`start` does: joining goes on in the background, and
        ownership is unknown until it has succeeded. After an expired session the group is joined again in the same
        way. If cancelled, this only stops waiting; :meth:`leave_group` undoes the joining.

        :param weight: how many shares of the work this member takes, 0 to 1,000. With 0 it is a standby: a member that
            owns nothing.
        :param policy: how keys are placed. Default: the policy that the group has, or the default policy in a new
            group. Until there is a connection that policy is not known, and nothing is mine. Once known, it stays the
            same until the group is left, even if somebody deletes the group and creates it again.
        :param min_members: while fewer members are present, at the start or later, ownership is unknown to this one.
        :param settle: seconds to wait after a change of the membership before acting on it, so that keys move once when
            many members start or stop together.
        :raises PolicyMismatchError: if ``policy`` is given and the group has another, or if the group has a policy that
            this version of the library does not know.
        :raises AuthenticationError: if a right is missing; it names the node and the right.
        :raises ForeignRightsError: if others may change the group's nodes, and this member has ``strict_acl``.
        :raises MemberSupersededError: if this member was superseded. It remains so until the other process's entry has
            gone, or it leaves the group.
        :raises ConfigurationError: for an invalid argument, or one that differs from the first call; the policy need
            not be repeated.
        """
        self._runner.require_started("join_group")
        group_id = require_id("group_id", group_id)
        options = JoinOptions(
            require_weight(weight),
            require_policy(policy),
            # While partitioning is off, no other member will ever come.
            require_min_members(min_members) if self.is_active() else 1,
            require_settle(settle),
        )
        await self._registry.join(group_id, options)

    async def observe(self, group_id: str) -> None:
        """Look at a group without taking part in it. No member notices, and only rights to read are needed.

        From now on :meth:`view`, :meth:`get_members`, :meth:`changes`, :meth:`status` and :meth:`describe_member`
        answer for this group, according to its own policy. Nothing in it is mine, whatever the ``member_id``:
        :meth:`extract_my_subset` returns nothing, :meth:`my_subset` ends at once, :meth:`run` and :meth:`hold` raise
        :class:`ConfigurationError`. A group that does not exist, or has no members, is unknown until somebody joins
        it, which the next heartbeat notices. :meth:`leave_group` ends the observation; until then the group cannot be
        joined. Observing again does nothing.

        Returns after a first look, or as :meth:`join_group` does without a connection. If the group cannot be read,
        that is not an error here: :meth:`status` says so, :meth:`view` raises it, and each heartbeat tries again. If
        cancelled, this only stops waiting.

        :raises ConfigurationError: if the group is joined, or partitioning is off, so that there are no groups.
        """
        self._runner.require_started("observe")
        group_id = require_id("group_id", group_id)
        if not self.is_active():
            raise ConfigurationError("backend_url", "None: partitioning is off, so there are no groups to observe")
        await self._registry.observe(group_id)

    async def set_weight(self, group_id: str, weight: int) -> None:
        """Change this member's weight in a joined group, with one change of the membership for everybody.

        With 0 the member is drained: it stays a member that all see, and owns nothing. The weight is kept until the
        group is left, even after an expired session; it replaces the one that :meth:`join_group` was called with.
        Setting the same weight again does nothing. Of several calls at once the last one counts.

        Returns when this member's view has the new weight; in an exclusive group, when the handoff is complete, for
        which work in flight that is lost ends as at any other change. If called from within such work, it does not wait
        for the handoff. After ``connect_timeout`` seconds, or without a connection, it returns as :meth:`join_group`
        does, and goes on in the background. If cancelled, it only stops waiting; a call with the old weight undoes it.

        :param weight: how many shares of the work this member takes, 0 to 1,000.
        :raises ConfigurationError: for an invalid weight, or for a group that is not joined, or only observed.
        :raises AuthenticationError: if this client may not create or delete its own entry. The weight stays as it was.
        :raises SessionFullError: if there is no room for another entry. The weight stays as it was.
        :raises PartitionError: as :meth:`join_group` does, if this member cannot take part now. The weight changes once
            it can.
        """
        self._runner.require_started("set_weight")
        await reweigh(self._registry, require_id("group_id", group_id), require_weight(weight))

    async def leave_group(self, group_id: str) -> None:
        """Leave a group. From the call on, this member owns nothing in it. Does nothing if the group is not joined.

        If the group is observed, the observation ends.

        Waits up to a second until other members can know; in an exclusive group, also until the work in flight has
        ended, for as long as its ``drain_timeout`` allows. If the backend does not answer, it is told once it does. If
        cancelled, this only stops waiting.

        :raises AuthenticationError: if this client may not delete its own entry; :meth:`stop` deletes it anyway.
        """
        self._runner.require_started("leave_group")
        require_id("group_id", group_id)
        await self._registry.leave_and_wait(group_id)

    async def heartbeat(self) -> None:
        """Check now whether a notification was lost. A background task does so every ``heartbeat`` seconds, and
        less often for a group that stays quiet.

        Safe to cancel.

        :raises BackendUnavailableError: if the backend does not answer.
        """
        self._runner.require_started("heartbeat")
        await self._registry.heartbeat()

    async def view(self, group_id: str) -> View:
        """Return the current view of a group, which is joined if necessary, unless it is observed. Safe to cancel.

        :raises OwnershipUnknownError: if ownership is unknown now, whatever ``on_unknown`` says.
        """
        self._runner.require_started("view")
        return self._registry.certain_view(await self._registry.follow(group_id))

    async def get_members(self, group_id: str) -> tuple[str, ...]:
        """Return the sorted ids of the members in the current view. In all else it is like :meth:`view`."""
        self._runner.require_started("get_members")
        return tuple(member.id for member in (await self.view(group_id)).members)

    async def describe_member(self, group_id: str, member_id: str) -> MemberInfo:
        """Return what a member of a group says about itself: its ``metadata``, its host and process.

        It is read when it is first asked for, and kept while that member's entry exists. Do not trust it: whoever may
        write into the group may have written it, see :class:`MemberInfo`. The group is joined if necessary, unless it
        is observed. Safe to cancel.

        :raises ConfigurationError: if it is not a member now; an older view may still name it.
        :raises OwnershipUnknownError: as :meth:`view` does.
        :raises BackendError: if its entry cannot be read.
        """
        self._runner.require_started("describe_member")
        require_id("member_id", member_id)
        followed = await self._registry.follow(group_id)
        self._registry.certain_view(followed)  # raises if it is unknown who is a member
        return await followed.describe(member_id)

    def status(self, group_id: str) -> GroupStatus:
        """Return a snapshot of a joined or observed group for operators. It needs no network.

        :raises ConfigurationError: if the group is neither.
        """
        self._runner.require_started("status")
        return self._registry.known(group_id).status()

    def changes(self, group_id: str) -> AsyncGenerator[Change, None]:
        """Iterate over the changes of a group, which is joined if necessary. The first leads to the current view.

        While ownership is unknown, the change's ``view`` is ``None``. A slow consumer gets the newest state, and what
        has changed since the last one that it got, but never a backlog. Ends when the group is left or the coordinator
        stopped.

        :raises MemberSupersededError: if this member is superseded. The other errors of :meth:`join_group` are raised
            too.
        """
        self._runner.require_started("changes")
        return Iteration(self._runner.home, "changes", follow_changes(self._registry, require_id("group_id", group_id)))
