"""A Collector that misbehaves on purpose: OTLP over gRPC, on a real socket of loopback."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from support.collector import Collector, Reply


class GrpcCollector(Collector, grpc.GenericRpcHandler):
    """OTLP over gRPC.

    Args:
        certificate: the TLS certificate and its key; None for plain text.
        largest_bytes: the largest request that the server itself accepts; None for any.
    """

    protocol = "grpc"

    def __init__(
        self, certificate: tuple[Path, Path] | None = None, *, largest_bytes: int | None = None
    ) -> None:
        super().__init__()
        self._certificate = certificate
        self._largest_bytes = -1 if largest_bytes is None else largest_bytes
        self._server: grpc.Server | None = None
        self.start()

    @property
    def scheme(self) -> str:
        """The URL's scheme, https with a certificate."""
        return "http" if self._certificate is None else "https"

    def start(self) -> None:
        """Listens, again on the same port after `stop()`."""
        # The port can be bound again without waiting for the kernel.
        options = [("grpc.so_reuseport", 0), ("grpc.max_receive_message_length", self._largest_bytes)]
        self._server = grpc.server(ThreadPoolExecutor(8), options=options)
        self._server.add_generic_rpc_handlers((self,))
        address = f"127.0.0.1:{self.port}"
        if self._certificate is None:
            self.port = self._server.add_insecure_port(address)
        else:
            chain, key = (file.read_bytes() for file in self._certificate)
            self.port = self._server.add_secure_port(address, grpc.ssl_server_credentials([(key, chain)]))
        self._server.start()

    def stop(self) -> None:
        """Ends every connection; new ones are refused."""
        if self._server is not None:
            self._server.stop(grace=None).wait()
            self._server = None

    def service(self, details: grpc.HandlerCallDetails) -> Any:
        """Handles every method."""
        return grpc.unary_unary_rpc_method_handler(self._export)

    def _export(self, payload: bytes, context: grpc.ServicerContext) -> bytes:
        reply = self.reply_to(payload)
        if reply.retry_info_seconds is not None:
            context.set_trailing_metadata((("grpc-status-details-bin", _with_retry_info(reply)),))
        if reply.code is not grpc.StatusCode.OK:
            context.abort(reply.code, reply.text)
        if reply.is_packed:
            context.set_compression(grpc.Compression.Gzip)
        return reply.body


def _with_retry_info(reply: Reply) -> bytes:
    """Returns the status details as Go servers send them."""
    seconds = reply.retry_info_seconds or 0.0
    packed = AnyMessage()
    packed.Pack(RetryInfo(retry_delay=Duration(seconds=int(seconds), nanos=int(seconds % 1 * 1e9))))
    return Status(code=reply.code.value[0], message=reply.text, details=[packed]).SerializeToString()
