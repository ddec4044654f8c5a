"""A short run of the demo, as a user starts it."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_outage_is_reported_and_every_span_arrives() -> None:
    """Every promise is kept, except perhaps latency on a busy machine, and the exit status agrees."""
    done = subprocess.run(
        [sys.executable, "-m", "demo", "--seconds", "14", "--rate", "30"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=55,
        check=False,
        env={"PATH": "/usr/bin:/bin", "COLUMNS": "200"},
    )
    lines = done.stdout.splitlines()
    verdict = {line.split("  ")[1].strip(): line for line in lines if line.startswith(("PASS", "FAIL"))}
    assert len(verdict) == 7, done.stdout + done.stderr
    latency = verdict.pop("p95 did not rise above x 1.5")
    assert all(line.startswith("PASS") for line in verdict.values()), done.stdout
    assert done.returncode == (0 if latency.startswith("PASS") else 1)
    for words in ("the Collector is up", "the Collector was killed", "the Collector is back"):
        assert any(words in line for line in lines), words
