"""Problems of a data set, and what to do about them.

Functions that read a data set pass each problem to ``on_problem``: training stops at the first problem, ``train check``
collects them all.
"""

from collections.abc import Callable

from train.errors import TrainError

OnProblem = Callable[[TrainError], None]
"""Called with a problem that names its file and line; if it returns, reading continues without the faulty part."""


def raise_problem(problem: TrainError) -> None:
    """Raise the problem."""
    raise problem
