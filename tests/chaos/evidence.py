"""What there is to look at when a promise was broken: the ensemble's own history, and what its servers have said."""

import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path

from tests.chaos.judge import Violation
from tests.chaos.ledger import Ledger
from tests.chaos.transactions import Transaction, forgotten, history, read_log
from tests.support import ZooKeeperServer


def keep(
    directory: Path,
    violations: Iterable[Violation],
    servers: Sequence[ZooKeeperServer],
    ledger: Ledger,
    journals: Iterable[Path],
) -> None:
    """Write it all into a new directory."""
    directory.mkdir(parents=True)
    (directory / "violations").write_text("".join(f"{violation}\n" for violation in violations))
    (directory / "generations").write_text(
        "".join(f"{each.number:x} {each.since:.3f} {sorted(each.entries)}\n" for each in ledger.generations)
    )
    lost = forgotten(*history(servers))
    (directory / "forgotten").write_text("".join(f"{zxid:x}\n" for zxid in sorted(lost)))
    keep_servers(directory, servers)
    for path in journals:
        if path.exists():
            shutil.copy(path, directory)


def keep_servers(directory: Path, servers: Iterable[ZooKeeperServer]) -> None:
    """Of each server what it has said, and its transactions as text, file by file: two of them may have logged other
    ones under the same number."""
    for number, server in enumerate(servers):
        own = directory / f"server-{number}"
        own.mkdir()
        for path in server.transaction_logs():
            (own / path.name).write_text("".join(map(line, read_log(path.read_bytes()))))
        epochs = server.epochs_led().items()
        (own / "epochs").write_text("".join(f"{first:x} after {known:x}\n" for first, known in epochs))
        (own / "log").write_text(server.log_tail(lines=1_000_000))


def line(transaction: Transaction) -> str:
    changes = ", ".join(f"{'+' if change.created else '-'}{change.path}" for change in transaction.changes)
    session = f"{transaction.session & (1 << 64) - 1:x}{' ends' if transaction.ends_session else ''}"
    return f"{transaction.zxid:x} {transaction.time:.3f} {session} {changes}\n"
