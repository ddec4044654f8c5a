"""A gRPC server of raw bytes."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc


class RawGrpcServer(grpc.GenericRpcHandler):
    """Accepts any method, and answers with the bytes of `answer`.

    Args:
        options: of the server.
        host: an address, or the name of a Unix socket, such as `unix:/path`.
        port: 0 for any free one.
        credentials: for TLS; None for plain text.
    """

    def __init__(
        self,
        options: Sequence[tuple[str, int]] = (),
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        credentials: grpc.ServerCredentials | None = None,
    ) -> None:
        self.answer: Callable[[grpc.ServicerContext], bytes] = lambda _: b""
        self.requests: list[tuple[str, dict[str, Any], bytes]] = []
        self.peers: set[str] = set()
        """The clients' addresses, one for each connection."""
        self.credentials = credentials
        self.port = port
        self._host = host
        self._options = options
        self._server: grpc.Server | None = None
        self.start()

    def start(self) -> None:
        """Listens, on the same port again after `stop()`."""
        self._server = grpc.server(ThreadPoolExecutor(4), options=[("grpc.so_reuseport", 0), *self._options])
        self._server.add_generic_rpc_handlers((self,))
        address = f"{self._host}:{self.port}" if ":" not in self._host else self._host
        self.port = (
            self._server.add_insecure_port(address)
            if self.credentials is None
            else self._server.add_secure_port(address, self.credentials)
        )
        self._server.start()

    def stop(self, grace_seconds: float | None = None) -> None:
        """Closes every connection; with a grace, as soon as nothing is in progress on it (GOAWAY)."""
        if self._server is not None:
            self._server.stop(grace=grace_seconds).wait()
            self._server = None

    def service(self, details: grpc.HandlerCallDetails) -> Any:
        """Accepts any method."""

        def handle(request: bytes, context: grpc.ServicerContext) -> bytes:
            self.peers.add(context.peer())
            self.requests.append((details.method, dict(details.invocation_metadata), request))
            return self.answer(context)

        return grpc.unary_unary_rpc_method_handler(handle)
