"""How much memory this machine has free."""

from __future__ import annotations


def available_memory() -> int | None:
    """The bytes that can be allocated without swapping; None where the system does not say."""
    try:
        with open("/proc/meminfo", encoding="ascii") as file:  # noqa: PTH123 - not a file on a disk
            entries = dict(line.split(":", 1) for line in file)
        return int(entries["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):
        return None
