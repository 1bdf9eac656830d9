# SPDX-License-Identifier: Apache-2.0
"""The worker's `/status` page as people want to see it: every stage on its way from the queue to S3."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

__all__ = ["live_view"]

#: Stages in the order of a job's way, and what to call them.
_STAGES = {
    "fetch": "fetch",
    "decode": "decode",
    "segment": "segment",
    "wait": "wait for room",
    "inference": "inference",
    "publish": "publish",
}
#: Jobs named in a stage's row at most.
_NAMED = 3


def live_view(status: Mapping[str, Any] | None, done: int, wanted: int) -> RenderableType:
    """One picture of the worker.

    Args:
        status: The page; None while the worker cannot be asked yet.
        done: Jobs that have a result.
        wanted: Jobs in all.
    """
    progress = Table.grid(padding=(0, 1))
    progress.add_row(Text("jobs"), ProgressBar(total=max(1, wanted), completed=done, width=40), f"{done} of {wanted}")
    if status is None:
        return Group(progress, Text("the worker is starting …", style="dim"))
    totals, engine = status["totals"], status["engine"]
    stages = Table(box=None, pad_edge=False, show_header=True, header_style="dim")
    for heading in ("stage", "jobs", "under way"):
        stages.add_column(heading, justify="right" if heading == "jobs" else "left", no_wrap=True)
    stages.add_row("receive", str(status["waiting"]), Text(f"{status['leases']} leases held", style="dim"))
    for stage, name in _STAGES.items():
        page = status["stages"][stage]
        stages.add_row(name, str(page["jobs"]), _named(page["under_way"]))
    uptime = max(status["uptime"], 1e-6)
    about = (
        f"{engine['name']} on {engine['device']}, {engine['compute_type']}, batches of {engine['batch_size']}"
        if engine
        else "loading the model"
    )
    figures = Text(
        f"{totals['windows']} windows in {totals['batches']} batches · {totals['audio_seconds']:.0f} s of audio done · "
        f"device busy {100 * totals['busy_seconds'] / uptime:.0f} % · "
        f"buffer {status['buffer']['seconds']:.0f} of {status['buffer']['limit']:.0f} s",
        style="dim",
    )
    title = f"sqscribe {status['version']} · {status['phase']} · {about}"
    return Group(progress, Panel(Group(stages, figures), title=title, title_align="left"))


def _named(jobs: list[Mapping[str, Any]]) -> Text:
    names = [
        f"{job['job']} {job['windows_done']}/{job['windows']}" if job["windows"] else str(job["job"])
        for job in jobs[:_NAMED]
    ]
    return Text(", ".join(names) + (" …" if len(jobs) > _NAMED else ""), overflow="ellipsis")
