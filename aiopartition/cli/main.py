"""The command ``aiopartition``: its arguments, its exit status, and its errors."""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import re
import sys
from collections.abc import Sequence
from dataclasses import replace
from enum import IntEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NoReturn, cast

from aiopartition.errors import (
    AuthenticationError,
    BackendUnavailableError,
    ConfigurationError,
    OwnershipUnknownError,
    PartitionError,
)
from aiopartition.secret import Secret
from aiopartition.showing import printable
from aiopartition.version import __version__

if TYPE_CHECKING:
    from aiopartition.cli.access import Access
    from aiopartition.cli.report import Report
    from aiopartition.settings import Settings

__all__ = ["Status", "main", "make_parser"]

_CREDENTIALS: Final = re.compile(r"://[^\s/]*@")
_STRAY: Final = re.compile(r"(?:(?<=unrecognized arguments: )|(?<=ignored explicit argument )).*", re.DOTALL)
"""The end of argparse's messages, which quotes arguments that no option takes. One of them may be a password."""

_EPILOG: Final = """\
exit status: 0 all is well; 1 the verdict is bad (audit, doctor, protect); 2 an argument is wrong; 3 there is no such
group, or nobody can own anything in it; 4 no server answers; 5 a right or a credential is missing; 6 another error;
130 Ctrl-C; 141 the reader of the output has gone.
"""


class Status(IntEnum):
    """The exit statuses. ``docs/reference/command-line.md`` has the table."""

    OK = 0
    BAD = 1
    USAGE = 2
    NO_GROUP = 3
    UNAVAILABLE = 4
    REFUSED = 5
    ERROR = 6
    INTERRUPTED = 130
    CLOSED_PIPE = 141


class _Parser(argparse.ArgumentParser):
    """Reports errors in one line."""

    def error(self, message: str) -> NoReturn:
        message = _STRAY.sub(_names_of_options, message)
        self.exit(Status.USAGE, f"{self.prog}: {_line(message)} (--help tells more)\n")


def _names_of_options(found: re.Match[str]) -> str:
    return " ".join(word.partition("=")[0] for word in found[0].split() if word.startswith("--")) or "..."


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of all arguments."""
    parser = _Parser(
        prog="aiopartition",
        description="Look into groups. Nothing takes part in them; only protect --yes writes.",
        epilog=_EPILOG,
    )
    parser.add_argument("--version", action="version", version=f"aiopartition {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND", parser_class=_Parser)
    _command(commands, "groups", "list the groups below the namespace", group=False)
    _command(commands, "members", "list the members of a group, with their hosts and shares")
    owner = _command(commands, "owner", "tell the owners of keys, and why they own them")
    owner.add_argument("--partition", action="store_true", help="each KEY is the number of a partition")
    owner.add_argument("keys", metavar="KEY", nargs="+", help="a key, as text")
    plan = _command(commands, "plan", "calculate what a change of members would move")
    plan.add_argument("--add", metavar="ID[:WEIGHT]", action="append", default=[], help="a member to add")
    plan.add_argument("--remove", metavar="ID", action="append", default=[], help="a member to take away")
    plan.add_argument("--weight", metavar="ID:WEIGHT", action="append", default=[], help="a member's new weight")
    audit = _command(commands, "audit", "check that a group is as it should be; the exit status tells the verdict")
    audit.add_argument("--keys", metavar="FILE", help="a file with a key in each line, or - for standard input")
    audit.add_argument(
        "--patience", metavar="SECONDS", type=_seconds, default=3.0,
        help="how long a handoff may take before the audit finds fault with it (default: 3)",
    )  # fmt: skip
    _command(commands, "watch", "follow a group as it changes, until Ctrl-C", data=False)
    doctor = _command(commands, "doctor", "examine servers, versions, timeouts, latency, and rights", group=False)
    doctor.add_argument("--member", metavar="ID", action="append", default=[], help="the id of members, see protect")
    protect = _command(
        commands, "protect", "set the ACLs of all nodes, so that only members can change them", group=False
    )
    protect.add_argument(
        "--member", metavar="ID", action="append", default=[],
        help="the id of members, with its scheme; it gets all rights (default: the user of --auth-from-env)",
    )  # fmt: skip
    protect.add_argument("--reader", metavar="ID", action="append", default=[], help="an id that may read")
    protect.add_argument("--yes", action="store_true", help="set the ACLs, rather than only show which would be set")
    return parser


def _command(
    commands: Any, name: str, purpose: str, *, group: bool = True, data: bool = True
) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(name, help=purpose, description=purpose, epilog=_EPILOG)
    parser.add_argument(
        "url", metavar="URL", type=Secret, help="zookeeper://host[:port][,host...][/namespace], without credentials"
    )
    if group:
        parser.add_argument("group", metavar="GROUP", help="the group's id")
    if data:
        parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.add_argument("--ca", metavar="FILE", help="use TLS, and trust these authorities (PEM)")
    parser.add_argument("--cert", metavar="FILE", help="use TLS with this client certificate (PEM)")
    parser.add_argument("--key", metavar="FILE", help="the certificate's key, if it is not in the same file (PEM)")
    login = parser.add_mutually_exclusive_group()
    login.add_argument(
        "--auth-from-env", action="store_true",
        help="log in with the user:password in the variable AIOPARTITION_AUTH, by the scheme in the variable "
        "AIOPARTITION_AUTH_SCHEME (digest, sasl or kerberos; default: digest)",
    )  # fmt: skip
    login.add_argument("--kerberos", action="store_true", help="log in by Kerberos, with the tickets of this process")
    parser.add_argument("--sasl", action="store_true", help="with --auth-from-env: by SASL (DIGEST-MD5)")
    parser.add_argument(
        "--timeout", metavar="SECONDS", type=_seconds,
        help="how long to wait for a connection, and again for the answer (default: connect_timeout in the URL, or 10)",
    )  # fmt: skip
    return parser


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0 <= seconds <= 1e6:
        raise ValueError
    return seconds


def main(arguments: Sequence[str] | None = None) -> int:
    """Carry out a command, and return its exit status.

    :param arguments: the arguments after the name of the program; by default those of this process.
    """
    logging.getLogger("aiopartition").addHandler(logging.NullHandler())  # an error is reported in one line instead
    try:
        given = make_parser().parse_args(arguments)
        status = _run(given)
        sys.stdout.flush()
    except BrokenPipeError:
        # Python flushes standard output once more at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return Status.CLOSED_PIPE
    except KeyboardInterrupt:
        return Status.INTERRUPTED
    except PartitionError as error:
        sys.stderr.write(f"aiopartition: {_line(str(error))}\n")
        return _status_of(error)
    return status


def _run(given: argparse.Namespace) -> int:
    from aiopartition.cli.access import settings_of

    settings = settings_of(cast("Access", given))
    if given.command == "watch":
        from aiopartition.cli.watch import watch

        asyncio.run(watch(settings, given.group, sys.stdout))
        return Status.OK
    report = asyncio.run(_report(given, settings))
    if given.json:
        json.dump(report.to_json(), sys.stdout, indent=2)
        sys.stdout.write("\n")
    else:
        from aiopartition.cli.text import write

        write(report.blocks(), sys.stdout)
    return Status.OK if report.healthy else Status.BAD


async def _report(given: argparse.Namespace, settings: Settings) -> Report:
    """Carry out a command, and return its report. Import only the modules that this command needs."""
    from aiopartition.cli.access import connected

    if given.command == "doctor":
        from aiopartition.acl import Acl
        from aiopartition.cli.doctor import examine

        return await examine(replace(settings, acl=Acl(tuple(given.member))) if given.member else settings)
    if given.command == "protect":
        from aiopartition.cli.protect import acl_of, protect_nodes

        return await protect_nodes(settings, acl_of(settings, given.member, given.reader), change=given.yes)
    keys = _read_keys(given.keys) if given.command == "audit" else None  # standard input may take its time
    seconds = settings.connect_timeout + (given.patience if given.command == "audit" else 0)
    try:
        async with connected(settings) as backend, asyncio.timeout(seconds):
            if given.command == "groups":
                from aiopartition.cli.groups import list_groups

                return await list_groups(backend, str(settings.url))
            if given.command == "audit":
                from aiopartition.cli.audit import audit_group, settled_snapshot

                settled = await settled_snapshot(backend, given.group, given.patience)
                return await audit_group(backend, settled, keys, given.patience)
            from aiopartition.cli.snapshot import read_snapshot

            snapshot = await read_snapshot(backend, given.group)
            if given.command == "members":
                from aiopartition.cli.members import describe_members

                return await describe_members(backend, snapshot)
    except TimeoutError:
        raise BackendUnavailableError(f"{settings.url} has not given the whole answer in {seconds:g} s") from None
    if given.command == "owner":
        from aiopartition.cli.owner import find_owners

        return find_owners(snapshot, given.keys, partitions=given.partition)
    from aiopartition.cli.plan import plan_change

    return plan_change(snapshot, given.add, given.remove, given.weight)


def _read_keys(path: str | None) -> list[bytes] | None:
    from aiopartition.cli.audit import keys_of

    if path is None:
        return None
    try:
        return keys_of(sys.stdin.buffer if path == "-" else Path(path).read_bytes().split(b"\n"))
    except OSError as error:
        raise ConfigurationError("--keys", f"{path!r} cannot be read: {error.strerror}") from error


def _status_of(error: PartitionError) -> Status:
    from aiopartition.cli.snapshot import NoGroupError

    match error:
        case ConfigurationError():
            return Status.USAGE
        case NoGroupError() | OwnershipUnknownError():
            return Status.NO_GROUP
        case BackendUnavailableError():
            return Status.UNAVAILABLE
        case AuthenticationError():
            return Status.REFUSED
        case _:
            return Status.ERROR


def _line(text: str) -> str:
    """Return one printable line, without credentials, which a user may have put into the URL."""
    return printable(_CREDENTIALS.sub("://...@", text))
