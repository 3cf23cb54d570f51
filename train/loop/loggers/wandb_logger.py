"""Weights & Biases. Nothing leaves the machine unless its user has logged in there."""

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from train.loop.loggers.base import PROJECT, Outcome, ResumableLogger, RunIdentity

os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
os.environ.setdefault("WANDB_SILENT", "true")

import requests  # a dependency of wandb's
import wandb  # reads the variables when it is imported

FINISH_TIMEOUT_S = 600.0
"""Of uploads at the end of a run; what is left can be uploaded with ``wandb sync``."""


class WandbLogger(ResumableLogger):
    """A run of Weights & Biases; without an API key it is kept in ``OUT/wandb``, as with ``WANDB_MODE=offline``."""

    def __init__(self, run: RunIdentity, on_message: Callable[[str], None]) -> None:
        """Begin a run there, or continue the one with the same id."""
        settings = wandb.Settings(console="off", silent=True, finish_timeout=FINISH_TIMEOUT_S)
        earlier = run.earlier or {}
        is_known = "WANDB_MODE" in os.environ or _is_logged_in()
        self._run = wandb.init(
            project=earlier.get("project") or os.environ.get("WANDB_PROJECT", PROJECT),
            entity=earlier.get("entity") or None,
            id=earlier.get("id"),
            resume="allow" if earlier else None,
            name=run.name,
            group=run.group,
            dir=str(run.out),
            config=run.config(),
            mode=None if is_known else "offline",
            settings=settings,
        )
        self._run.define_metric("images_seen", hidden=True)
        self._run.define_metric("*", step_metric="images_seen")
        self.identity = {"id": self._run.id, "project": self._run.project, "entity": self._run.entity or ""}
        on_message(f"wandb: {self._run.url or _offline(run.out)}")

    def scalars(self, group: str, values: Mapping[str, float], images_seen: int) -> None:
        """Log each value under ``group/name``."""
        self._run.log({"images_seen": images_seen} | {f"{group}/{name}": value for name, value in values.items()})

    def plots(self, files: Sequence[Path], images_seen: int) -> None:
        """Log images."""
        shown = {f"plots/{file.stem}": wandb.Image(str(file)) for file in files}
        self._run.log({"images_seen": images_seen} | shown)

    def model(self, best: Path) -> None:
        """Log an artifact of the type ``model``, named after the run."""
        artifact = wandb.Artifact(f"run-{self._run.id}-model", type="model")
        artifact.add_file(str(best), policy="immutable")  # no copy of it in a cache
        self._run.log_artifact(artifact, aliases=["best"])

    def close(self, outcome: Outcome) -> None:
        """Wait for uploads, and end wandb's own process."""
        self._run.finish(exit_code=0 if outcome is Outcome.DONE else 1)
        wandb.teardown()


def _is_logged_in() -> bool:
    """Whether an API key is found where wandb looks: in the environment, in its settings or in ``.netrc``."""
    settings = wandb.setup().settings
    in_environment = {"WANDB_API_KEY", "WANDB_IDENTITY_TOKEN_FILE"} & os.environ.keys()
    return bool(in_environment or settings.api_key or requests.utils.get_netrc_auth(settings.base_url))


def _offline(out: Path) -> str:
    return f"kept offline in {out / 'wandb'}; upload it with: wandb sync {out / 'wandb' / 'offline-run-*'}"
