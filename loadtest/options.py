"""What several commands can be asked for, and where they tell what happens."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

console = Console()

Users = Annotated[int, typer.Option(envvar="USERS", min=1, help="Shoppers at the same time.")]

Reports = Annotated[Path, typer.Option(envvar="REPORTS", help="Where each run's report gets a folder.")]
