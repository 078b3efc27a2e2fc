"""From a group's id to what holds in it: joined at need, and what is answered while that is unknown."""

from __future__ import annotations

from dataclasses import fields
from typing import TypeVar

import anyio

from aiopartition.checks import require_id
from aiopartition.errors import ConfigurationError, MemberSupersededError, PolicyMismatchError
from aiopartition.group.membership import Membership
from aiopartition.group.terms import Terms
from aiopartition.placement.view import View
from aiopartition.runner import Runner

__all__ = ["Participation"]

T = TypeVar("T")


class Participation:
    """What all calls of a coordinator go by."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner

    async def membership(self, group_id: str) -> Membership:
        """The membership in a group, joined by the defaults if need be.

        :raises PartitionError: when this member cannot take part.
        """
        membership = self._runner.memberships.get(group_id)
        if membership is not None and membership.settled and membership.error is None:
            return membership  # the common case, without a suspension
        require_id("group_id", group_id)
        return await self.take_part(group_id, None)

    async def take_part(self, group_id: str, terms: Terms | None) -> Membership:
        """The membership in a group, joined on ``terms`` (``None``: the defaults, if it is not joined yet)."""
        membership = self._runner.memberships.get(group_id)
        if membership is None:
            self._runner.require_started("join_group")  # an iterator may outlive what it was made of
            membership = self._runner.join(group_id, terms or Terms())
        elif terms is not None:
            _require_same(group_id, membership.terms, terms)
        hopeful = self._runner.backend.connected  # then a connection that is lost meanwhile may well come back in time
        with anyio.move_on_after(self._runner.settings.connect_timeout):
            while hopeful:
                changed = membership.changed
                if membership.settled:
                    break
                await changed.wait()
        error = membership.error
        if error is not None:
            final = membership.established or isinstance(error, MemberSupersededError)
            if not final and self._runner.memberships.get(group_id) is membership:
                self._runner.leave(group_id)  # it never began: the next call tries again from the start
            raise error
        return membership

    def certain_view(self, membership: Membership) -> View:
        """The view that holds now.

        :raises OwnershipUnknownError: if there is none.
        """
        view = membership.view
        if view is None:
            raise membership.unknown()
        return view

    def known_view(self, membership: Membership) -> View | None:
        """The view that holds now. ``None``, or an error, as ``on_unknown`` says, if there is none."""
        view = membership.view
        if view is not None:
            return view
        if membership.error is not None:
            raise membership.error
        return self.give_up(membership, None)

    def give_up(self, membership: Membership, nothing: T) -> T:
        """``nothing``, with one warning an episode; or an error, as ``on_unknown`` says."""
        if self._runner.settings.on_unknown == "raise":
            raise membership.unknown()
        if not membership.left:
            membership.warn_once()
        return nothing


def _require_same(group_id: str, joined: Terms, asked: Terms) -> None:
    """:raises ConfigurationError: naming what differs from the terms on which the group was joined."""
    if joined.policy != asked.policy:
        raise PolicyMismatchError(group_id, joined.policy.differences(asked.policy))
    for field in fields(Terms):
        there, here = getattr(joined, field.name), getattr(asked, field.name)
        if there != here:
            raise ConfigurationError(
                field.name, f"group {group_id!r} was joined with {there!r}, not {here!r}; leave it first to change that"
            )
