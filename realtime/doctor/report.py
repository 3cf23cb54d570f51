"""All checks in their order, and the verdict."""

import platform
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from realtime.doctor.findings import Finding, Level
from realtime.doctor.isolated import run_isolated
from realtime.doctor.software import LIBRARIES
from realtime.errors import one_line

CHECKS = {
    "app": ("realtime.doctor.software", "check_app"),
    "library": ("realtime.doctor.software", "check_library"),
    "models": ("realtime.doctor.inference", "check_models"),
    "gpus": ("realtime.doctor.inference", "check_gpus"),
    "provider": ("realtime.doctor.inference", "check_provider"),
    "cameras": ("realtime.doctor.cameras", "check_cameras"),
    "camera-backends": ("realtime.doctor.media", "check_camera_backends"),
    "window": ("realtime.doctor.media", "check_window"),
    "encoder": ("realtime.doctor.media", "check_encoder"),
    "decoders": ("realtime.doctor.media", "check_decoders"),
}
"""Module and function of each check, by the name under which ``realtime.doctor.__main__`` runs it."""

TIMEOUT_S = 60.0
PROVIDER_TIMEOUTS_S = {"cpu": 120.0, "cuda": 180.0, "tensorrt": 900.0}
"""TensorRT times many implementations of each node before its first image."""

Runner = Callable[..., list[Finding]]


@dataclass(slots=True)
class Report:
    """The findings by section."""

    sections: dict[str, list[Finding]] = field(default_factory=dict)

    @property
    def can_run(self) -> bool:
        """Whether the app works here: its libraries load, and the model runs on at least one provider."""
        return bool(self._working) and not any(
            finding.level is Level.FAILURE for findings in self.sections.values() for finding in findings
        )

    @property
    def verdict(self) -> str:
        """One line: whether the app runs here, and on which provider fastest."""
        if not self.can_run:
            return "the app cannot run here; what is marked as failure says why"
        best = min(self._working, key=lambda data: data["median_ms"])
        return f"the app runs here; fastest on {best['provider']}, {best['median_ms']:.1f} ms per image"

    @property
    def _working(self) -> list[dict[str, Any]]:
        return [finding.data for finding in self.sections.get("providers", []) if finding.data.get("runs")]

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        sections = {title: [finding.to_json() for finding in found] for title, found in self.sections.items()}
        return {"can_run": self.can_run, "verdict": self.verdict, "sections": sections}


def examine(model: str, run: Runner = run_isolated) -> Iterator[tuple[str, list[Finding]]]:
    """Run all checks, with ``model`` on each provider; yields each section when it is complete."""

    def check(name: str, *arguments: str, if_broken: Level = Level.WARNING) -> list[Finding]:
        return run(name, *arguments, timeout_s=TIMEOUT_S, if_broken=if_broken)

    software = check("app")
    for module in LIBRARIES:
        software += check("library", module, if_broken=Level.FAILURE)
    yield "software", software
    yield "models", check("models")
    providers = check("gpus") if platform.system() != "Darwin" else []
    for name, timeout_s in PROVIDER_TIMEOUTS_S.items():
        providers += run("provider", name, model, timeout_s=timeout_s, if_broken=Level.WARNING)
    if not any(finding.data.get("runs") for finding in providers):
        providers.append(Finding(Level.FAILURE, f"model {model} runs on no provider", "see the lines above"))
    yield "providers", providers
    yield "cameras", check("cameras") + check("camera-backends")
    yield "pictures", check("window") + check("encoder", "libx264") + check("encoder", "aac") + check("decoders")


def as_lines(title: str, findings: list[Finding]) -> Iterator[str]:
    """A section of the report for people."""
    yield title
    for finding in findings:
        yield f"  {finding.level.value:<8} {one_line(finding.text, 500)}"
        if finding.remedy:
            yield f"  {'':<8} -> {finding.remedy}"
