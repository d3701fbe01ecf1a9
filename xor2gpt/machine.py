"""The machine a run happens on: its device, its processor and memory, the versions of its packages.

Does: choose the device for tensors (cuda, then mps, then cpu) by trying it; describe the machine
and the versions in plain data that a result file can hold.
Does not: record a host name, a user name or a path; change a setting of torch or of the system.

PyTorch is imported only by the functions that need a device, so that the rest stays quick and
``doctor`` can run where it is missing.
"""

from __future__ import annotations

import functools
import importlib.metadata
import os
import platform
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

__all__ = [
    "DEVICES",
    "bf16_support",
    "cores",
    "cpu_model",
    "describe_machine",
    "machine_line",
    "memory_gib",
    "pick_device",
    "usable_devices",
    "versions",
]

DEVICES = ("cuda", "mps", "cpu")  # in order of preference
_GIB = 2**30
_CGROUP = Path("/sys/fs/cgroup")
_CPUINFO = Path("/proc/cpuinfo")


# --- device ---------------------------------------------------------------------------------------


def _is_there(kind: str) -> bool:
    """Whether torch reports a device of this kind."""
    import torch

    if kind == "cuda":
        return torch.cuda.is_available()
    if kind == "mps":
        return torch.backends.mps.is_available()
    return True


def _works(kind: str) -> bool:
    """Whether a small matrix product on this device gives the right answer.

    A device can be reported and still fail: a driver too old for the wheel, a card that the
    wheel holds no kernels for.
    """
    import torch

    try:
        ones = torch.ones((2, 2), device=kind)
        return bool((ones @ ones).sum().item() == 8.0)
    except (RuntimeError, AssertionError, NotImplementedError):
        return False


@functools.cache
def usable_devices() -> tuple[str, ...]:
    """The kinds of device that torch reports and that answer, best first; ``"cpu"`` is the last."""
    return tuple(kind for kind in DEVICES if kind == "cpu" or (_is_there(kind) and _works(kind)))


def pick_device(wish: str | None = None) -> torch.device:
    """The best device that works here: cuda, then mps, then cpu.

    ``wish`` (``"cuda"``, ``"mps"`` or ``"cpu"``), or else the environment variable
    ``XOR2GPT_DEVICE``, names one device instead. Raises ``ValueError`` when that is no device this
    course knows, ``RuntimeError`` when it does not work on this machine.
    """
    import torch

    wish = wish or os.environ.get("XOR2GPT_DEVICE") or None
    if wish is not None and wish not in DEVICES:
        raise ValueError(f"unknown device {wish!r}: use one of {', '.join(DEVICES)}")
    usable = usable_devices()
    if wish is not None and wish not in usable:
        raise RuntimeError(
            f"device {wish!r} does not work here (usable: {', '.join(usable)}): "
            "choose a usable one, or run `python -m xor2gpt doctor` to see why"
        )
    return torch.device(wish or usable[0])


def gpu_name(kind: str) -> str | None:
    """The model of the GPU behind ``kind`` (``"cuda"`` or ``"mps"``); ``None`` for the CPU."""
    if kind == "cuda":
        import torch

        return torch.cuda.get_device_name(0)
    if kind == "mps":
        return f"{cpu_model()} (GPU part)"
    return None


def bf16_support(kind: str = "cpu") -> str | None:
    """The hardware behind bfloat16 products on ``kind``, in words; ``None`` where there is none.

    For the CPU it is read from the processor's flags. Without hardware support torch still
    computes in bfloat16, only slower than in float32.
    """
    if kind == "cuda":
        import torch

        has = torch.cuda.is_bf16_supported(including_emulation=False)
        return "tensor cores" if has else None
    if kind == "mps":
        return None  # torch does not report it
    flags = _cpu_flags()
    for flag, words in (("amx_bf16", "AMX"), ("avx512_bf16", "AVX-512"), ("bf16", "ARM BF16")):
        if flag in flags:
            return words
    return None


# --- processor and memory -------------------------------------------------------------------------


def _sysctl(name: str) -> str:
    """One value of macOS's ``sysctl``, or an empty string."""
    try:
        done = subprocess.run(
            ["sysctl", "-n", name], capture_output=True, text=True, timeout=5, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()


def _cpuinfo_field(*names: str) -> str:
    """The first value of one of the named fields in Linux's ``/proc/cpuinfo``, or ``""``."""
    try:
        lines = _CPUINFO.read_text(errors="replace").splitlines()
    except OSError:
        return ""
    for line in lines:
        key, _, value = line.partition(":")
        if key.strip() in names:
            return value.strip()
    return ""


def _cpu_flags() -> set[str]:
    """The processor's feature flags in the system's own lower-case words."""
    if platform.system() == "Darwin":
        return {"bf16"} if _sysctl("hw.optional.arm.FEAT_BF16") == "1" else set()
    return set(_cpuinfo_field("flags", "Features").lower().split())


def cpu_model() -> str:
    """The processor's model name, as its maker writes it where the system tells it."""
    if platform.system() == "Darwin":
        name = _sysctl("machdep.cpu.brand_string")
    else:
        name = _cpuinfo_field("model name", "Model")
    return name or platform.processor() or platform.machine() or "unknown"


def cores() -> tuple[int | None, int, int]:
    """``(physical, logical, usable)`` cores; usable counts what this process may run on.

    A container's share (cgroup v2 ``cpu.max``) and the process's affinity lower the usable ones.
    """
    logical = os.cpu_count() or 1
    try:
        import psutil

        physical = psutil.cpu_count(logical=False)
    except ImportError:
        physical = None
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else logical
    try:
        quota, period = (_CGROUP / "cpu.max").read_text().split()
        if quota != "max":
            usable = min(usable, max(1, round(int(quota) / int(period))))
    except (OSError, ValueError):
        pass
    return physical, logical, usable


def memory_gib() -> tuple[float, float]:
    """``(total, available)`` memory in GiB, a container's limit (cgroup v2) respected.

    Raises ``ImportError`` where psutil is missing.
    """
    import psutil

    memory = psutil.virtual_memory()
    total, available = memory.total, memory.available
    try:
        limit = (_CGROUP / "memory.max").read_text().strip()
        used = int((_CGROUP / "memory.current").read_text())
        if limit != "max" and int(limit) < total:
            total, available = int(limit), min(available, max(0, int(limit) - used))
    except (OSError, ValueError):
        pass
    return total / _GIB, available / _GIB


def _os_name() -> str:
    """The operating system's name and version, without the host's name."""
    if platform.system() == "Darwin":
        return f"macOS {platform.mac_ver()[0]}"
    if platform.system() == "Linux":
        try:
            return platform.freedesktop_os_release()["PRETTY_NAME"]
        except (OSError, KeyError):
            pass
    return f"{platform.system()} {platform.release()}"


def describe_machine() -> dict[str, str | int | float | None]:
    """What a reader needs to judge a time: processor, cores, memory in GiB, system, GPU if any.

    ``gpu`` is the model of the GPU that `pick_device` would use, ``None`` where it would use none.
    It holds no host name, user name or path.
    """
    physical, logical, usable = cores()
    return {
        "cpu": cpu_model(),
        "architecture": platform.machine(),
        "cores_physical": physical,
        "cores_logical": logical,
        "cores_usable": usable,
        "memory_gib": round(memory_gib()[0], 1),
        "os": _os_name(),
        "gpu": gpu_name(usable_devices()[0]),
    }


def machine_line(machine: dict) -> str:
    """`describe_machine`'s dictionary as one line for a table's caption."""
    gpu = f", {machine['gpu']}" if machine.get("gpu") else ""
    return (
        f"{machine['cpu']}, {machine['cores_usable']} usable cores, "
        f"{machine['memory_gib']:g} GiB{gpu}, {machine['os']}"
    )


def versions() -> dict[str, str]:
    """The versions of Python and of the packages that figures depend on; no package is imported."""
    found = {"python": platform.python_version()}
    for name in ("numpy", "torch", "scikit-learn"):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "missing"
    return found
