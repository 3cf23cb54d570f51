"""``python -m train``."""

from train.cli import run_cli

run_cli()
