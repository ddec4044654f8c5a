"""Metric families of several workers: sent as JSON from one to another, and merged into one exposition.

JSON rather than pickle, since data from a socket in a folder must not be run as code. NaN and Inf survive,
because Python writes and reads them.
"""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from prometheus_client.core import Metric
from prometheus_client.samples import Exemplar, Sample

from . import names


def merge(expositions: Mapping[int, Iterable[Metric]]) -> tuple[list[Metric], list[str]]:
    """Merges expositions: families of the same name become one, each sample labelled with its worker.

    An application's own label `worker` becomes `exported_worker`, as in Prometheus itself on a conflict. If
    workers disagree about a family's type, the first one's type is used and samples of other types are left
    out, since no parser would accept the page with them.

    Returns:
        The families, and a description of each disagreement.
    """
    merged: dict[str, Metric] = {}
    disagreements = []
    for slot, families in expositions.items():
        for family in families:
            target = merged.setdefault(
                family.name, Metric(family.name, family.documentation, family.type, family.unit)
            )
            if target.type != family.type:
                disagreements.append(
                    f"worker {slot} has {family.name} as a {family.type}, others as a {target.type}"
                )
                continue
            target.samples.extend(
                sample._replace(labels=_label(sample.labels, slot)) for sample in family.samples
            )
    return list(merged.values()), disagreements


def _label(labels: Mapping[str, str], slot: int) -> dict[str, str]:
    labelled = dict(labels)
    if names.WORKER in labelled:
        labelled[f"exported_{names.WORKER}"] = labelled.pop(names.WORKER)
    labelled[names.WORKER] = str(slot)
    return labelled


def to_json(families: Iterable[Metric]) -> bytes:
    """Encodes families for `from_json`, without native histograms: prometheus_client measures none."""
    return json.dumps([_family_as_list(family) for family in families]).encode()


def _family_as_list(family: Metric) -> list[Any]:
    samples = [
        [
            sample.name,
            sample.labels,
            float(sample.value),  # as the encoders do: it may be a numpy number
            _seconds(sample.timestamp),
            _exemplar_as_list(sample),
        ]
        for sample in family.samples
    ]
    return [family.name, family.documentation, family.type, family.unit, samples]


def _exemplar_as_list(sample: Sample) -> list[Any] | None:
    exemplar = sample.exemplar
    return exemplar and [exemplar.labels, float(exemplar.value), _seconds(exemplar.timestamp)]


def from_json(body: bytes | bytearray) -> list[Metric]:
    """Decodes families, and converts their values to types that can be encoded.

    Raises:
        ValueError: the body holds no metric families.
    """
    try:
        return [_family(*each) for each in json.loads(body)]
    except (TypeError, AttributeError, KeyError, RecursionError) as error:
        raise ValueError(f"not metric families: {error}") from error


def _family(name: Any, documentation: Any, kind: Any, unit: Any, samples: Any) -> Metric:
    family = Metric(str(name), str(documentation), kind, str(unit))
    family.samples = [
        Sample(str(sample_name), _texts(labels), float(value), _seconds(timestamp), _exemplar(exemplar))
        for sample_name, labels, value, timestamp, exemplar in samples
    ]
    return family


def _exemplar(encoded: Any) -> Exemplar | None:
    if encoded is None:
        return None
    labels, value, timestamp = encoded
    return Exemplar(_texts(labels), float(value), _seconds(timestamp))


def _texts(labels: Any) -> dict[str, str]:
    return {str(name): str(value) for name, value in labels.items()}


def _seconds(timestamp: Any) -> float | None:
    return None if timestamp is None else float(timestamp)
