"""stop_on_signal(), in processes of its own: what signals do to them, and with what status they end."""

import asyncio
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from aiopartition import ConfigurationError, stop_on_signal

SIGTERM, SIGINT, SIGHUP = signal.SIGTERM, signal.SIGINT, signal.SIGHUP

LOOPS = {"asyncio": "asyncio.new_event_loop", "uvloop": "uvloop.new_event_loop"}

PROGRAM = """
import asyncio, logging, os, signal, sys, threading, time, uvloop
from contextlib import asynccontextmanager, suppress
from aiopartition import stop_on_signal

logging.basicConfig(level=logging.INFO, format="%(message)s")
SIGTERM, SIGINT, SIGHUP = signal.SIGTERM, signal.SIGINT, signal.SIGHUP

def say(text):
    print(text, flush=True)

def suicide(number):
    os.kill(os.getpid(), number)

async def forever():
    await asyncio.Event().wait()

@asynccontextmanager
async def service(name="service", seconds=0):
    say(name + " ready")
    try:
        yield
    finally:
        say(name + " stops")
        await asyncio.sleep(seconds)
        say(name + " has stopped")

{main}

with asyncio.Runner(loop_factory={loop}) as runner:
    runner.run(main())
    print("after main")
print("end")
"""


class Running:
    """A process, and all that it has written so far."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.output = ""

    def until(self, line: str) -> None:
        """Read on until it has written that."""
        assert self.process.stdout is not None
        for read in self.process.stdout:
            self.output += read
            if read.strip() == line:
                return
        raise AssertionError(f"it has ended without {line!r}:\n{self.output}")

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def end(self) -> int:
        """Read to the end; the status."""
        assert self.process.stdout is not None
        self.output += self.process.stdout.read()
        return self.process.wait(timeout=20)

    @property
    def lines(self) -> list[str]:
        return self.output.splitlines()


@contextmanager
def program(main: str, loop: str = "asyncio") -> Iterator[Running]:
    """Run a program whose ``main()`` this is."""
    text = PROGRAM.format(main=textwrap.dedent(main), loop=LOOPS[loop])
    command = [sys.executable, "-W", "error", "-c", text]
    # A shell that runs the tests in the background would have SIGINT ignored.
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, preexec_fn=_heed_interrupts
    ) as process:
        try:
            yield Running(process)
        finally:
            process.kill()


def _heed_interrupts() -> None:
    signal.signal(SIGINT, signal.default_int_handler)


def run(main: str, loop: str = "asyncio") -> Running:
    """Run a program to its end."""
    with program(main, loop) as running:
        running.end()
    return running


# ---- a signal


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize(("number", "status"), [(SIGTERM, 143), (SIGINT, -SIGINT)])
def test_a_signal_stops_the_body_in_good_order(number: int, status: int, loop: str) -> None:
    """What is open is closed, then the process ends with the conventional status; what it has printed is not lost."""
    main = """
        async def main():
            async with service("outside"), stop_on_signal(), service("outer"), service("inner", 0.01):
                print("not flushed")
                await forever()
    """
    with program(main, loop) as running:
        running.until("inner ready")
        running.signal(number)
        assert running.end() == status
    expected = ["inner stops", "inner has stopped", "outer stops", "outer has stopped", "outside stops"]
    told = [line for line in running.lines if line in expected]
    assert told == expected
    assert "not flushed" in running.lines
    assert (
        f"{signal.Signals(number).name} was received: stopping; another one ends the process at once" in running.lines
    )
    assert "after main" not in running.lines
    assert ("KeyboardInterrupt" in running.output) == (number == SIGINT)
    assert "never retrieved" not in running.output


def test_an_interrupt_can_be_caught() -> None:
    """As any other Ctrl-C."""
    running = run("""
        async def main():
            async with stop_on_signal():
                suicide(SIGINT)
                await forever()

        run = asyncio.Runner.run
        def quiet(self, main):
            try:
                run(self, main)
            except KeyboardInterrupt:
                print("interrupted")
        asyncio.Runner.run = quiet
    """)
    assert running.process.returncode == 0
    assert running.lines[-3:] == ["interrupted", "after main", "end"]


@pytest.mark.parametrize("given", ["SIGHUP", "SIGHUP, SIGHUP", "SIGUSR1, SIGHUP"])
def test_other_signals(given: str) -> None:
    """Those that are given, and no others."""
    main = f"""
        SIGUSR1 = signal.SIGUSR1
        async def main():
            async with stop_on_signal({given}), service():
                await forever()
    """
    for number, status, stops in ((SIGHUP, 129, True), (SIGTERM, -SIGTERM, False)):
        with program(main) as running:
            running.until("service ready")
            running.signal(number)
            assert running.end() == status
        assert ("service has stopped" in running.lines) == stops


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize(("first", "second"), [(SIGTERM, SIGTERM), (SIGINT, SIGINT), (SIGTERM, SIGINT)])
def test_a_second_signal_ends_the_process_at_once(first: int, second: int, loop: str) -> None:
    """While the body takes long to stop."""
    main = """
        async def main():
            async with stop_on_signal(), service(seconds=1e6):
                await forever()
    """
    with program(main, loop) as running:
        running.until("service ready")
        running.signal(first)
        running.until("service stops")
        running.signal(second)
        assert running.end() == -second
    assert "service has stopped" not in running.lines


def test_a_signal_while_the_loop_is_blocked() -> None:
    """The body is cancelled when it next waits."""
    running = run("""
        async def main():
            async with stop_on_signal(), service():
                suicide(SIGTERM)
                say("goes on")
                await asyncio.sleep(0)
                await forever()
    """)
    assert running.process.returncode == 143
    assert [line for line in running.lines if "was received" not in line] == [
        "service ready", "goes on", "service stops", "service has stopped"
    ]  # fmt: skip


# ---- before and after


def test_signals_before_and_after() -> None:
    """They have the effect that they had: the handlers that were found are put back."""
    for place in ("before", "after"):
        running = run(f"""
            async def main():
                if "{place}" == "before":
                    suicide(SIGTERM)
                async with stop_on_signal():
                    pass
                suicide(SIGTERM)
                say("still there")
        """)
        assert running.process.returncode == -SIGTERM
        assert "still there" not in running.lines


def test_handlers_are_put_back() -> None:
    """Also after a body that fails, and for Ctrl-C, which asyncio.run() handles."""
    running = run("""
        async def main():
            def handler(number, frame): ...
            signal.signal(SIGTERM, handler)
            interrupt = signal.getsignal(SIGINT)
            for fails in (False, True):
                with suppress(OSError):
                    async with stop_on_signal():
                        assert signal.getsignal(SIGTERM) is not handler
                        if fails:
                            raise OSError
                assert signal.getsignal(SIGTERM) is handler
                assert signal.getsignal(SIGINT) == interrupt
            try:
                async with stop_on_signal():
                    suicide(SIGTERM)
                    await forever()
            except SystemExit as ended:
                assert ended.code == 143
            assert signal.getsignal(SIGTERM) is handler
            assert asyncio.current_task().cancelling() == 0
            await asyncio.sleep(0)
    """)
    assert running.process.returncode == 0, running.output
    assert running.lines[-1] == "end"


# ---- bodies


def test_a_body_that_ends_by_itself() -> None:
    """Nothing happens."""
    running = run("""
        async def main():
            async with stop_on_signal(), service():
                await asyncio.sleep(0)
    """)
    assert (running.process.returncode, running.lines[-2:]) == (0, ["after main", "end"])


def test_a_body_that_raises() -> None:
    """Its error passes through."""
    running = run("""
        async def main():
            async with stop_on_signal(), service():
                raise OSError("disk full")
    """)
    assert running.process.returncode == 1
    assert running.lines[-1] == "OSError: disk full"


@pytest.mark.parametrize(
    "ending",
    [
        "return",
        "await asyncio.sleep(0.01)",
        "raise OSError('disk full')",
        "raise ExceptionGroup('several', [OSError('disk full')])",
    ],
)
def test_a_body_that_makes_something_else_of_its_cancellation(ending: str) -> None:
    """The process ends all the same, though the service tries again after errors; an error is in the log."""
    running = run(f"""
        async def main():
            while True:
                with suppress(Exception):
                    async with stop_on_signal(), service():
                        say("again")
                        suicide(SIGTERM)
                        try:
                            await forever()
                        except asyncio.CancelledError:
                            {ending}
    """)
    assert running.process.returncode == 143
    assert running.lines.count("again") == 1
    assert ("stopping on SIGTERM, the service has failed" in running.lines) == ("raise" in ending)
    assert ("OSError: disk full" in running.output) == ("raise" in ending)


@pytest.mark.parametrize("turns", [0, 1, 3])
@pytest.mark.parametrize("ending", ["pass", "raise OSError('disk full')"])
def test_a_signal_in_the_last_moment(turns: int, ending: str) -> None:
    """The cancellation, if the body has ended without it, hits nothing that comes after."""
    running = run(f"""
        @asynccontextmanager
        async def slow():
            try:
                yield
            finally:
                for _ in range(5):
                    await asyncio.sleep(0)
                say("closed")

        async def main():
            loop = asyncio.get_running_loop()

            def after(turns):
                if turns == 0:
                    suicide(SIGTERM)
                else:
                    loop.call_soon(after, turns - 1)

            async with slow(), stop_on_signal():
                if {turns} < 3:
                    loop.call_soon(after, {turns})
                with suppress(asyncio.CancelledError):
                    await asyncio.sleep(0)
                    await asyncio.sleep(0)
                if {turns} == 3:
                    suicide(SIGTERM)
                {ending}
    """)
    assert running.process.returncode == 143
    assert "closed" in running.lines


def test_a_body_in_a_child_task() -> None:
    """The whole program ends, the outer tasks in good order too."""
    running = run("""
        async def work():
            async with stop_on_signal(), service("inner"):
                suicide(SIGTERM)
                await forever()

        async def main():
            async with service("outer"), asyncio.TaskGroup() as tasks:
                tasks.create_task(work())
                await forever()
    """)
    assert running.process.returncode == 143
    told = [line for line in running.lines if line.endswith("has stopped")]
    assert told == ["inner has stopped", "outer has stopped"]


# ---- other cancellations


def test_a_cancellation_from_elsewhere_is_not_ours() -> None:
    """A timeout works as ever, inside and around."""
    running = run("""
        async def main():
            for place in ("inside", "around"):
                try:
                    async with asyncio.timeout(0.01 if place == "around" else None), stop_on_signal():
                        async with asyncio.timeout(0.01 if place == "inside" else None):
                            await forever()
                except TimeoutError:
                    say(place)
            task = asyncio.create_task(cancelled())
            await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait({task})
            assert task.cancelled()

        async def cancelled():
            async with stop_on_signal():
                await forever()
    """)
    assert (running.process.returncode, running.lines) == (0, ["inside", "around", "after main", "end"])


def test_a_signal_and_a_cancellation_from_elsewhere() -> None:
    """The process ends, whichever came first."""
    for order in ("suicide(SIGTERM); task.cancel()", "task.cancel(); suicide(SIGTERM)"):
        running = run(f"""
            async def body():
                async with stop_on_signal(), service():
                    await forever()

            async def main():
                task = asyncio.create_task(body())
                await asyncio.sleep(0)
                {order}
                await asyncio.wait({{task}})
        """)
        assert running.process.returncode == 143
        assert "service stops" in running.lines


# ---- nested


@pytest.mark.parametrize("again", [False, True])
def test_nested(again: bool) -> None:
    """The innermost is told, and the outer ones end with it. A second signal meanwhile ends the process."""
    main = """
        async def main():
            async with stop_on_signal(), service("outer", 1e6 if AGAIN else 0):
                async with stop_on_signal(SIGTERM), service("inner"):
                    await forever()
    """
    with program(main.replace("AGAIN", str(again))) as running:
        running.until("inner ready")
        running.signal(SIGTERM)
        running.until("outer stops")
        if again:
            running.signal(SIGTERM)
        assert running.end() == (-SIGTERM if again else 143)
    assert ("outer has stopped" in running.lines) != again


def test_one_after_another() -> None:
    """Each is for one use."""
    running = run("""
        async def main():
            used = stop_on_signal()
            async with used:
                pass
            try:
                async with used:
                    pass
            except RuntimeError as error:
                say(error)
            async with stop_on_signal(), service():
                suicide(SIGTERM)
                await forever()
    """)
    assert running.process.returncode == 143
    assert running.lines[0] == "it can be entered once; call stop_on_signal() again"
    assert "service has stopped" in running.lines


@pytest.mark.parametrize("order", ["first out first", "last out first", "third in the middle"])
def test_contexts_in_several_tasks(order: str) -> None:
    """In whatever order they are left: the last that is open is told, and then signals have the effect they had."""
    ends = {"first out first": "abc", "last out first": "cba", "third in the middle": "bca"}[order]
    for told in (True, False):
        running = run(f"""
            events = {{each: asyncio.Event() for each in "abc"}}

            async def work(name):
                async with stop_on_signal(), service(name):
                    await events[name].wait()

            async def main():
                tasks = {{}}
                for name in "abc":
                    tasks[name] = asyncio.create_task(work(name))
                    await asyncio.sleep(0.01)
                for name in "{ends[: 2 if told else 3]}":
                    events[name].set()
                    await tasks[name]
                suicide(SIGTERM)
                await forever()
        """)
        assert running.process.returncode == (143 if told else -SIGTERM)
        assert [line for line in running.lines if line.endswith("has stopped")] == [
            f"{end} has stopped" for end in ends
        ]


# ---- forks and threads


@pytest.mark.parametrize("number", [SIGTERM, SIGINT])
@pytest.mark.parametrize("forked_in", ["the body", "a thread", "multiprocessing"])
def test_a_forked_child_has_the_default_effects(number: int, forked_in: str) -> None:
    """A child that inherits the handlers ends by a signal, and its parent goes on."""
    fork = {
        "the body": "fork()",
        "a thread": "await asyncio.to_thread(fork)",
        "multiprocessing": "process = multiprocessing.get_context('fork').Process(target=child); process.start(); "
        "children.append(process.pid); say('forked')",
    }[forked_in]
    main = f"""
        import multiprocessing, warnings
        warnings.simplefilter("ignore")  # of forking while there are threads
        children = []
        reading, writing = os.pipe()

        def child():
            with suppress(KeyboardInterrupt):
                os.write(writing, b"1")  # Python forgets signals that come before a child is set up
                time.sleep(60)
            os._exit(7)  # by an interrupt

        def fork():
            children.append(os.fork())
            if children[-1] == 0:
                child()
            say("forked")

        async def main():
            async with stop_on_signal(), service():
                {fork}
                await asyncio.to_thread(os.read, reading, 1)
                os.kill(children[0], {number})
                _, status = await asyncio.to_thread(os.waitpid, children[0], 0)
                say("child: %d" % os.waitstatus_to_exitcode(status))
                await asyncio.sleep(0.05)
                say("alive")
                await forever()
    """
    with program(main) as running:
        running.until("alive")
        assert f"child: {7 if number == SIGINT else -SIGTERM}" in running.lines
        running.signal(SIGTERM)
        assert running.end() == 143
    assert "service has stopped" in running.lines


def test_a_forked_child_that_stops_in_good_order_itself() -> None:
    """In an event loop of its own, while its parent's context is open."""
    running = run("""
        import warnings
        warnings.simplefilter("ignore")

        async def work():
            async with stop_on_signal(), service("child"):
                suicide(SIGTERM)
                await forever()

        def child():
            asyncio.events._set_running_loop(None)
            try:
                asyncio.run(work())
            except SystemExit as ended:
                os._exit(ended.code)

        async def main():
            async with stop_on_signal(), service("parent"):
                pid = os.fork()
                if pid == 0:
                    child()
                _, status = await asyncio.to_thread(os.waitpid, pid, 0)
                say("child: %d" % os.waitstatus_to_exitcode(status))
    """)
    assert running.process.returncode == 0, running.output
    assert "child has stopped" in running.lines
    assert "child: 143" in running.lines
    assert running.lines.count("parent has stopped") == 1


def test_only_in_the_main_thread() -> None:
    """Elsewhere it is refused, with the reason, and nothing is changed."""
    before = signal.getsignal(SIGTERM)
    caught: list[BaseException] = []

    async def main() -> None:
        async with stop_on_signal():
            raise AssertionError("it was entered")

    def elsewhere() -> None:
        try:
            asyncio.run(main())
        except RuntimeError as error:
            caught.append(error)

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert "must be entered in the main thread" in str(caught[0])
    assert signal.getsignal(SIGTERM) is before


# ---- arguments


@pytest.mark.parametrize(
    "wrong",
    ["SIGTERM", None, 0, 9999, -1, 1.5, True, 2.0, "", [SIGTERM], float("nan"), 10**400],
    ids=lambda wrong: repr(wrong)[:20],
)
def test_what_is_no_signal_is_refused(wrong: Any) -> None:
    """At the call."""
    with pytest.raises(ConfigurationError) as caught:
        stop_on_signal(SIGTERM, wrong)
    assert caught.value.part == "signals"


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_what_cannot_be_handled_is_refused(number: int) -> None:
    """By its name; what was changed before is put back."""
    before = signal.getsignal(SIGTERM)

    async def main() -> None:
        async with stop_on_signal(SIGTERM, number):
            raise AssertionError("it was entered")

    with pytest.raises(ConfigurationError, match=signal.Signals(number).name):
        asyncio.run(main())
    assert signal.getsignal(SIGTERM) is before
