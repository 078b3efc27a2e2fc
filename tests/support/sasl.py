"""Servers that know their clients by SASL."""

from collections.abc import Mapping
from pathlib import Path

PROVIDER = {"authProvider.1": "org.apache.zookeeper.server.auth.SASLAuthenticationProvider"}
"""Lines of configuration with which a server takes SASL."""


def digest_properties(directory: Path, users: Mapping[str, str]) -> dict[str, object]:
    """System properties of a server that knows these users by their passwords."""
    known = "\n".join(f'    "user_{_escaped(user)}"="{_escaped(password)}"' for user, password in users.items())
    return login_properties(directory, f"org.apache.zookeeper.server.auth.DigestLoginModule required\n{known};")


def login_properties(directory: Path, module: str) -> dict[str, object]:
    """System properties of a server that logs in by a module of JAAS."""
    path = directory / f"jaas-{len(list(directory.iterdir()))}.conf"
    path.write_text(f"Server {{\n    {module}\n}};\n")
    return {"java.security.auth.login.config": path}


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')
