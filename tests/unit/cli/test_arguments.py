"""The command line's arguments: what is refused, with which status, in one line, and without any secret."""

import argparse
import re
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from aiopartition import (
    Acl,
    AuthenticationError,
    BackendError,
    BackendUnavailableError,
    ConfigurationError,
    Kerberos,
    OwnershipUnknownError,
    PartitionError,
    SaslDigest,
)
from aiopartition.cli.access import settings_of
from aiopartition.cli.main import Status, _status_of, main, make_parser
from aiopartition.cli.protect import acl_of
from aiopartition.cli.snapshot import NoGroupError
from aiopartition.credentials import Auth, require_auth
from aiopartition.secret import Secret
from aiopartition.settings import Settings

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs" / "reference" / "command-line.md"


def commands() -> dict[str, argparse.ArgumentParser]:
    [subparsers] = [each for each in make_parser()._actions if isinstance(each, argparse._SubParsersAction)]
    return dict(subparsers.choices)


def access(url: str = "zookeeper://h", **given: Any) -> Any:
    return SimpleNamespace(**{
        "url": Secret(url), "ca": None, "cert": None, "key": None, "timeout": None,
        "auth_from_env": False, "sasl": False, "kerberos": False, **given,
    })  # fmt: skip


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["nonsense"],
        ["groups"],
        ["groups", "zookeeper://h", "--no-such-option"],
        ["groups", "http://h"],
        ["groups", "memory://name"],
        ["groups", "zookeeper://user:topsecret@h"],
        ["groups", "zookeeper://h", "zookeeper://user:topsecret@h"],
        ["groups", "user:topsecret@h"],
        ["groups", "zookeeper://h", "--timeout", "soon"],
        ["groups", "zookeeper://h", "--timeout", "-1"],
        ["groups", "zookeeper://h", "--timeout", "nan"],
        ["groups", "zookeeper://h", "--auth-from-env"],
        ["groups", "zookeeper://h", "--auth-from-env", "--sasl"],
        ["groups", "zookeeper://h", "--auth-from-env", "--kerberos"],
        ["groups", "zookeeper://h", "--auth-from-env", "--kerberos", "--sasl"],
        ["groups", "zookeeper://h", "--sasl"],
        ["groups", "zookeeper://h", "--sasl", "--kerberos"],
        ["groups", "zookeeper://h", "--kerberos", "topsecret"],
        ["groups", "zookeeper://h", "--sasl=user:topsecret"],
        ["groups", "zookeeper://h", "--auth-from-env", "user:topsecret"],
        ["groups", "zookeeper://h", "--password=topsecret"],
        ["doctor", "zookeeper://h", "--kerberos"],  # without its package
        ["groups", "zookeeper://h", "--key", "x"],
        ["groups", "zookeeper://h", "--ca", "/nonexistent\n/ca.pem"],
        ["owner", "zookeeper://h", "g"],
        ["audit", "zookeeper://h", "g", "--keys", "/nonexistent"],
        ["groups\n\x1b[2J"],
    ],
)
def test_a_wrong_argument(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Status 2, and one printable line that has no password in it."""
    for name in ("AIOPARTITION_AUTH", "AIOPARTITION_AUTH_SCHEME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setitem(sys.modules, "gssapi", None)
    try:
        status = main(arguments)
    except SystemExit as ended:
        assert isinstance(ended.code, int)
        status = ended.code
    output = capsys.readouterr()
    assert (status, output.out) == (Status.USAGE, "")
    [line] = output.err.splitlines()
    assert line.startswith("aiopartition")
    assert line.isprintable()
    assert "topsecret" not in line


def test_credentials_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIOPARTITION_AUTH", "user:pass:word")
    assert settings_of(access(auth_from_env=True)).auth == require_auth(("user", "pass:word"))
    assert settings_of(access()).auth is None
    monkeypatch.setenv("AIOPARTITION_AUTH", "user")
    with pytest.raises(ConfigurationError, match="must be user:password"):
        settings_of(access(auth_from_env=True))


def test_the_scheme_comes_from_the_environment_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """So a shell that has a service's variables needs no more than a service; the option beats the variable."""
    monkeypatch.setenv("AIOPARTITION_AUTH", "user:pass:word")
    sasl = SaslDigest("user", "pass:word")
    for scheme in ("", "digest", "kerberos", "nonsense"):
        monkeypatch.setenv("AIOPARTITION_AUTH_SCHEME", scheme)
        assert settings_of(access(auth_from_env=True, sasl=True)).auth == sasl
        assert settings_of(access()).auth is None
    with pytest.raises(ConfigurationError, match="must be one of digest, sasl, kerberos"):
        settings_of(access(auth_from_env=True))
    monkeypatch.setenv("AIOPARTITION_AUTH_SCHEME", "sasl")
    assert settings_of(access(auth_from_env=True)).auth == sasl


def test_kerberos_needs_no_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    """But its package, and that is said before a server is asked."""
    monkeypatch.setenv("AIOPARTITION_AUTH", "of another")
    monkeypatch.setitem(sys.modules, "gssapi", ModuleType("gssapi"))
    assert settings_of(access(kerberos=True)).auth == Kerberos()
    monkeypatch.setitem(sys.modules, "gssapi", None)
    with pytest.raises(ConfigurationError, match=r"aiopartition\[kerberos\]"):
        settings_of(access(kerberos=True))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--auth-from-env", "--kerberos"], "argument --kerberos: not allowed with argument --auth-from-env"),
        (["--sasl"], "--sasl: goes with --auth-from-env, and user:password in AIOPARTITION_AUTH"),
        (["--sasl=x"], "argument --sasl: ignored explicit argument ..."),
        (["x y", "--pasword=x", "--jason"], "unrecognized arguments: --pasword --jason (--help tells more)"),
        (["--auth-from-env", "--sasl"], "AIOPARTITION_AUTH: is not set, and --auth-from-env was given"),
    ],
)
def test_what_does_not_go_together_is_named(
    arguments: list[str], said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("AIOPARTITION_AUTH", raising=False)
    with suppress(SystemExit):
        main(["groups", "zookeeper://h", *arguments])
    assert said in capsys.readouterr().err


def test_protect_is_for_whoever_logs_in() -> None:
    """Unless others are named; what the servers make of a Kerberos ticket only they can tell."""
    url = Secret("zookeeper://h")
    named: list[tuple[Auth, str]] = [(("u", "p"), Acl.digest_id("u", "p")), (SaslDigest("ü", "p"), "sasl:ü")]
    for auth, ours in named:
        assert acl_of(Settings.resolve(url, auth=auth), (), ("sasl:b",)) == Acl((ours,), ("sasl:b",))
    unnamed: tuple[Kerberos | None, ...] = (None, Kerberos())
    for none in unnamed:
        with pytest.raises(ConfigurationError, match="--member"):
            acl_of(Settings.resolve(url, auth=none), (), ())
        assert acl_of(Settings.resolve(url, auth=none), ("sasl:a",), ()) == Acl(("sasl:a",))


def test_the_timeout_of_the_option_or_of_the_url() -> None:
    assert settings_of(access()).connect_timeout == 10.0
    assert settings_of(access("zookeeper://h?connect_timeout=3&session_timeout=7")).connect_timeout == 3.0
    assert settings_of(access("zookeeper://h?connect_timeout=3", timeout=1.0)).connect_timeout == 1.0
    assert settings_of(access("zookeeper://h?session_timeout=7")).session_timeout == 7.0


@pytest.mark.parametrize(("option", "other"), [("ca", {}), ("cert", {}), ("cert", {"key": "k.pem"})])
def test_files_that_are_no_certificates(tmp_path: Path, option: str, other: dict[str, str]) -> None:
    """Which option is wrong is said."""
    file = tmp_path / "file.pem"
    file.write_text("no certificate")
    for path in (str(file), str(tmp_path / "missing.pem")):
        with pytest.raises(ConfigurationError) as refused:
            settings_of(access(**{option: path, **other}))
        assert option in refused.value.part


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (ConfigurationError("a", "b"), Status.USAGE),
        (NoGroupError("g"), Status.NO_GROUP),
        (OwnershipUnknownError("g", "no members"), Status.NO_GROUP),
        (BackendUnavailableError("away"), Status.UNAVAILABLE),
        (AuthenticationError("no", "/x", "READ"), Status.REFUSED),
        (BackendError("odd"), Status.ERROR),
        (PartitionError("odd"), Status.ERROR),
    ],
)
def test_each_kind_of_error_has_its_status(error: PartitionError, status: Status) -> None:
    assert _status_of(error) == status


@pytest.mark.parametrize("name", sorted(commands()))
def test_the_page_has_every_command_with_every_option(name: str) -> None:
    """What --help tells stands in the reference."""
    page = PAGE.read_text(encoding="utf-8")
    [section] = re.findall(rf"^## `{name}`\n(.*?)(?=^## |\Z)", page, re.DOTALL | re.MULTILINE)
    common = page[page.index("## Options of all commands") :].split("\n## ")[0]
    for action in commands()[name]._actions:
        for option in action.option_strings or [str(action.metavar)]:
            assert f"`{option}" in section or f"`{option}" in common or f" {option}" in section, option
    assert f"$ aiopartition {name} " in section


def test_the_page_has_every_status() -> None:
    page = PAGE.read_text(encoding="utf-8")
    for status in Status:
        assert f"| {status:d} |" in page


def test_the_page_has_every_kind_of_finding() -> None:
    source = (ROOT / "aiopartition" / "cli" / "audit.py").read_text(encoding="utf-8")
    kinds = set(re.findall(r'Finding\(\s*"([a-z-]+)"', source))
    assert len(kinds) > 5
    page = PAGE.read_text(encoding="utf-8")
    assert {kind for kind in kinds if f"`{kind}`" not in page} == set()


@pytest.mark.parametrize("name", sorted(each.stem for each in (ROOT / "aiopartition/cli/schemas").glob("*.json")))
def test_the_page_of_schemas_has_what_is_shipped(name: str) -> None:
    page = (ROOT / "docs" / "reference" / "json-schemas.md").read_text(encoding="utf-8")
    schema = (ROOT / "aiopartition" / "cli" / "schemas" / f"{name}.json").read_text(encoding="utf-8")
    assert f"## `{name}`\n\n```json\n{schema}```" in page


def test_every_command_with_json_has_a_schema() -> None:
    with_json = {name for name, parser in commands().items() if "--json" in parser.format_help()}
    assert with_json == {each.stem for each in (ROOT / "aiopartition/cli/schemas").glob("*.json")}


def test_help_imports_only_what_it_needs() -> None:
    """It is asked for again and again, so it must not wait for the protocol, TLS or colours."""
    program = """
import sys
from aiopartition.cli.main import main
try:
    main(["audit", "--help"])
finally:
    found = {"aiozk", "rich", "aiopartition.backends.zookeeper.codec", "aiopartition.cli.access"} & sys.modules.keys()
    assert not found, found
"""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert "--patience" in ended.stdout
