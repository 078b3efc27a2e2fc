"""What is started when a block is entered, and closed when it is left."""

from abc import ABC, abstractmethod
from typing import Self


class Started(ABC):
    """Closed as well if it could not be started."""

    async def __aenter__(self) -> Self:
        try:
            await self.start()
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    @abstractmethod
    async def start(self) -> None: ...

    @abstractmethod
    async def close(self) -> None: ...


class Endpoint(Started):
    """Something that clients connect to."""

    host: str
    port: int

    @property
    def address(self) -> str:
        """``host:port``, as it stands in a connection string."""
        return f"{self.host}:{self.port}"

    def url(self, namespace: str = "") -> str:
        """The backend URL of the server that is reached here; ``namespace`` begins with a slash."""
        return f"zookeeper://{self.address}{namespace}"
