"""Every shape of request through contrib's instrumentation and ours: each difference is one that we mean."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from typing import Any

import pytest
from support.conformance.app import APPLICATIONS
from support.conformance.differences import DIFFERENCES, OTHERS, Difference, expected
from support.conformance.driver import Shape, describe, outcome
from support.conformance.shapes import SHAPES
from support.paths import ROOT
from support.traced_app import TracedApp, quiet_config

Seen = dict[str, Any]
PROPERTIES = {"server spans", "name", "status", "description", "parent", "tracestate", "exceptions"}
REQUIRED = {"http.request.method", "url.path", "url.scheme"}
OTHER_ATTRIBUTES = {
    "client.address",
    "error.type",
    "http.request.method_original",
    "http.response.status_code",
    "http.route",
    "network.peer.address",
    "network.peer.port",
    "network.protocol.version",
    "server.address",
    "server.port",
    "url.query",
    "user_agent.original",
}
"""Those of http-spans.md, HTTP server span, that are not opt-in; `network.protocol.name` is for others."""


@dataclass
class Results:
    """What came of every shape, by its name."""

    ours: dict[str, Seen] = field(default_factory=dict)
    theirs: dict[str, Seen] = field(default_factory=dict)
    answers: dict[str, tuple[str, str]] = field(default_factory=dict)
    """What the application sent and raised, without telemetry and with it."""

    def differences(self, shape: str) -> dict[str, Any]:
        """Returns our values of what differs; where one has no span, there is nothing else to compare."""
        ours, theirs = self.ours[shape], self.theirs[shape]
        if ours["server spans"] != theirs["server spans"]:
            return {"server spans": ours["server spans"]}
        return {key: ours.get(key) for key in sorted(ours | theirs) if ours.get(key) != theirs.get(key)}


@pytest.fixture(scope="module")
def results() -> Results:
    """Of ours, of contrib's in a process of its own, and of the applications alone."""
    found = Results()
    environment = {**os.environ, "OTEL_SEMCONV_STABILITY_OPT_IN": "http", "PYTHONPATH": str(ROOT / "tests")}
    run = subprocess.run(
        [sys.executable, "-m", "support.conformance.contrib"],
        env=environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=250,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    found.theirs = json.loads(run.stdout)
    alone = {name: build() for name, build in APPLICATIONS.items()}
    config = {"sampler": "parentbased_always_on"}
    traced = {name: TracedApp(build(), quiet_config(**config)) for name, build in APPLICATIONS.items()}
    for shape in SHAPES:
        application = traced[shape.app]
        before = len(application.spans)
        answer = outcome(application.app, shape)
        found.ours[shape.name] = json.loads(json.dumps(describe(application.spans[before:])))
        found.answers[shape.name] = repr(outcome(alone[shape.app], shape)), repr(answer)
    return found


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.name)
def test_each_difference_is_meant(shape: Shape, results: Results) -> None:
    """`DIFFERENCES` has it, with our value."""
    ours = results.ours[shape.name]
    wrong = {}
    for key, value in results.differences(shape.name).items():
        entry = expected(key, shape.name, ours)
        if entry is None or entry[1] != value:
            wrong[key] = {"theirs": results.theirs[shape.name].get(key), "ours": value}
    assert wrong == {}


@pytest.mark.parametrize("entry", DIFFERENCES, ids=lambda entry: f"{entry.field}: {entry.why}")
def test_each_entry_is_still_a_difference(entry: Difference, results: Results) -> None:
    """Of each shape that it names, and of some that it does not, if it is for those."""
    found = {
        shape.name: match
        for shape in SHAPES
        if entry.field in results.differences(shape.name)
        and (match := expected(entry.field, shape.name, results.ours[shape.name])) is not None
    }
    named = {shape for shape, (match, _) in found.items() if match is entry and shape in entry.ours}
    others = any(match is entry and shape not in entry.ours for shape, (match, _) in found.items())
    assert entry.ours.keys() - named == ({OTHERS} if others else set())


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.name)
def test_what_the_server_gets_is_the_applications(shape: Shape, results: Results) -> None:
    """Messages and exceptions are the same without telemetry."""
    alone, traced = results.answers[shape.name]
    assert traced == alone


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.name)
def test_span_is_as_the_conventions_have_it(shape: Shape, results: Results) -> None:
    """Whatever contrib does: what is required is there, and an error has a type."""
    ours = results.ours[shape.name]
    if ours["server spans"] == 0:
        assert shape.name == "trace not sampled"
        return
    assert ours["server spans"] == 1
    attributes = ours.keys() - PROPERTIES
    assert REQUIRED <= attributes <= REQUIRED | OTHER_ATTRIBUTES
    assert (ours["status"] == "ERROR") == ("error.type" in attributes)
    assert ours["status"] == "ERROR" or ours.get("http.response.status_code", 200) < 500
    assert ours["status"] == "ERROR" or (ours["description"], ours["exceptions"]) == (None, [])
    assert len(ours["exceptions"]) <= 1
    assert {"network.peer.port", "server.port"} & attributes <= {
        f"{each.rpartition('.')[0]}.port" for each in attributes if each.endswith(".address")
    }


def test_shapes_are_many_and_their_names_their_own() -> None:
    """A name stands for one shape in the table."""
    names = {shape.name for shape in SHAPES}
    assert len(names) == len(SHAPES) >= 80
    assert {name for entry in DIFFERENCES for name in entry.ours} <= names | {OTHERS}
