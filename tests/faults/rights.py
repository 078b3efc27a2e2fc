"""Users, and what they may do on a server."""

from urllib.parse import quote

from tests.support import ZooKeeperServer

SUPER_USER = ("super", "s3cret")
AGENT = ("agent", "pass:w/rd@?#")


def url_of(server: ZooKeeperServer, namespace: str, auth: tuple[str, str] | None = None) -> str:
    """The backend URL, with credentials in it."""
    credentials = ":".join(quote(part, safe="") for part in auth) + "@" if auth else ""
    return f"zookeeper://{credentials}{server.address}{namespace}"
