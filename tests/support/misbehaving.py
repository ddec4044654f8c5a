"""Collectors that misbehave on purpose, on real sockets of loopback: gRPC, HTTP, and the wire in between."""

import gzip
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import DecodeError
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

LONGEST_HANG_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer, for both protocols; each reads its own half."""

    code: grpc.StatusCode = grpc.StatusCode.OK
    retry_info_seconds: float | None = None
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    text: str = "on purpose"
    """gRPC's message, and the HTTP body of a refusal."""
    body: bytes = b""
    """Of a success."""
    content_type: str = "application/x-protobuf"
    is_packed: bool = False
    """Whether the body goes with gzip."""
    is_endless: bool = False
    """Whether the HTTP body never ends."""


ACCEPT = Reply()
UNWELL = Reply(code=grpc.StatusCode.UNAVAILABLE, status=503)


@dataclass(slots=True)
class Request:
    """One export that arrived whole."""

    number: int
    """From 1."""
    at: float
    """On the monotonic clock."""
    size_bytes: int
    names: list[str]
    """Of its spans."""
    spans: list[Any]
    is_taken: bool = False
    """Whether the answer was success."""


class Collector:
    """What both kinds have in common: what came, and the script that answers it."""

    protocol = ""

    def __init__(self) -> None:
        self.port = 0
        self.script: Callable[[Request], Reply] = lambda _: ACCEPT
        self.release = threading.Event()
        """Ends what `hang` holds."""
        self._lock = threading.Lock()
        self._requests: list[Request] = []

    @property
    def scheme(self) -> str:
        """Without TLS."""
        return "http"

    @property
    def endpoint(self) -> str:
        """Where it listens, or listened."""
        return f"{self.scheme}://127.0.0.1:{self.port}"

    @property
    def requests(self) -> list[Request]:
        """Everything that arrived, in order."""
        with self._lock:
            return list(self._requests)

    @property
    def arrived(self) -> list[str]:
        """The names of all spans that arrived, as often as they did."""
        return [name for request in self.requests for name in request.names]

    @property
    def taken(self) -> list[str]:
        """The names of those whose request was answered with success."""
        return [name for request in self.requests if request.is_taken for name in request.names]

    def hang(self, _: Request) -> Reply:
        """A script that answers only when it is released."""
        self.release.wait(LONGEST_HANG_SECONDS)
        return ACCEPT

    def reply_to(self, payload: bytes) -> Reply:
        """Keeps a request and asks the script."""
        spans = []
        with suppress(DecodeError):  # metrics are answered too
            message = ExportTraceServiceRequest.FromString(payload)
            spans = [
                span for each in message.resource_spans for scope in each.scope_spans for span in scope.spans
            ]
        with self._lock:
            number = len(self._requests) + 1
            names = [span.name for span in spans]
            request = Request(number, time.monotonic(), len(payload), names, spans)
            self._requests.append(request)
        reply = self.script(request)
        request.is_taken = reply.code is grpc.StatusCode.OK and reply.status < 300
        return reply

    def start(self) -> None:
        """Listens, again on the same port after `stop()`."""
        raise NotImplementedError

    def stop(self) -> None:
        """Ends every connection; new ones are refused."""
        raise NotImplementedError


class GrpcCollector(Collector, grpc.GenericRpcHandler):
    """OTLP over gRPC.

    Args:
        certificate: of TLS, with its key; None for plain text.
        largest_bytes: the longest request that the server itself takes; None for any.
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
        """As the certificate says."""
        return "http" if self._certificate is None else "https"

    def start(self) -> None:
        """Listens, again on the same port after `stop()`."""
        # The same port again needs no waiting for the kernel.
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
        """Any method will do."""
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
    """The status details, as Go servers send them."""
    seconds = reply.retry_info_seconds or 0.0
    packed = AnyMessage()
    packed.Pack(RetryInfo(retry_delay=Duration(seconds=int(seconds), nanos=int(seconds % 1 * 1e9))))
    return Status(code=reply.code.value[0], message=reply.text, details=[packed]).SerializeToString()


class _HttpServer(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def __init__(self, collector: "HttpCollector", context: ssl.SSLContext | None) -> None:
        self.collector = collector
        self._context = context
        self._connections: set[socket.socket] = set()
        super().__init__(("127.0.0.1", collector.port), _HttpHandler)

    def get_request(self) -> tuple[socket.socket, Any]:
        """Leaves the handshake to the connection's own thread."""
        peer, address = super().get_request()
        if self._context is not None:
            peer = self._context.wrap_socket(peer, server_side=True, do_handshake_on_connect=False)
        self._connections.add(peer)
        return peer, address

    def shutdown_request(self, request: Any) -> None:
        """Ends a connection."""
        self._connections.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that give up are what is tested."""

    def hang_up(self) -> None:
        """Ends every connection."""
        for peer in tuple(self._connections):
            with suppress(OSError):
                socket.socket.shutdown(peer, socket.SHUT_RDWR)


class _HttpHandler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _HttpServer

    def do_POST(self) -> None:
        """Answers one export."""
        collector = self.server.collector
        length = int(self.headers["content-length"])
        if collector.refuses_unread_bytes is not None and length > collector.refuses_unread_bytes:
            self.close_connection = True
            self._send(Reply(status=413, text="too much"))
            return
        payload = self.rfile.read(length)
        if self.headers.get("content-encoding") == "gzip":
            payload = gzip.decompress(payload)
        self._send(collector.reply_to(payload))

    def _send(self, reply: Reply) -> None:
        is_success = reply.status < 300
        body = reply.body if is_success else reply.text.encode()
        headers = {"Content-Type": reply.content_type, **reply.headers}
        if reply.is_packed:
            body = gzip.compress(body)
            headers["Content-Encoding"] = "gzip"
        if not reply.is_endless:
            headers["Content-Length"] = str(len(body))
        lines = [f"HTTP/1.1 {reply.status} Reason", *(f"{key}: {value}" for key, value in headers.items())]
        self.wfile.write("\r\n".join([*lines, "", ""]).encode() + body)
        while reply.is_endless:  # until the client hangs up
            self.wfile.write(bytes(2**16))

    def log_message(self, *_: object) -> None:
        """Says nothing."""


class HttpCollector(Collector):
    """OTLP over HTTP.

    Args:
        certificate: of TLS, with its key; None for plain text.
    """

    protocol = "http/protobuf"

    def __init__(self, certificate: tuple[Path, Path] | None = None) -> None:
        super().__init__()
        self.refuses_unread_bytes: int | None = None
        """A longer request is answered 413 before it is read, and its connection reset."""
        self._context: ssl.SSLContext | None = None
        if certificate is not None:
            self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._context.load_cert_chain(*certificate)
        self._server: _HttpServer | None = None
        self.start()

    @property
    def scheme(self) -> str:
        """As the certificate says."""
        return "http" if self._context is None else "https"

    def start(self) -> None:
        """Listens, again on the same port after `stop()`."""
        self._server = _HttpServer(self, self._context)
        self.port = self._server.server_port
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def stop(self) -> None:
        """Ends every connection; new ones are refused."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server.hang_up()
            self._server = None


class Wire:
    """A TCP proxy between a client and a Collector, which cuts, freezes or drips.

    Args:
        target_port: the Collector's.
    """

    def __init__(self, target_port: int) -> None:
        self._target_port = target_port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.drip_seconds = 0.0
        """Between two bytes of an answer."""
        self._over = threading.Event()
        self._connections: list[_Connection] = []
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def connections(self) -> int:
        """Made so far."""
        return len(self._connections)

    def cut(self) -> None:
        """Ends every connection, with whatever is on its way."""
        for connection in self._connections:
            connection.close()

    def freeze(self) -> None:
        """Lets nothing more through the present connections, and tells nobody; new ones work."""
        for connection in self._connections:
            connection.is_frozen = True

    def close(self) -> None:
        """Ends it all."""
        self._over.set()
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()

    def _accept(self) -> None:
        while True:
            try:
                peer, _ = self._listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(("127.0.0.1", self._target_port))
            except OSError:
                peer.close()
                continue
            connection = _Connection(peer, server)
            self._connections.append(connection)
            for answers in (False, True):
                threading.Thread(target=self._pump, args=(connection, answers), daemon=True).start()

    def _pump(self, connection: "_Connection", answers: bool) -> None:
        source, sink = (
            (connection.server, connection.peer) if answers else (connection.peer, connection.server)
        )
        with suppress(OSError):
            while data := source.recv(2**16):
                if connection.is_frozen:
                    continue
                while answers and self.drip_seconds and data and not self._over.wait(self.drip_seconds):
                    sink.sendall(data[:1])
                    data = data[1:]
                sink.sendall(data)
        if not connection.is_frozen:
            connection.close()


class _Connection:
    """A client's half and a server's half."""

    def __init__(self, peer: socket.socket, server: socket.socket) -> None:
        self.peer, self.server = peer, server
        self.is_frozen = False

    def close(self) -> None:
        for each in (self.peer, self.server):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()


class BlackHole:
    """A port that drops SYNs: it listens, its queue is full, and it never accepts (so Linux does).

    Args:
        port: which one.
    """

    def __init__(self, port: int) -> None:
        self._listener = socket.socket()
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._listener.bind(("127.0.0.1", port))
        self._listener.listen(0)
        self._waiting = [socket.socket() for _ in range(4)]
        for each in self._waiting:
            each.setblocking(False)
            each.connect_ex(("127.0.0.1", port))
        with socket.socket() as probe:
            probe.settimeout(0.2)
            with suppress(TimeoutError):
                probe.connect(("127.0.0.1", port))
                raise AssertionError("this kernel lets connections through a full queue")

    def close(self) -> None:
        """Refuses from now on."""
        for each in (self._listener, *self._waiting):
            each.close()


def make_certificate(folder: Path, name: str, *, days: int) -> tuple[Path, Path]:
    """A self-signed certificate of localhost, and its key; with negative days it has expired."""
    certificate, key, request = (folder / f"{name}.{kind}" for kind in ("pem", "key", "csr"))
    extensions = folder / f"{name}.ext"
    extensions.write_text("subjectAltName=DNS:localhost,IP:127.0.0.1\n")
    curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    for command in (
        ("req", "-new", *curve, "-subj", "/CN=localhost", "-keyout", key, "-out", request),
        (
            *("x509", "-req", "-in", request, "-signkey", key),
            *("-days", str(days), "-extfile", extensions, "-out", certificate),
        ),
    ):
        subprocess.run(["openssl", *map(str, command)], check=True, capture_output=True)  # noqa: S607
    return certificate, key
