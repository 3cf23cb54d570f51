"""``realtime doctor``."""

from typing import Annotated

import typer

from realtime.commands.console import print_result
from realtime.commands.options import Model


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")] = False,
    model: Model = "nano",
) -> None:
    """Check what works on this machine, and say how to fix what does not. Exit code 1 if the app cannot run."""
    import json

    from realtime.doctor.report import Report, as_lines, examine

    report = Report()
    for title, findings in examine(model):
        report.sections[title] = findings
        if not as_json:
            print_result("\n".join(as_lines(title, findings)))
    print_result(json.dumps(report.to_json(), indent=2) if as_json else f"verdict: {report.verdict}")
    if not report.can_run:
        raise typer.Exit(1)
