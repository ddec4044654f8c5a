"""The SDK's exporters, built from our configuration, and what they were answered.

The SDK says only success or failure; what the Collector answered stands in its log record alone.
`OtlpTransport` reads the record of its own thread there, which also keeps the SDK's lines, one for
each failed batch, out of the application's log: the sender tells the story once.
"""

import logging
import threading
from collections.abc import Callable, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Protocol

import grpc
import requests
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcSpanExporter
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpSpanExporter
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import ConsoleSpanExporter, SpanExporter, SpanExportResult

from ..config import TelemetryConfig
from .outcome import DELIVERED, Fate, Outcome, from_grpc, from_http

_EXPORTER_LOGGERS = (
    "opentelemetry.exporter.otlp.proto.grpc.exporter",
    "opentelemetry.exporter.otlp.proto.http.trace_exporter",
)


class Transport(Protocol):
    """What the sender sends through; used by one thread at a time."""

    def send(self, spans: Sequence[ReadableSpan]) -> Outcome:
        """Sends one batch, within the transport's own deadline; never raises."""
        ...

    def close(self) -> None:
        """Gives up an attempt under way and frees the connection."""
        ...


class OtlpTransport:
    """Sends a batch through one of the SDK's exporters and classifies the answer."""

    def __init__(self, build: Callable[[], SpanExporter]) -> None:
        # Built with the first batch, on the worker: a channel costs milliseconds, and a certificate
        # that cannot be read must fail an export, not the application.
        self._build = build
        self._exporter: SpanExporter | None = None

    def send(self, spans: Sequence[ReadableSpan]) -> Outcome:
        """Sends one batch, within the exporter's deadline; never raises."""
        with _answer_listener().listen() as heard:
            try:
                if self._exporter is None:
                    self._exporter = self._build()
                result = self._exporter.export(spans)
            except Exception as error:  # noqa: BLE001 - a bad file, or a bad span in the encoder: anything
                heard.outcome = Outcome(Fate.RETRY, "exporter_raised", f"{type(error).__name__}: {error}")
                result = SpanExportResult.FAILURE
        if result is SpanExportResult.SUCCESS:
            return DELIVERED
        outcome = heard.outcome or Outcome(Fate.RETRY, "connection", heard.text or "no answer")
        if outcome.fate is Fate.RETRY and not is_encodable(spans):
            return Outcome(Fate.UNENCODABLE, "unencodable", outcome.detail)
        return outcome

    def close(self) -> None:
        """Gives up an attempt under way and frees the connection."""
        if self._exporter is not None:
            self._exporter.shutdown()


def is_encodable(spans: Sequence[ReadableSpan]) -> bool:
    """Whether the official encoder takes these spans; asked only after a failure."""
    try:
        encode_spans(spans).SerializePartialToString()
    except Exception:  # noqa: BLE001 - whatever it raises is the answer
        return False
    return True


def build_transport(config: TelemetryConfig) -> Transport:
    """The transport that a configuration asks for; it connects with its first batch."""
    if config.traces_exporter == "console":
        return OtlpTransport(ConsoleSpanExporter)
    return OtlpTransport(partial(_grpc_exporter if config.protocol == "grpc" else _http_exporter, config))


def _grpc_exporter(config: TelemetryConfig) -> SpanExporter:
    return GrpcSpanExporter(
        endpoint=config.export_endpoint,
        insecure=config.is_insecure,
        credentials=None if config.is_insecure else _credentials(config),
        # gRPC metadata keys are lower case.
        headers={key.lower(): value for key, value in config.headers.items()},
        timeout=config.attempt_timeout_seconds,
        compression=grpc.Compression.Gzip if config.compression == "gzip" else grpc.Compression.NoCompression,
    )


def _http_exporter(config: TelemetryConfig) -> SpanExporter:
    # Without a session of our own a user's ~/.netrc would add credentials to exports.
    session = requests.Session()
    session.trust_env = False
    # A redirect is a failure: followed as a GET it would answer 200, and the spans be lost.
    session.max_redirects = 0
    return HttpSpanExporter(
        endpoint=config.export_endpoint,
        certificate_file=config.certificate,
        client_key_file=config.client_key,
        client_certificate_file=config.client_certificate,
        headers=config.headers,
        timeout=config.attempt_timeout_seconds,
        compression=Compression.Gzip if config.compression == "gzip" else Compression.NoCompression,
        session=session,
    )


def _credentials(config: TelemetryConfig) -> grpc.ChannelCredentials:
    def read(file: str | None) -> bytes | None:
        return None if file is None else Path(file).read_bytes()

    return grpc.ssl_channel_credentials(
        root_certificates=read(config.certificate),
        private_key=read(config.client_key),
        certificate_chain=read(config.client_certificate),
    )


class _Heard:
    outcome: Outcome | None = None
    text: str = ""


class _AnswerListener(logging.Filter):
    """Reads the exporters' failure records in the thread that exports; others pass as they are."""

    def __init__(self) -> None:
        super().__init__()
        self._local = threading.local()
        for name in _EXPORTER_LOGGERS:
            # First in line: the SDK's own filter there swallows a record that repeats the one before.
            logging.getLogger(name).filters.insert(0, self)

    def listen(self) -> "_Listening":
        return _Listening(self._local)

    def filter(self, record: logging.LogRecord) -> bool:
        heard: _Heard | None = getattr(self._local, "heard", None)
        if heard is None:
            return True
        heard.text = record.getMessage()
        arguments = record.args if isinstance(record.args, tuple) else ()
        for position, argument in enumerate(arguments):
            # In both exporters the reason follows the code.
            reason = str(arguments[position + 1]) if position + 1 < len(arguments) else heard.text
            if isinstance(argument, grpc.StatusCode):
                heard.outcome = from_grpc(argument, reason)
            elif isinstance(argument, int) and 400 <= argument < 600:  # noqa: PLR2004 - HTTP's error statuses
                heard.outcome = from_http(argument, reason)
        return False


class _Listening:
    def __init__(self, local: threading.local) -> None:
        self._local = local

    def __enter__(self) -> _Heard:
        heard = self._local.heard = _Heard()
        return heard

    def __exit__(self, *_: object) -> None:
        self._local.heard = None


@cache
def _answer_listener() -> _AnswerListener:
    return _AnswerListener()
