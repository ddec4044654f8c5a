"""Old and new pips, as folders for PYTHONPATH."""

import subprocess
from pathlib import Path

from uv import find_uv_bin

from requirements.install import environment_of_uv, ways_to_packages

# The pip that each Python first came with, and the newest at the time of writing, with the wheel's hash.
OLDEST_PIP = {
    (3, 11): ("22.3", "1daab4b8d3b97d1d763caeb01a4640a2250a0ea899e257b1e44b9eded91e15ab"),
    (3, 12): ("23.2.1", "7ccf472345f20d35bdc9d1841ff5f313260c2c33fe417f48c30ac46cccabf5be"),
    (3, 13): ("24.2", "2cd581cf58ab7fcfca4ce8efa6dcacd0de5bf8d0a3eb9ec927e07405f4d9e2a2"),
}
NEWEST_PIP = ("26.3", "f3b60b20ffaadd4415ed7957212a38ac63fa4c5fa375bd0f4a797777940fad13")


def fetch_pip(folder: Path, version: str, digest: str) -> Path:
    """Fetches this version of pip; returns a folder for PYTHONPATH."""
    pin = folder / "pip.txt"
    pin.write_text(f"pip=={version} --hash=sha256:{digest}\n")
    command = [
        find_uv_bin(),
        "pip",
        "install",
        "--quiet",
        *ways_to_packages(),
        "--require-hashes",
        "--target",
        folder / version,
        "-r",
        pin,
    ]
    subprocess.run(command, env=environment_of_uv(), check=True)
    return folder / version
