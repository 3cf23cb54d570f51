"""The process that ``isolated.run_isolated`` starts for one check."""

import sys
from importlib import import_module

from realtime.doctor.isolated import answer
from realtime.doctor.report import CHECKS

if __name__ == "__main__":
    module, function = CHECKS[sys.argv[1]]
    answer(getattr(import_module(module), function), sys.argv[2:])
