"""MLflow. Without a tracking server that its user set, runs are kept where MLflow keeps them by default."""

import logging
import os
import re
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from realtime.redaction import redacted
from train.loop.loggers.base import PROJECT, Outcome, ResumableLogger, RunIdentity

# MLflow reports its use to its makers unless told otherwise, and waits minutes for a server that is gone.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "3")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "30")

import mlflow  # reads the variables when it is imported
from mlflow.entities import Metric, Param

STATUS = {Outcome.DONE: "FINISHED", Outcome.STOPPED: "KILLED", Outcome.FAILED: "FAILED"}
UNUSABLE = re.compile(r"[^\w\-. ]")
"""Characters that names of metrics cannot have; a slash makes a group."""
MAX_PARAM_LENGTH = 500
"""Characters of a value, in all versions of MLflow."""


class MlflowLogger(ResumableLogger):
    """A run of MLflow."""

    def __init__(self, run: RunIdentity, on_message: Callable[[str], None]) -> None:
        """Begin a run there, or continue the one with the same id."""
        logging.getLogger("mlflow").setLevel(logging.WARNING)  # it would report each table that it creates
        logging.getLogger("alembic").setLevel(logging.WARNING)
        earlier = run.earlier or {}
        is_set = "MLFLOW_TRACKING_URI" in os.environ
        uri = mlflow.get_tracking_uri() if is_set else earlier.get("tracking_uri") or mlflow.get_tracking_uri()
        self._client = mlflow.MlflowClient(tracking_uri=uri)
        experiment = os.environ.get("MLFLOW_EXPERIMENT_NAME", PROJECT)
        self._id = earlier.get("id") or self._begin(experiment, run)
        self._client.update_run(self._id, status="RUNNING")
        # An address that was set may hold a password, and is set again when the run is resumed.
        self.identity = {"id": self._id} | ({} if is_set else {"tracking_uri": uri})
        on_message(f"mlflow: run {run.name} of experiment {experiment} in {redacted(uri)}")

    def scalars(self, group: str, values: Mapping[str, float], images_seen: int) -> None:
        """Log each value under ``group/name``, with characters that MLflow does not take replaced."""
        now_ms = int(time.time() * 1000)
        metrics = [Metric(metric_name(group, name), value, now_ms, images_seen) for name, value in values.items()]
        self._client.log_batch(self._id, metrics=metrics)

    def plots(self, files: Sequence[Path], images_seen: int) -> None:
        """Store the files as the artifacts ``plots``, over those of an earlier epoch."""
        for file in files:
            self._client.log_artifact(self._id, str(file), "plots")

    def model(self, best: Path) -> None:
        """Store the file as an artifact."""
        self._client.log_artifact(self._id, str(best))

    def close(self, outcome: Outcome) -> None:
        """End the run."""
        self._client.set_terminated(self._id, STATUS[outcome])

    def _begin(self, experiment: str, run: RunIdentity) -> str:
        found = self._client.get_experiment_by_name(experiment)
        experiment_id = found.experiment_id if found else self._client.create_experiment(experiment)
        config = run.config()
        tags = {"mlflow.source.git.commit": config.get("git_revision"), "search": run.group}
        begun = self._client.create_run(
            experiment_id, run_name=run.name, tags={name: str(value) for name, value in tags.items() if value}
        )
        params = [Param(name, _text(value)) for name, value in config.items()]
        self._client.log_batch(begun.info.run_id, params=params)
        if config:
            self._client.log_artifact(begun.info.run_id, str(run.out / "run.json"))
        return str(begun.info.run_id)


def metric_name(group: str, name: str) -> str:
    """A name that MLflow takes: names of classes may hold any character."""
    return f"{group}/{UNUSABLE.sub('_', name)}"


def _text(value: Any) -> str:
    text = str(value)
    return text if len(text) <= MAX_PARAM_LENGTH else f"{text[: MAX_PARAM_LENGTH - 1]}…"
