"""The result of a run: a JSON file and a table."""

import json
import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_OUTCOMES = ("killed", "survived", "accepted", "timed out")


@dataclass(frozen=True, slots=True)
class Mutant:
    """A change of one place in a function (named without its class), and whether a test noticed it."""

    module: str
    path: str
    line: int
    function: str
    outcome: str
    """`killed`, `survived` or `timed out`."""
    diff: str
    output: str
    """What the tests have printed."""

    @property
    def before(self) -> str:
        """The changed lines as they were."""
        return self._lines("-")

    @property
    def after(self) -> str:
        """The changed lines as they became."""
        return self._lines("+")

    @property
    def killed_by(self) -> str:
        """The test that failed; empty if none did, or not even a test was found."""
        found = re.search(r"^(?:FAILED|ERROR) (\S+)", self.output, re.MULTILINE)
        return found[1] if found else ""

    @property
    def summary(self) -> str:
        """One line for the terminal."""
        return f"{self.outcome:9}  {self.path}:{self.line}  {self.after or 'pass'}"

    def _lines(self, sign: str) -> str:
        lines = self.diff.splitlines()
        body = lines[next((n for n, line in enumerate(lines) if line.startswith("@@")), len(lines)) :]
        return "\n".join(line[1:].strip() for line in body if line.startswith(sign))


@dataclass(slots=True)
class Report:
    """The outcomes so far.

    Args:
        accepted: entries of survivors.toml.
        size: how many mutants are to be tried.
        least_percent: how many of those that matter must be killed.
    """

    accepted: list[dict[str, str]]
    size: int
    least_percent: float
    _mutants: list[tuple[Mutant, str]] = field(default_factory=list)

    def add(self, mutant: Mutant) -> None:
        """Adds a mutant that was tried."""
        self._mutants.append((mutant, self._reason_for(mutant)))

    def is_settled(self, mutant: Mutant) -> bool:
        """Whether new tests need not be asked about this mutant."""
        return mutant.outcome == "killed" or bool(self._reason_for(mutant))

    @property
    def percent(self) -> float:
        """The killed ones, in percent of all but the accepted ones. One that timed out is not killed."""
        counts = self._count()
        others = counts.total() - counts["accepted"]
        return 100 * counts["killed"] / others if others else 0.0

    @property
    def is_good(self) -> bool:
        """Whether all were tried and enough of them killed."""
        return len(self._mutants) == self.size and self.percent >= self.least_percent

    def write(self, folder: Path, name: str) -> None:
        """Writes `name`.json and `name`.md, and prints the table."""
        shown = [_shown(mutant, reason) for mutant, reason in self._mutants]
        figures = {"sample": self.size, "tried": len(shown), "killed_percent": round(self.percent, 1)}
        (folder / f"{name}.json").write_text(json.dumps({**figures, "mutants": shown}, indent=1) + "\n")
        table = self._table()
        (folder / f"{name}.md").write_text("\n".join([table, *self._living()]) + "\n")
        print(table)

    def _reason_for(self, mutant: Mutant) -> str:
        """Returns why a mutant may live; an empty text if it was killed, timed out, or may not."""
        if mutant.outcome != "survived":
            return ""
        return next((entry["reason"] for entry in self.accepted if _is_same(entry, mutant)), "")

    def _count(self, module: str | None = None) -> Counter[str]:
        return Counter(
            "accepted" if reason else mutant.outcome
            for mutant, reason in self._mutants
            if module in {None, mutant.module}
        )

    def _table(self) -> str:
        modules = sorted({mutant.module for mutant, _ in self._mutants})
        rows = [("module", *_OUTCOMES), ("---", *("---:" for _ in _OUTCOMES))]
        for label, counts in [*((each, self._count(each)) for each in modules), ("all", self._count())]:
            rows.append((label, *(str(counts[outcome]) for outcome in _OUTCOMES)))
        sentence = (
            f"{len(self._mutants)} of a sample of {self.size} were tried. {self.percent:.1f} % of those that "
            f"are not accepted were killed; at least {self.least_percent:g} % must be."
        )
        return "\n".join([*(f"| {' | '.join(row)} |" for row in rows), "", sentence])

    def _living(self) -> list[str]:
        return [
            f"\n{mutant.path}:{mutant.line} `{mutant.function}` {mutant.outcome}. {reason}\n"
            f"\n```diff\n{mutant.diff}\n```"
            for mutant, reason in self._mutants
            if mutant.outcome != "killed"
        ]


def _shown(mutant: Mutant, reason: str) -> dict[str, Any]:
    """Returns what the JSON file has of a mutant: what killed it, or its diff."""
    common = {key: getattr(mutant, key) for key in ("module", "path", "line", "function", "outcome")}
    if mutant.outcome == "killed":
        return {**common, "before": mutant.before, "after": mutant.after, "killed_by": mutant.killed_by}
    return {**common, "reason": reason, "diff": mutant.diff}


def _is_same(entry: dict[str, str], mutant: Mutant) -> bool:
    keys = ("path", "function", "before", "after")
    return all(entry[key] == getattr(mutant, key) for key in keys)
