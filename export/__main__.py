"""``python -m export``."""

import sys

from train.errors import missing_extra

try:
    from export.cli import run_cli
except ModuleNotFoundError as error:
    sys.exit(missing_extra("python -m export", error))

run_cli()
