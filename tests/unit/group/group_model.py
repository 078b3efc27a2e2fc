"""A small model of a coordination service, and of the members that take part in a group on it."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias, cast

from aiopartition.backends.base import Entries, Owner
from aiopartition.errors import BackendError, BackendUnavailableError, MemberSupersededError, PartitionError
from aiopartition.group.document import check_document
from aiopartition.group.requests import Requests
from aiopartition.group.state import Group
from aiopartition.group.step import Step
from aiopartition.placement.assign import build
from aiopartition.placement.policy import GroupPolicy
from aiopartition.placement.table import Table

IDS: Final = ("x", "x", "y", "z")
MOST_STEPS_TO_REST: Final = 60
"""Far more than any way from any state to the next rest takes."""


class LostError(BackendUnavailableError):
    """The connection broke."""

    def __init__(self) -> None:
        super().__init__("the connection broke")


@dataclass(frozen=True)
class Request:
    """What an actor asks of the service."""

    kind: str
    argument: Any = ""
    watch: bool = False
    latest: bool = False


PAUSE: Final = Request("pause")
"""Not a request: other tasks have their turn."""


Actions: TypeAlias = Generator[Request, Any, None]


class Asked:
    """What the library's own coroutines await in the model: the request comes out, and the answer goes in."""

    def __init__(self, request: Request) -> None:
        self._request = request

    def __await__(self) -> Generator[Request, Any, Any]:
        return (yield self._request)


class ModelBackend:
    """The requests of the library as those of the model."""

    def __init__(self, actor: Actor) -> None:
        self._actor = actor

    async def ensure_group(self, _: str, document: bytes) -> bytes:
        return cast("bytes", await Asked(Request("ensure", document.decode())))

    async def check_rights(self, _: str) -> None:
        pass  # nobody else has any

    async def read(self, _: str, *, watch: bool, latest: bool) -> Entries | None:
        return cast("Entries | None", await Asked(Request("read", watch=watch, latest=latest)))

    async def generation(self, _: str) -> int | None:
        return cast("int | None", await Asked(Request("generation")))

    async def enter(self, _: str, name: str, _data: bytes, *, marks: bool) -> bool:
        return cast("bool", await Asked(Request("enter", name)))

    async def replace(self, _: str, old: str, new: str, _data: bytes, *, marks: bool) -> bool:
        return cast("bool", await Asked(Request("replace", (old, new))))

    async def withdraw(self, _: str, name: str) -> None:
        await Asked(Request("withdraw", name))

    async def owner(self, _: str, name: str) -> Owner | None:
        return cast("Owner | None", await Asked(Request("owner", name)))


class ModelTables:
    """Builds tables at once, after others have had their turn."""

    def __init__(self, build_table: Callable[[dict[str, int], GroupPolicy], Table]) -> None:
        self._build = build_table

    async def table_of(self, members: dict[str, int], policy: GroupPolicy, wanted: Callable[[], bool]) -> Table | None:
        await Asked(PAUSE)
        return self._build(members, policy) if wanted() else None


class Service:
    """One group in a coordination service: its document, its entries, and the sessions that hold them."""

    def __init__(self) -> None:
        self.transaction = 0
        self.generation = 0
        self.document: bytes | None = None
        self.entries: dict[str, int] | None = None  # name -> session
        self.history: dict[int, frozenset[str]] = {}  # generation -> names
        self.sessions: set[int] = set()
        self.watchers: set[Actor] = set()
        self._numbers = itertools.count(1)

    def open(self) -> int:
        session = next(self._numbers)
        self.sessions.add(session)
        return session

    def end(self, session: int) -> None:
        self.sessions.discard(session)
        self.delete([name for name, owner in (self.entries or {}).items() if owner == session])

    def delete(self, names: list[str]) -> None:
        if names and self.entries is not None:
            for name in names:
                del self.entries[name]
            self._changed()

    def delete_group(self) -> None:
        if self.entries is not None:
            self.document, self.entries = None, None
            self.transaction += 1
            self._tell()

    def perform(self, request: Request, actor: Actor) -> object:
        """Carry out a request of ``actor``."""
        if request.kind == "ensure":
            self.document = self.document or request.argument.encode()
            return self.document
        if request.kind == "enter":
            return self._enter(request.argument, actor.session)
        if request.kind == "replace":
            old, new = request.argument
            return self._replace(old, new, actor.session)
        if request.kind == "withdraw":
            self.delete([name for name in (self.entries or {}) if name == request.argument])
            return None
        if request.kind == "generation":
            return None if self.entries is None else self.generation
        if request.kind == "owner":
            owner = (self.entries or {}).get(request.argument)
            return None if owner is None else Owner.US if owner == actor.session else Owner.ANOTHER
        assert request.kind == "read"
        if request.watch and self.entries is not None:
            self.watchers.add(actor)
        return None if self.entries is None else Entries(self.generation, frozenset(self.entries))

    def _enter(self, name: str, session: int) -> bool:
        if self.document is None:
            return False
        if self.entries is None:
            self.entries = {}
            self._changed()
        if name not in self.entries:
            self.entries[name] = session
            self._changed()
        if self.entries[name] != session:
            raise BackendError("the node belongs to another session")
        return True

    def _replace(self, old: str, new: str, session: int) -> bool:
        entries = self.entries or {}
        if old in entries and new not in entries:
            del entries[old]
            entries[new] = session
            self._changed()
        return entries.get(new) == session

    def _changed(self) -> None:
        self.transaction += 1
        self.generation = self.transaction
        self.history[self.generation] = frozenset(self.entries or ())
        self._tell()

    def _tell(self) -> None:
        for watcher in self.watchers:
            watcher.news += 1
        self.watchers.clear()


@dataclass(eq=False)
class Actor:
    """One process's participation, with its session and the one task that tends to the group."""

    service: Service
    group: Group
    session: int
    connected: bool = True
    holding: bool = True  # the lease
    gone: bool = False  # crashed
    finished: bool = False
    news: int = 0  # watch events on their way
    pending: Request = PAUSE
    answer: list[object] = field(default_factory=list)  # of the pending request, on its way: at most one
    answer_generation: float = 0  # of the service when it gave that answer
    floor: float = 0  # no view of before that may be used any more; infinite from a lapse to the next look
    told: int = 0  # the newest generation that the server has told of, or one as new as that
    entered_at: int = 0  # the generation that made our entry a member
    newest: int = 0  # of the views that it has had in this session
    interruptions: int = 0  # since the last read
    had_view: bool = False  # and nothing has happened since that could take it away
    lapses: int = 0
    steps: int = 0  # without resting

    def __post_init__(self) -> None:
        self.requests = Requests(self._backend(), self._tables(), self.group, b"", lambda _: False, self._agree)
        self._task = self._tend()
        self.group.session_opened(fresh=True)
        self.pending = next(self._task)

    def __repr__(self) -> str:
        return f"<{self.group.member.id} {self.group.nonce[-2:]}>"

    # ---- what Membership.tend() does

    def _backend(self) -> Any:
        return ModelBackend(self)

    def _agree(self, document: bytes) -> None:
        check_document(document, self.group.group_id, self.group.policy)

    def _tables(self) -> Any:
        return ModelTables(build)

    def _tend(self) -> Actions:
        while True:
            step = self.group.next_step()
            if step is Step.FINISH:
                self.finished = True
                yield PAUSE
                continue
            if step is Step.REST:
                self.steps = 0
                yield PAUSE
                continue
            self.steps += 1
            assert self.steps < MOST_STEPS_TO_REST, f"{self} goes on for ever: {step}"
            try:
                yield from self._take(step)
            except LostError:
                self.group.interrupted()
                self.interruptions += 1
                if self.interruptions > 1:
                    self.had_view = False  # it has been unable to read for too long
            except PartitionError as error:
                self._refused(step, error)
            if not self.active:
                self.had_view = False

    def _take(self, step: Step) -> Actions:
        if step is Step.SETTLE:
            yield PAUSE
            if self.group.next_step() is not Step.SETTLE:
                return
        yield from self.requests.take(step).__await__()
        if step in (Step.READ, Step.SETTLE):
            self.interruptions = 0

    def _refused(self, step: Step, error: PartitionError) -> None:
        self.group.failed(error)
        self.had_view = False

    # ---- the session

    @property
    def alive(self) -> bool:
        """Whether it is still to take part in anything."""
        return not self.gone and not self.finished

    @property
    def active(self) -> bool:
        """Whether it is still to be a member."""
        return self.alive and not self.group.leaving and not isinstance(self.group.error, MemberSupersededError)

    def execute(self, lag: int = 0) -> None:
        """The service carries out the pending request; the answer is on its way."""
        if self.pending is PAUSE or self.answer or not self.connected:
            return
        if self.session not in self.service.sessions:
            self.disconnect()  # it says so, or hangs up
            return
        older = self._what_a_lagging_server_knows() if lag and not self.pending.latest else []
        if older:
            generation = older[-min(lag, len(older))]
            names = self.service.history[generation]
            self.answer = [generation if self.pending.kind == "generation" else Entries(generation, names)]
            self.answer_generation = generation
            if self.pending.watch:
                self.news += 1  # the watch is on that server, which will know better in a moment
            return
        try:
            self.answer = [self.service.perform(self.pending, self)]
        except PartitionError as error:
            self.answer = [error]
        if self.pending.kind in ("read", "generation"):
            self._looked()
        elif self.pending.kind in ("enter", "replace"):
            self.entered_at = self.service.generation

    def _looked(self) -> None:
        self.answer_generation = self.told = self.service.generation
        if self.floor == math.inf:
            self.floor = self.service.generation

    def _what_a_lagging_server_knows(self) -> list[int]:
        """Older generations that it may tell, but for those from before what it has told or done for us.

        After a lapse none that would pass for a confirmation, in this model: nobody promises that a member is
        at the newest generation while its server lags.
        """
        if self.pending.kind not in ("read", "generation") or self.service.entries is None:
            return []
        oldest = max(self.told, 0 if self.group._entry is None else self.entered_at)
        newest = self.service.generation
        if self.floor == math.inf or (self.group._entry is not None and not self.group._trusted):
            newest = min(newest, self.group._generation or 0)
        return [generation for generation in self.service.history if oldest <= generation < newest]

    def deliver(self) -> None:
        """The answer arrives, and the task goes on to its next request."""
        if self.pending is PAUSE:
            self.pending = self._task.send(None)
        elif not self.connected:
            self.pending = self._task.throw(LostError())
        elif self.answer:
            answer = self.answer.pop()
            self.renew()
            if isinstance(answer, PartitionError):
                self.pending = self._task.throw(answer)
            else:
                self.pending = self._task.send(answer)

    def advance(self, lag: int = 0) -> None:
        self.execute(lag)
        self.deliver()

    def refuse(self, error: PartitionError) -> None:
        if self.pending is PAUSE or not self.connected:
            return
        if self.session not in self.service.sessions:
            self.disconnect()  # a refusal is an answer too, and who has no session gets none
            return
        self.answer.clear()
        self.renew()
        self.pending = self._task.throw(error)

    def renew(self) -> None:
        if not self.holding:
            self.holding = True
            self.group.lease_renewed()

    def lapse(self) -> None:
        self.holding = False
        self.had_view = False
        # What was answered before the lapse may confirm the view after it: the lease goes by when it was asked.
        self.floor = self.answer_generation if self.answer else math.inf

    def disconnect(self) -> None:
        if self.connected:
            self.connected = False
            self.answer.clear()
            self.news = 0
            self.service.watchers.discard(self)
            self.group.session_suspended()
            if self.pending is not PAUSE:
                self.pending = self._task.throw(LostError())

    def reconnect(self) -> None:
        if self.connected:
            return
        self.connected = True
        if not self.holding:
            self.told = 0  # after a long time the next server need not be as new
        if self.session in self.service.sessions:
            self.renew()
            self.group.session_opened(fresh=False)
            return
        self.group.session_expired()
        self.session = self.service.open()
        self.holding = True
        self.had_view = False
        self.floor = self.newest = 0
        self.group.session_opened(fresh=True)

    def hear(self) -> None:
        if self.news and self.connected:
            self.news -= 1
            self.group.changed()

    def heartbeat(self) -> None:
        if not self.connected:
            return
        if self.session not in self.service.sessions:
            self.disconnect()
        else:
            self.renew()
            self._looked()
            self.group.probed(None if self.service.entries is None else self.service.generation)
            self.group.heartbeat()

    def crash(self) -> None:
        self.gone = True
        self.connected = False
        self.service.watchers.discard(self)
