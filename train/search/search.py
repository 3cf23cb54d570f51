"""Runs the trials of a search, one after the other, each in a folder of its own."""

from functools import partial
from pathlib import Path

from train.cli_options import option_name
from train.distributed import World
from train.errors import TrainError
from train.evaluation.metrics import Metrics
from train.loop.engine import DivergedRunError
from train.loop.interrupt import InterruptedRunError
from train.loop.loggers.opening import LogOptions
from train.loop.options import FitOptions
from train.loop.reporting import LineReporter
from train.loop.run import Run, resumed_run
from train.search.files import trial_folder
from train.search.plot import plot_search
from train.search.reporter import TrialReporter
from train.search.results import best_trial, fit_command, trials_table, write_csv
from train.search.settings import TrialSettings
from train.search.study import TIME_STEPS, Ended, SearchStudy, SearchTrial


def run_search(study: SearchStudy, settings: TrialSettings, reporter: LineReporter) -> None:
    """Run the trials that are left; after each, write ``search.csv`` and ``search.png``. Report the best at the end.

    Raises:
        InterruptedRunError: Ctrl+C or SIGTERM; the state has been saved.
        TrainError: a run cannot be begun, or ends with an error other than a loss that diverges; or all diverged.
    """
    _announce(study, settings, reporter)
    while len(study.records()) < study.wanted:
        trial = study.next_trial()
        title = f"trial {trial.number}/{study.wanted}"
        tried = " ".join(f"{option_name(FitOptions, name)} {value:g}" for name, value in trial.values.items())
        reporter.message(f"{title}: {tried}")
        ended, map50_95, epochs = _run_trial(trial, study, settings, TrialReporter(reporter, title))
        study.end(trial, ended, map50_95, epochs)
        reporter.message(f"{title}: {ended.value} after {epochs} epochs, best mAP50-95 {map50_95:.3f}")
        write_csv(study.records(), study.space, settings.out / "search.csv")
        plot_search(study.records(), study.space, study.importances(), settings.out / "search.png")
    _report(study, settings, reporter)


def _announce(study: SearchStudy, settings: TrialSettings, reporter: LineReporter) -> None:
    options = study.options
    length = f"{options.time}" if options.time else f"{options.epochs} epochs"
    varied = ", ".join(entry.label for entry in study.space)
    reporter.message(f"search over {varied}: {study.wanted} trials of at most {length} each, in {settings.out}")
    if ended := len(study.records()):
        reporter.message(f"{ended} of them have ended")


def _run_trial(
    trial: SearchTrial, study: SearchStudy, settings: TrialSettings, reporter: LineReporter
) -> tuple[Ended, float, int]:
    """Train; how that ended, the best mAP50-95 and the number of epochs."""
    folder = trial_folder(settings.out, trial.number)
    search_name = settings.out.resolve().name
    run = _begin_or_resume(folder, study.trial_options(trial.values), settings)
    try:
        is_pruned = run.fit(
            workers=settings.workers,
            save_every_steps=settings.save_every_steps,
            reporter=reporter,
            cache=settings.cache,
            log=LogOptions(study.loggers, f"{search_name}-{folder.name}", search_name),
            ends_early=partial(_is_hopeless, trial, run),
        )
    except DivergedRunError as error:
        reporter.message(str(error))
        return Ended.DIVERGED, 0.0, run.progress.epoch
    except InterruptedRunError as stopped:
        place = f"trial {trial.number}, epoch {run.progress.epoch + 1} after step {run.progress.step}"
        again = f"realtime train fit {settings.data.path} --out {settings.out} --resume"
        raise InterruptedRunError(stopped.signal_number, f"stopped in {place}; go on with: {again}") from stopped
    best = (run.progress.best or {}).get("map50_95") or 0.0
    return Ended.PRUNED if is_pruned else Ended.DONE, best, run.progress.epoch


def _begin_or_resume(folder: Path, options: FitOptions, settings: TrialSettings) -> Run:
    if (folder / "last.pt").exists():
        return resumed_run(folder / "last.pt", settings.data, settings.device, World())
    run = Run(options, settings.data, folder, settings.device, World())
    folder.mkdir(exist_ok=True)
    return run


def _is_hopeless(trial: SearchTrial, run: Run, metrics: Metrics) -> bool:
    progress, options = run.progress, run.options
    if options.time:
        is_last, step = progress.share >= 1, int(progress.share * TIME_STEPS)
    else:
        is_last, step = progress.epoch >= options.epochs, progress.epoch
    return trial.is_hopeless(step, metrics.map50_95) and not is_last


def _report(study: SearchStudy, settings: TrialSettings, reporter: LineReporter) -> None:
    records = study.records()
    reporter.message(trials_table(records, study.space))
    if all(record.ended is Ended.DIVERGED for record in records):
        raise TrainError(
            "all trials of the search diverged. Lower --lr or lengthen --warmup-steps, and choose another --out"
        )
    best = best_trial(records)
    checkpoint = trial_folder(settings.out, best.number) / "best.pt"
    reporter.message(f"drawn in {settings.out / 'search.png'}; the best: {checkpoint}")
    command = fit_command(study.trial_options(best.values), settings.data.path, settings.out / "best")
    reporter.message(f"Train with its options: {command}")
