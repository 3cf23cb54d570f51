"""How much memory is left."""

from pathlib import Path

CGROUP = Path("/sys/fs/cgroup")
MEMINFO = Path("/proc/meminfo")


def available_bytes() -> int | None:
    """Bytes that programs can still take on this machine, or in this container; None where the system does not tell."""
    known = [left for left in (_of_machine(), _of_container()) if left is not None]
    return min(known) if known else None


def _of_machine() -> int | None:
    try:
        lines = MEMINFO.read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")), None)


def _of_container() -> int | None:
    """What a limit leaves; the files that the container has cached can be dropped and count as free."""
    try:
        limit = int((CGROUP / "memory.max").read_text())  # 'max' where there is none
        used = int((CGROUP / "memory.current").read_text())
        rows = dict(line.split() for line in (CGROUP / "memory.stat").read_text().splitlines())
        return max(0, limit - used + int(rows.get("inactive_file", 0)))
    except (OSError, ValueError):
        return None
