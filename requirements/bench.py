"""`python -m requirements.bench`: makes `.venv-bench`, with the rivals of `make bench-request`.

They have pins of their own, requirements/bench.txt, so that neither they nor the project hold the other back.
The project itself is not installed there: its folder is where the benchmark runs.
"""

import os
import shutil
import time

from requirements.environments import fill
from requirements.install import ROOT

ENVIRONMENT = ROOT / ".venv-bench"
PINS = ROOT / "requirements" / "bench.txt"
READY = ENVIRONMENT / ".ready"
"""Written last, so that an interrupted setup is repeated."""


def main() -> None:
    """Installs what the pins say."""
    noted_at = time.time()
    print(f"setting up {ENVIRONMENT.name} from {PINS.relative_to(ROOT)}", flush=True)
    shutil.rmtree(ENVIRONMENT, ignore_errors=True)  # it may be of another Python, or moved
    fill(ENVIRONMENT, PINS)
    READY.write_text(str(ROOT))
    os.utime(READY, (noted_at, noted_at))  # pins that were changed meanwhile are newer


if __name__ == "__main__":
    main()
