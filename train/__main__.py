"""``python -m train``."""

import sys

from train.errors import missing_extra

try:
    from train.cli import run_cli
except ModuleNotFoundError as error:
    sys.exit(missing_extra("python -m train", error))

run_cli()
