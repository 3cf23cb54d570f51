"""``realtime bench``."""

from pathlib import Path
from typing import Annotated

import typer

from realtime.commands.console import Notices, exit_if_stopped, print_result
from realtime.commands.opening import chosen_threshold, open_detector, speed_notices
from realtime.commands.options import LiveReach, Model, ProviderOption, Threshold
from realtime.formatting import counted
from realtime.inference.cores import file_concurrency
from realtime.inference.providers import Provider
from realtime.stopping import StopRequests


def bench(
    path: Annotated[
        Path | None, typer.Argument(metavar="[VIDEO]", help="Video file; by default synthetic frames of 1280x720.")
    ] = None,
    frames: Annotated[int, typer.Option(min=1, help="How many frames to run.")] = 300,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
    model: Model = "nano",
    provider: ProviderOption = Provider.AUTO,
    threshold: Threshold = None,
    reach: LiveReach = "auto",
) -> None:
    """Measure frames/s and the milliseconds of each stage on this machine.

    First as realtime video processes a file, encoder included, with several frames at a time on the CPU; then as
    realtime cam does, one frame at a time.
    """
    import json

    from realtime.bench import run_benchmark, table
    from realtime.inference.detector import OnnxDetector, find_model
    from realtime.regions.tiles import Reach

    how_far = Reach.parse(reach)
    live = open_detector(model, provider)
    batch = live
    if live.provider is Provider.CPU and live.max_batch == 1 and file_concurrency() > 1:
        batch = OnnxDetector(find_model(model), provider=Provider.CPU, concurrency=file_concurrency())
    least = chosen_threshold(threshold, live)
    with StopRequests() as requests:
        stats, report = run_benchmark(
            batch, live, video=path, max_frames=frames, threshold=least, reach=how_far, requests=requests
        )
    Notices(speed_notices(live, model)).print()
    print_result(json.dumps(report, indent=2) if as_json else table(stats, report))
    exit_if_stopped(requests, f"stopped after {counted(stats.frames, 'frame')}")
