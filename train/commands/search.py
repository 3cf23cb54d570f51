"""``train fit --search``; Optuna is imported only here, when a search begins or goes on."""

from collections.abc import Callable, Sequence

import typer

from train.distributed import World
from train.errors import TrainError, require_package
from train.loop.options import FitOptions
from train.loop.reporting import LineReporter
from train.search.settings import TrialSettings


def check_search(world: World) -> None:
    """Check that a search can be made here, before any work.

    Raises:
        TrainError: Optuna is missing, or there are several processes.
    """
    require_package("optuna", "search", "--search")
    if world.size > 1:
        raise TrainError(f"--search: its runs take one process, and here are {world.size}. Start it without torchrun")


def begin_search(
    settings: TrialSettings,
    reporter: LineReporter,
    options: FitOptions,
    fixed: list[str],
    trials: int,
    loggers: Sequence[str],
) -> None:
    """Search around ``options``, of which the fields ``fixed`` stay; see ``run_search``."""
    from train.search.search import run_search
    from train.search.study import SearchStudy

    run_search(SearchStudy.begin(settings.out, options, fixed, trials, loggers), settings, reporter)


def resume_search(
    settings: TrialSettings,
    reporter: LineReporter,
    check: Callable[[FitOptions], None],
    trials: int | None,
    loggers: Sequence[str],
) -> None:
    """Go on with the search in a folder, if ``check`` does not raise for the options that it began with."""
    from train.search.search import run_search
    from train.search.study import SearchStudy

    study = SearchStudy.resume(settings.out, trials, loggers)
    check(study.options)
    run_search(study, settings, reporter)


def given_options(context: typer.Context) -> list[str]:
    """Names of the options that are on the command line."""
    sources = {name: context.get_parameter_source(name) for name in context.params}
    return [name for name, source in sources.items() if source is not None and source.name == "COMMANDLINE"]
