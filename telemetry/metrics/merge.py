"""Metric families of several workers: as JSON from one to another, and merged into one exposition.

JSON and not pickle: a socket in a folder is no place to run whatever is found there. NaN and Inf survive, as
Python writes and reads them.
"""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from prometheus_client.core import Metric
from prometheus_client.samples import Exemplar, Sample

from . import names


def merge(expositions: Mapping[int, Iterable[Metric]]) -> tuple[list[Metric], list[str]]:
    """One exposition of many: families of a name become one, each sample labelled with its worker.

    A label `worker` of the application's own becomes `exported_worker`, as Prometheus itself does on a
    conflict. Where workers disagree about a family's type, the first one's word holds, and the other's
    samples are left out: with them no parser would take the page.

    Returns:
        The families, and in words each disagreement.
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
    """What `from_json` reads. Native histograms are left out: prometheus_client measures none."""
    return json.dumps([_family_as_list(family) for family in families]).encode()


def _family_as_list(family: Metric) -> list[Any]:
    samples = [
        [
            sample.name,
            sample.labels,
            float(sample.value),  # as the encoders do: it may be numpy's
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
    """The families, such that they can be encoded.

    Raises:
        ValueError: these are none.
    """
    try:
        return [_family(*each) for each in json.loads(body)]
    except (TypeError, AttributeError, KeyError, RecursionError) as error:
        raise ValueError(f"no metric families: {error}") from error


def _family(name: Any, documentation: Any, kind: Any, unit: Any, samples: Any) -> Metric:
    family = Metric(str(name), str(documentation), kind, str(unit))
    family.samples = [
        Sample(str(sample_name), _texts(labels), float(value), _seconds(timestamp), _exemplar(exemplar))
        for sample_name, labels, value, timestamp, exemplar in samples
    ]
    return family


def _exemplar(told: Any) -> Exemplar | None:
    if told is None:
        return None
    labels, value, timestamp = told
    return Exemplar(_texts(labels), float(value), _seconds(timestamp))


def _texts(labels: Any) -> dict[str, str]:
    return {str(name): str(value) for name, value in labels.items()}


def _seconds(timestamp: Any) -> float | None:
    return None if timestamp is None else float(timestamp)
