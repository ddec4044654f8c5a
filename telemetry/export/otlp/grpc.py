"""OTLP over gRPC: sends encoded requests and returns the results, each within one deadline."""

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import cast

import grpc

from ...fork import call_around_fork
from ...settings.grpc_target import read_target
from .grpc_certificates import GrpcCertificates
from .grpc_channel import open_channel
from .grpc_reach import Reach
from .grpc_response import from_grpc_error
from .response import from_accepted
from .result import Disposition, ExportResult, no_answer
from .user_agent import user_agent

TRACES_METHOD = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
METRICS_METHOD = "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export"
_BROKEN = frozenset({grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED})
_LONGEST_FORK_WAIT_SECONDS = 0.25
_LONGEST_IDLE_SECONDS = 120.0
"""Load balancers and address translators of clouds forget silent connections after 4 minutes or more."""


@dataclass(slots=True, eq=False)
class _TrackedChannel:
    """A channel, and the exports in progress on it."""

    channel: grpc.Channel
    credentials: grpc.ChannelCredentials | None
    used_at: float
    """When the latest export on it ended, on the clock."""
    exports: int = 0


class GrpcTransport:
    """A transport over one gRPC channel, which the first request creates. Thread-safe.

    The next request creates a new one, which resolves the name anew, when

    - an attempt was not answered by any server: gRPC waits for seconds between its own attempts to reconnect;
    - the channel was idle for so long that what is in between may have forgotten its connections silently;
    - the certificates have changed.

    Exports in progress on the old one are left alone.

    If a thread is inside the gRPC library while the process forks, the library can abort the child. So a fork
    waits for the calls in progress, for at most `_LONGEST_FORK_WAIT_SECONDS`; then they are cancelled, to be
    retried. Calls that start meanwhile wait for the fork.

    Args:
        target: `host:port`, or another name that gRPC takes, with a port.
        method: the service's method.
        certificates: for TLS; None for plain text.
        headers: the metadata of each request. A `user-agent` goes in front of the library's own.
        is_compressed: whether requests are sent with gzip.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        target: str,
        *,
        method: str = TRACES_METHOD,
        certificates: GrpcCertificates | None = None,
        headers: Mapping[str, str],
        is_compressed: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._target = read_target(target)
        self._reach = Reach(self._target)
        self._method = method
        self._certificates = certificates
        metadata = {key.lower(): value for key, value in headers.items()}
        self._user_agent = user_agent(metadata.pop("user-agent", None))
        self._headers = tuple(metadata.items())
        self._clock = clock
        self._compression = grpc.Compression.Gzip if is_compressed else grpc.Compression.NoCompression
        self._lock = threading.Lock()
        self._current: _TrackedChannel | None = None
        self._channels: set[_TrackedChannel] = set()
        self._is_closed = False
        self._gate = threading.Condition()
        self._calls = 0
        self._is_forking = False
        call_around_fork(before=self._hold_calls, in_parent=self._release_calls)

    def send(self, payload: bytes, timeout_seconds: float) -> ExportResult:
        """Sends one request; never raises.

        Args:
            payload: an encoded export request.
            timeout_seconds: the limit for everything, including connecting.
        """
        with self._gate:
            if not self._gate.wait_for(lambda: not self._is_forking, timeout_seconds):
                return ExportResult(Disposition.THROTTLED, "fork", "the process was forking")
            self._calls += 1
        try:
            return self._send(payload, timeout_seconds)
        finally:
            with self._gate:
                self._calls -= 1
                self._gate.notify_all()

    def _send(self, payload: bytes, timeout_seconds: float) -> ExportResult:
        tracked = self._enter()
        if tracked is None:
            return no_answer("closed", "the exporter was shut down")
        is_broken = False
        try:
            export: grpc.UnaryUnaryMultiCallable[bytes, bytes] = tracked.channel.unary_unary(self._method)
            answer = export(
                payload, timeout=timeout_seconds, metadata=self._headers, compression=self._compression
            )
        except grpc.RpcError as error:
            if self._is_forking:
                return ExportResult(
                    Disposition.THROTTLED, "fork", "the process forked before the Collector answered"
                )
            call = cast("grpc.Call", error)  # gRPC raises an object that is both
            is_broken = call.code() in _BROKEN
            return from_grpc_error(call, len(payload))
        except ValueError:  # closed by another thread meanwhile
            if self._is_forking:
                return ExportResult(Disposition.THROTTLED, "fork", "the process forked during the export")
            return no_answer("closed", "the exporter was shut down")
        finally:
            self._leave(tracked, is_broken=is_broken)
        return from_accepted(answer)

    def connect_only(self, timeout_seconds: float) -> ExportResult | None:
        """Opens a plain connection to one of the target's addresses and closes it; never raises.

        Args:
            timeout_seconds: the limit for name resolution and connecting together.

        Returns:
            Why none can be opened; None if one was, or if only gRPC can tell: through an HTTP proxy, by its
            own name server, or by a name that only it understands.
        """
        return self._reach.connect(timeout_seconds)

    def close(self) -> None:
        """Cancels the exports in progress and closes the connections."""
        with self._lock:
            self._is_closed = True
            channels, self._channels, self._current = self._channels, set(), None
        for tracked in channels:
            tracked.channel.close()

    def _enter(self) -> _TrackedChannel | None:
        credentials = None
        if self._certificates is not None:
            self._certificates.refresh()
            credentials = self._certificates.credentials
        unused: _TrackedChannel | None = None
        with self._lock:
            if self._is_closed:
                return None
            current = self._current
            if current is not None and self._is_outdated(current, credentials):
                if not current.exports:
                    unused = current
                    self._channels.discard(current)
                current = None
            if current is None:
                channel = open_channel(self._target, credentials, self._user_agent)
                current = _TrackedChannel(channel, credentials, self._clock())
                self._current = current
                self._channels.add(current)
            current.exports += 1
        if unused is not None:
            unused.channel.close()
        return current

    def _is_outdated(self, tracked: _TrackedChannel, credentials: grpc.ChannelCredentials | None) -> bool:
        is_idle = not tracked.exports and self._clock() - tracked.used_at > _LONGEST_IDLE_SECONDS
        return is_idle or tracked.credentials is not credentials

    def _hold_calls(self) -> None:
        with self._gate:
            self._is_forking = True
            if self._gate.wait_for(lambda: not self._calls, _LONGEST_FORK_WAIT_SECONDS):
                return
        with self._lock:
            channels, self._current = tuple(self._channels), None
        for tracked in channels:  # the last export to leave each one removes it
            tracked.channel.close()
        with self._gate:
            self._gate.wait_for(lambda: not self._calls, _LONGEST_FORK_WAIT_SECONDS)

    def _release_calls(self) -> None:
        with self._gate:
            self._is_forking = False
            self._gate.notify_all()

    def _leave(self, tracked: _TrackedChannel, *, is_broken: bool) -> None:
        """Ends an export; the last one on an abandoned channel closes it.

        Until then, other exports may still get an answer over it.
        """
        with self._lock:
            tracked.exports -= 1
            tracked.used_at = self._clock()
            if is_broken and self._current is tracked:
                self._current = None
            is_over = self._current is not tracked and not tracked.exports
            self._channels -= {tracked} if is_over else set()
        if is_over:
            tracked.channel.close()
