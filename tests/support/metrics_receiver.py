"""An HTTP server that receives metrics where Prometheus does, and keeps each series' latest value."""

import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric

Attributes = dict[str, str]


class MetricsReceiver:
    """The received metrics, separate for each process."""

    def __init__(self) -> None:
        self.paths: set[str] = set()
        self.services: set[str] = set()
        self.values: dict[tuple[str, str], list[tuple[Attributes, float]]] = {}
        """By process and instrument: the latest value of each series; of histograms, the count."""
        self.history: dict[str, list[float]] = {}
        """By instrument: all of its values, in the order in which they arrived."""
        self.bounds: dict[str, tuple[float, ...]] = {}

    def take(self, request: ExportMetricsServiceRequest) -> None:
        """Keeps the metrics that a process sent."""
        for of_process in request.resource_metrics:
            resource = _attributes(of_process.resource.attributes)
            self.services.add(resource["service.name"])
            for scope in of_process.scope_metrics:
                for metric in scope.metrics:
                    series = list(self._series(metric))
                    self.values[resource["service.instance.id"], metric.name] = series
                    self.history.setdefault(metric.name, []).extend(value for _, value in series)

    def total(self, instrument: str, **attributes: str) -> float:
        """Returns the sum over processes and series."""
        return sum(
            value
            for (_, name), series in self.values.items()
            for labels, value in series
            if name == instrument and attributes.items() <= labels.items()
        )

    def processes(self, instrument: str) -> int:
        """Returns how many processes sent an instrument."""
        return sum(name == instrument for _, name in self.values)

    def _series(self, metric: Metric) -> Iterator[tuple[Attributes, float]]:
        if metric.HasField("histogram"):
            for bucketed in metric.histogram.data_points:
                self.bounds[metric.name] = tuple(bucketed.explicit_bounds)
                yield _attributes(bucketed.attributes), bucketed.count
        else:
            for point in [*metric.sum.data_points, *metric.gauge.data_points]:
                value = point.as_int if point.HasField("as_int") else point.as_double
                yield _attributes(point.attributes), value


@contextmanager
def receive_metrics() -> Iterator[tuple[str, MetricsReceiver]]:
    """Runs a receiver on a free port; yields its address, too."""
    receiver = MetricsReceiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            receiver.paths.add(self.path)
            body = self.rfile.read(int(self.headers["Content-Length"]))
            receiver.take(ExportMetricsServiceRequest.FromString(body))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Keeps the tests' output clean."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", receiver
        server.shutdown()
        thread.join()


def _attributes(pairs: Iterable[KeyValue]) -> Attributes:
    return {pair.key: pair.value.string_value for pair in pairs}
