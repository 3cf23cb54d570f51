"""The trials of a search, kept by Optuna in ``search.db``: what to try next, what is hopeless, what came out."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import TrialState
from sqlalchemy import URL

from train.errors import TrainError
from train.loop.options import FitOptions
from train.search.files import STUDY_FILE, is_search
from train.search.space import base_values, search_space, suggested_values

STUDY_NAME = "search"
"""In the file, for tools such as optuna-dashboard."""
MIN_TRIALS_TO_COMPARE = 4
"""Trials without which none is ended early."""
RANDOM_SHARE = 0.3
"""Of the trials, from the first on: values are drawn at random, as a start for the sampler."""
TIME_STEPS = 10
"""Of a run that is limited in time: its validations are compared by tenths of the time."""
MIN_TRIALS_OF_IMPORTANCE = 8
"""Done ones, without which the importance of an option is anybody's guess."""


class Ended(StrEnum):
    """How a trial ended."""

    DONE = "done"
    PRUNED = "ended early"
    DIVERGED = "diverged"


@dataclass(frozen=True, slots=True)
class TrialRecord:
    """A trial that has ended."""

    number: int
    """From 1 on."""
    values: Mapping[str, float]
    """Options by field; only those that are searched."""
    map50_95: float
    """The best of its epochs; 0 if it diverged."""
    epochs: int
    ended: Ended


class SearchTrial:
    """A trial that runs."""

    def __init__(self, trial: optuna.Trial, number: int, values: dict[str, float]) -> None:
        self.trial, self.number, self.values = trial, number, values
        self._steps: set[int] = set()
        before: dict[str, float] = trial.user_attrs.get("stopped", {}).get("reports", {})
        for step, map50_95 in before.items():
            self._report(int(step), map50_95)

    def is_hopeless(self, step: int, map50_95: float) -> bool:
        """Whether this metric, with those before, is below the median of the others at the same step.

        Args:
            step: how far the run is, a number with the same meaning in all trials.
            map50_95: on val.
        """
        self._report(step, map50_95)
        return bool(self.trial.should_prune())

    def _report(self, step: int, map50_95: float) -> None:
        if step not in self._steps:
            self._steps.add(step)
            self.trial.report(0.0 if math.isnan(map50_95) else map50_95, step)


class SearchStudy:
    """All trials of a search."""

    def __init__(self, study: optuna.Study) -> None:
        self._study = study
        attributes = study.user_attrs
        self.options = FitOptions(**attributes["options"])
        """Those that are the same in all trials, and the first trial's values of the others."""
        self.wanted: int = attributes["trials"]
        self.loggers: tuple[str, ...] = tuple(attributes["loggers"])
        self.space = search_space(self.options, attributes["fixed"])

    @classmethod
    def begin(
        cls, out: Path, options: FitOptions, fixed: list[str], trials: int, loggers: Sequence[str]
    ) -> "SearchStudy":
        """Begin a search in a folder that is there; its first trial has the options as they are.

        Raises:
            TrainError: there is one already, or nothing to vary.
        """
        space = search_space(options, fixed)
        if is_search(out):
            raise TrainError(f"{out / STUDY_FILE} exists: go on with --resume, or choose another --out")
        study = optuna.create_study(
            storage=_address(out), study_name=STUDY_NAME, direction="maximize", pruner=_pruner(options)
        )
        attributes = {"options": asdict(options), "fixed": fixed, "trials": trials, "loggers": list(loggers)}
        for name, value in attributes.items():
            study.set_user_attr(name, value)
        study.enqueue_trial(base_values(options, space))
        return cls(study)

    @classmethod
    def resume(cls, out: Path, trials: int | None, loggers: Sequence[str]) -> "SearchStudy":
        """Continue the search in a folder, to another number of trials if one is given, and in more loggers.

        Raises:
            TrainError: there is none, or one of another version of this program.
        """
        if not is_search(out):
            raise TrainError(f"cannot resume a search: {out / STUDY_FILE} does not exist. Leave --resume out")
        study = optuna.load_study(storage=_address(out), study_name=STUDY_NAME)
        try:
            study.pruner = _pruner(FitOptions(**study.user_attrs["options"]))
        except (KeyError, TypeError) as error:
            raise TrainError(f"{out} has a search of another version of this program. Choose another --out") from error
        if trials is not None:
            study.set_user_attr("trials", trials)
        study.set_user_attr("loggers", list(dict.fromkeys([*study.user_attrs["loggers"], *loggers])))
        return cls(study)

    def trial_options(self, values: Mapping[str, Any]) -> FitOptions:
        """All options of a run with these values."""
        return replace(self.options, **values)

    def next_trial(self) -> SearchTrial:
        """The trial to run: the one that was stopped, if there is one, or values that promise most."""
        self._requeue_stopped()
        self._study.sampler = optuna.samplers.TPESampler(
            # What is drawn depends on the seed and the trials before, also in a search that is resumed.
            seed=self.options.seed + len(self.records()),
            n_startup_trials=max(MIN_TRIALS_TO_COMPARE, math.ceil(RANDOM_SHARE * self.wanted)),
        )
        trial = self._study.ask()
        number = trial.user_attrs.get("stopped", {}).get("number") or self._next_number()
        values = suggested_values(trial, self.space)
        trial.set_user_attr("run", {"number": number, "values": values})
        return SearchTrial(trial, number, values)

    def end(self, trial: SearchTrial, ended: Ended, map50_95: float, epochs: int) -> None:
        """Record what a trial came to."""
        trial.trial.set_user_attr("result", {"map50_95": map50_95, "epochs": epochs, "ended": ended.value})
        if ended is Ended.PRUNED:
            self._study.tell(trial.trial, state=TrialState.PRUNED)
        else:
            self._study.tell(trial.trial, map50_95)

    def records(self) -> list[TrialRecord]:
        """The trials that have ended, in their order."""
        trials = self._study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED))
        return sorted((_record(trial.user_attrs) for trial in trials), key=lambda record: record.number)

    def importances(self) -> dict[str, float]:
        """The share of each option in the difference between good and other trials; empty for too few trials."""
        done = self._study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        if len(done) < MIN_TRIALS_OF_IMPORTANCE or len(self.space) < 2:
            return {}
        evaluator = optuna.importance.PedAnovaImportanceEvaluator()
        return dict(optuna.importance.get_param_importances(self._study, evaluator=evaluator))

    def _requeue_stopped(self) -> None:
        for stopped in self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            self._study.tell(stopped.number, state=TrialState.FAIL)
            if run := stopped.user_attrs.get("run"):
                kept = {"number": run["number"], "reports": stopped.intermediate_values}
                self._study.enqueue_trial(stopped.params, {"stopped": kept})

    def _next_number(self) -> int:
        """One that no trial has, not even one that came to nothing: each has a folder of its own."""
        runs = [trial.user_attrs.get("run", {}) for trial in self._study.get_trials(deepcopy=False)]
        return 1 + max((run.get("number", 0) for run in runs), default=0)


def _address(out: Path) -> str:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return URL.create("sqlite", database=str((out / STUDY_FILE).resolve())).render_as_string()


def _pruner(options: FitOptions) -> optuna.pruners.BasePruner:
    steps = options.last_epoch or TIME_STEPS
    return optuna.pruners.MedianPruner(n_startup_trials=MIN_TRIALS_TO_COMPARE, n_warmup_steps=steps // 4)


def _record(attributes: Mapping[str, Any]) -> TrialRecord:
    run, result = attributes["run"], attributes["result"]
    return TrialRecord(run["number"], run["values"], result["map50_95"], result["epochs"], Ended(result["ended"]))
