"""``python -m export``."""

from export.cli import run_cli

run_cli()
