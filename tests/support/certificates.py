"""Certificates of localhost, made by openssl."""

import subprocess
from pathlib import Path


def make_certificate(folder: Path, name: str, *, days: int) -> tuple[Path, Path]:
    """Makes a self-signed certificate of localhost and its key; with negative days it has expired."""
    certificate, key, request = (folder / f"{name}.{kind}" for kind in ("pem", "key", "csr"))
    extensions = folder / f"{name}.ext"
    extensions.write_text("subjectAltName=DNS:localhost,IP:127.0.0.1\n")
    curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    for command in (
        ("req", "-new", *curve, "-subj", "/CN=localhost", "-keyout", key, "-out", request),
        (
            *("x509", "-req", "-in", request, "-signkey", key),
            *("-days", str(days), "-extfile", extensions, "-out", certificate),
        ),
    ):
        subprocess.run(["openssl", *map(str, command)], check=True, capture_output=True)  # noqa: S607
    return certificate, key
