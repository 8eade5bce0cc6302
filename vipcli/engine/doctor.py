"""What this machine has, and what it can run. It imports torch, so it is imported only when asked for."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from vipcli.checkpoints.catalog import KNOWN, PRECISIONS, KnownCheckpoint
from vipcli.checkpoints.hub_cache import format_size
from vipcli.engine.fast_imports import quick_imports

with quick_imports():
    import torch

# Loading and answering must leave the system something.
_SPARE = 0.92
_PACKAGES = ("vipcli", "torch", "transformers", "accelerate", "bitsandbytes", "huggingface_hub")


@dataclass(frozen=True, slots=True)
class Device:
    """Something to run on."""

    name: str
    description: str
    memory: int
    """Bytes."""


@dataclass(frozen=True, slots=True)
class Report:
    """What was found."""

    python: str
    system: str
    packages: dict[str, str | None]
    """Versions; None where a package is missing."""
    devices: tuple[Device, ...]

    @property
    def advice(self) -> tuple[str, ...]:
        """What could be better, in plain sentences."""
        return tuple(_advice(self))


def look() -> Report:
    """See what is here."""
    return Report(
        python=platform.python_version(),
        system=f"{platform.system()} {platform.machine()}",
        packages={name: _version(name) for name in _PACKAGES},
        devices=tuple(_devices()),
    )


def fits(device: Device, precisions: Sequence[int] = PRECISIONS) -> dict[str, int | None]:
    """For each known checkpoint, the most bits a weight that the device has room for; None for none."""
    return {name: most_bits(known, device.memory, precisions) for name, known in KNOWN.items()}


def most_bits(known: KnownCheckpoint, memory: int, precisions: Sequence[int] = PRECISIONS) -> int | None:
    """The most bits a weight with which a checkpoint fits into so much memory."""
    return next((bits for bits in precisions if known.memory(bits) <= memory * _SPARE), None)


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _devices() -> Iterator[Device]:
    for number in range(torch.cuda.device_count()):
        found = torch.cuda.get_device_properties(number)
        yield Device(f"cuda:{number}", found.name, found.total_memory)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if torch.backends.mps.is_available():
        yield Device("mps", "Apple GPU, sharing the machine's memory", memory)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    yield Device("cpu", f"{_processor()}, {cores} cores", memory)


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:  # noqa: PTH123 - not a file on a disk
            names = (line.partition(":")[2].strip() for line in file if line.startswith("model name"))
            return next(names, platform.machine())
    except OSError:
        return platform.processor() or platform.machine()


def _advice(report: Report) -> Iterator[str]:
    if report.packages["bitsandbytes"] is None:
        yield "bitsandbytes is not installed, so nothing can run in 4 or 8 bits: pip install bitsandbytes."
    if torch.version.cuda is None and _has_nvidia():
        yield (
            "There is an NVIDIA GPU, but this torch was built without CUDA. "
            "Install the CUDA build of torch to use it."
        )
    elif torch.version.cuda is not None and not torch.cuda.is_available():
        yield "This torch was built for CUDA, but finds no GPU that it can use. Check the driver: nvidia-smi."


def _has_nvidia() -> bool:
    return os.path.exists("/proc/driver/nvidia/version")  # noqa: PTH110 - not a file on a disk


def record(report: Report) -> dict[str, Any]:
    """What was found, as one object for scripts."""
    devices = [{**asdict(device), "fits": fits(device)} for device in report.devices]
    return {**asdict(report), "devices": devices, "advice": list(report.advice)}


def lines(report: Report) -> Iterator[str]:
    """What was found, for people."""
    yield f"Python {report.python} on {report.system}"
    for name, found in report.packages.items():
        yield f"{name:16} {found or '-'}"
    for device in report.devices:
        yield ""
        yield f"{device.name}: {device.description}, {format_size(device.memory)} of memory"
        for name, bits in fits(device).items():
            yield f"  {name:26} {_told(device, bits)}"


def _told(device: Device, bits: int | None) -> str:
    if bits is None:
        return "does not fit"
    # There, 32 are the default.
    how = " with --dtype bfloat16" if bits == 16 and device.name == "cpu" else ""
    return f"fits in {bits} bits{how}"
