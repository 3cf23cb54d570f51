"""The report of ``train check`` as text."""

from collections.abc import Iterator

from train.data.check_report import Kind, Report, SplitSummary, level_of
from train.text_tables import text_table


def report_text(report: Report, limit: int) -> str:
    """The report as lines, with up to ``limit`` problems of each kind."""
    parts = [split_text(split, report.size) for split in report.splits]
    if parts:
        parts.append("Sizes: 5/50/95 % of the boxes are this small or smaller.")
    parts += _problem_texts(report, limit)
    parts.append(f"{report.data}: {report.errors} errors, {len(report.problems) - report.errors} warnings")
    return "\n\n".join(parts)


def split_text(split: SplitSummary, size: int | None) -> str:
    """One split as a table, with columns for the network's input if its ``size`` is given."""
    listed = f" ({split.listed} listed)" if split.listed != split.images else ""
    unlabelled = f"{split.empty_label_file} with an empty label file, {split.no_label_file} without label file"
    head = f"{split.name}: {split.images} images{listed}, {unlabelled}, {split.unreadable} unreadable"
    columns = ["width px", "height px", *([f"width at {size}", f"height at {size}"] if size else [])]
    rows = []
    for c in split.classes:
        values = (c.width_px, c.height_px, c.input_width_px, c.input_height_px)[: len(columns)]
        cells = ("/".join(f"{v:.0f}" for v in value) or "-" for value in values)
        rows.append((c.name, str(c.boxes), str(c.images), *cells))
    return "\n".join([head, text_table(("class", "boxes", "images", *columns), rows)])


def _problem_texts(report: Report, limit: int) -> Iterator[str]:
    for kind in Kind:
        messages = [problem.message for problem in report.problems if problem.kind == kind]
        if messages:
            lines = [f"{level_of(kind)}: {kind}: {len(messages)}", *(f"  {line}" for line in messages[:limit])]
            if len(messages) > limit:
                lines.append(f"  … {len(messages) - limit} more; --limit shows more, --json writes all")
            yield "\n".join(lines)
