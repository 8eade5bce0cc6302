"""What this machine has, and which checkpoints fit. It imports torch, so import it only when needed."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from vipcli import __version__
from vipcli.checkpoints.catalog import KNOWN, PRECISIONS, KnownCheckpoint
from vipcli.checkpoints.hub_cache import format_size
from vipcli.engine.compat import quick_imports
from vipcli.errors import Message

with quick_imports():
    import torch

# The share of memory that a checkpoint may take. Loading, answering and the system need the rest.
_USABLE = 0.92
_PACKAGES = ("vipcli", "torch", "transformers", "accelerate", "bitsandbytes", "huggingface_hub")


@dataclass(frozen=True, slots=True)
class Device:
    """A GPU or the CPU."""

    name: str
    description: str
    memory: int
    """Bytes."""


@dataclass(frozen=True, slots=True)
class MachineReport:
    """Versions and devices of this machine."""

    python: str
    system: str
    packages: dict[str, str | None]
    """Versions; None where a package is not installed."""
    devices: tuple[Device, ...]

    @property
    def advice(self) -> tuple[str, ...]:
        """What could be improved."""
        return tuple(_advice(self))


def inspect_machine() -> MachineReport:
    """Collect the versions and devices of this machine."""
    return MachineReport(
        python=platform.python_version(),
        system=f"{platform.system()} {platform.machine()}",
        packages={name: _version(name) for name in _PACKAGES},
        devices=tuple(_devices()),
    )


def fits(device: Device, precisions: Sequence[int] = PRECISIONS) -> dict[str, int | None]:
    """For each known checkpoint, the most bits per weight with which it fits into a device, or None."""
    return {name: max_bits(known, device.memory, precisions) for name, known in KNOWN.items()}


def max_bits(known: KnownCheckpoint, memory: int, precisions: Sequence[int] = PRECISIONS) -> int | None:
    """The most bits per weight with which a checkpoint fits into this many bytes, or None."""
    return next((bits for bits in precisions if known.memory(bits) <= memory * _USABLE), None)


def _version(package: str) -> str | None:
    # vipcli may run from its sources, without installed metadata.
    if package == "vipcli":
        return __version__
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _devices() -> Iterator[Device]:
    for number in range(torch.cuda.device_count()):
        gpu = torch.cuda.get_device_properties(number)
        yield Device(f"cuda:{number}", gpu.name, gpu.total_memory)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if torch.backends.mps.is_available():
        yield Device("mps", "Apple GPU, sharing the machine's memory", memory)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    yield Device("cpu", f"{_cpu_name()}, {cores} cores", memory)


def _cpu_name() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:  # noqa: PTH123 - not a file on a disk
            names = (line.partition(":")[2].strip() for line in file if line.startswith("model name"))
            return next(names, platform.machine())
    except OSError:
        return platform.processor() or platform.machine()


def _advice(report: MachineReport) -> Iterator[str]:
    if report.packages["bitsandbytes"] is None:
        yield "bitsandbytes is not installed, so nothing can run in 4 or 8 bits: pip install bitsandbytes."
    if torch.version.cuda is None and _has_nvidia_driver():
        yield (
            "There is an NVIDIA GPU, but this torch was built without CUDA. "
            "Install the CUDA build of torch to use it."
        )
    elif torch.version.cuda is not None and not torch.cuda.is_available():
        yield "This torch was built for CUDA, but finds no GPU that it can use. Check the driver: nvidia-smi."


def _has_nvidia_driver() -> bool:
    return os.path.exists("/proc/driver/nvidia/version")  # noqa: PTH110 - not a file on a disk


def as_record(report: MachineReport) -> dict[str, Any]:
    """The report as one object for scripts."""
    devices = [{**asdict(device), "fits": fits(device)} for device in report.devices]
    return {**asdict(report), "devices": devices, "advice": list(report.advice)}


def as_lines(report: MachineReport) -> Iterator[Message]:
    """The report as lines of text."""
    yield Message(f"Python {report.python} on {report.system}")
    for name, version in report.packages.items():
        yield Message(f"{name:16} {version or '-'}")
    for device in report.devices:
        yield Message("")
        yield Message(f"{device.name}: {device.description}, {format_size(device.memory)} of memory")
        for name, bits in fits(device).items():
            fit = "does not fit" if bits is None else f"fits in {bits} bits"
            # On a CPU, the default is 32 bits.
            advice = "with {dtype=bfloat16}" if bits == 16 and device.name == "cpu" else None
            yield Message(f"  {name:26} {fit}", advice)
