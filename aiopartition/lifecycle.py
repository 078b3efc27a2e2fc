"""A coordinator from start to stop, and the facts about it."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from aiopartition.runner import Runner
from aiopartition.settings import Settings

__all__ = ["Lifecycle"]


class Lifecycle:
    """The part of a coordinator that does not depend on groups: it is started once, stopped once, connected or not."""

    def __init__(self, settings: Settings) -> None:
        self._runner = Runner(settings)
        self._registry = self._runner.registry

    async def start(self) -> None:
        """Connect, and start the background tasks.

        Returns when connected. If no server answers within ``connect_timeout`` seconds, it logs one error and returns
        anyway: once the backend is up, everything goes on by itself.

        If cancelled, it stops the coordinator cleanly, in about a second at most.

        :raises AuthenticationError: if every server that can be reached refuses this client.
        :raises NotStartedError: if :meth:`stop` is called meanwhile.
        :raises RuntimeError: if called twice, or after :meth:`stop`.
        """
        await self._runner.start()

    async def stop(self, *, hand_over: bool = True) -> None:
        """Leave every group, end the session and all tasks. From the call on, this member owns nothing.

        Other members learn of it at once; in exclusive groups, once the work in flight has ended: workers of
        :meth:`run` are cancelled; items of :meth:`my_subset` and bodies of :meth:`hold` are waited for, up to 30 s or
        their ``drain_timeout``. The rest takes about a second at most. If the backend does not answer, the session ends
        with its timeout. This may be called at any time and any number of times; a stopped coordinator stays stopped.
        If cancelled, it only stops waiting. In a forked process it does nothing.

        :param hand_over: with ``False`` the session is left open, and ends with its timeout. If a process starts under
            the same ``member_id`` before that, it has the same keys, and no key moves; until then nobody has them. In
            exclusive groups work has ended too, but the new process begins only when the old session has timed out,
            because nobody can tell that the old process will not come back. Of several calls the first counts.
        :raises NotStartedError: in another event loop than the one in which the coordinator runs.
        """
        await self._runner.stop(hand_over=hand_over)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.stop()

    # ---- facts

    def is_active(self) -> bool:
        """Whether a backend is configured; if not, everything is mine."""
        return self._runner.settings.url is not None

    @property
    def connected(self) -> bool:
        """Whether the session is connected at this moment."""
        return self._registry.backend.connected

    @property
    def member_id(self) -> str:
        """The id of this member in all its groups."""
        return self._runner.settings.member_id

    @property
    def session_timeout(self) -> float:
        """Seconds after which the backend gives this member up, as negotiated with the server."""
        return self._registry.backend.session_timeout

    @property
    def groups(self) -> tuple[str, ...]:
        """The ids of the joined groups, sorted."""
        return tuple(sorted(self._registry.memberships))

    def __repr__(self) -> str:
        if not hasattr(self, "_runner"):  # shown in a traceback through the constructor
            return f"<{type(self).__name__} whose arguments were refused>"
        backend = "no backend" if self._runner.settings.url is None else str(self._runner.settings.url)
        return f"<{type(self).__name__} {self.member_id!r} at {backend}, {self._runner.state.value}>"
