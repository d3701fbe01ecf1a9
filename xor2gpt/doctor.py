"""``python -m xor2gpt doctor``: is this machine ready, and if not, what to do about it.

Does: check Python, the pinned packages, the course's installation, device, memory, disk and
threads, and what the grader needs (bubblewrap, user namespaces, libseccomp, a browser), by trying
each thing where it can be tried.
Does not: change or install anything, or need a package: it imports only the standard library at
the top, so that it can report a missing package instead of failing on it.

A check is ``ok``, ``warn`` (works, or only the grader needs it) or ``fail`` (students need it).
"""

from __future__ import annotations

import ctypes
import ctypes.util
import importlib.metadata
import json
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import unquote, urlparse

from xor2gpt import machine

__all__ = ["Check", "as_dict", "healthy", "report_lines", "run_checks"]

ROOT = Path(__file__).resolve().parents[1]
TESTED_PYTHON = (3, 11)
LOW_MEMORY_GIB = 4.0
LOW_DISK_GIB = 5.0  # the packages take about 2 GiB, a class's submissions and books the rest
PROBE_SECONDS = 20
_PIN = re.compile(r"^([A-Za-z0-9][A-Za-z0-9._-]*)(?:\[[^\]]*\])?\s*==\s*([^\s;#]+)(.*)$")
_BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_MAC_BROWSERS = (
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
)


@dataclass(frozen=True)
class Check:
    """One line of the report. ``group`` is ``"course"`` (students) or ``"grader"``."""

    group: str
    name: str
    status: str  # "ok", "warn" or "fail"
    found: str
    remedy: str = ""


# --- probes: what the checks ask the system; tests put others in their place ----------------------


def _run(command: Sequence[str]) -> tuple[int, str]:
    """``(exit code, output and errors)`` of a command; 127 where it cannot be started."""
    try:
        done = subprocess.run(
            list(command),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=PROBE_SECONDS,
        )
    except subprocess.TimeoutExpired:
        return 124, f"no answer in {PROBE_SECONDS} s"
    except OSError as error:
        return 127, str(error)
    return done.returncode, (done.stdout + done.stderr).strip()


def _which(program: str) -> str | None:
    """The program's path, or ``None``."""
    return shutil.which(program)


def _system() -> str:
    """``"Linux"``, ``"Darwin"`` or ``"Windows"``."""
    return platform.system()


def _is_root() -> bool:
    """Whether this process has user id 0."""
    return hasattr(os, "geteuid") and os.geteuid() == 0


def _kernel(setting: str) -> str | None:
    """The value of a kernel setting below ``/proc/sys``, ``None`` where there is none."""
    try:
        return Path("/proc/sys", *setting.split(".")).read_text().strip()
    except OSError:
        return None


def _in_kubernetes() -> bool:
    """Whether this is a pod of Kubernetes."""
    mounted = Path("/var/run/secrets/kubernetes.io").exists()
    return mounted or "KUBERNETES_SERVICE_HOST" in os.environ


def _in_container() -> bool:
    """Whether this is a Docker or Podman container."""
    return Path("/.dockerenv").exists() or Path("/run/.containerenv").exists()


def _installed(package: str) -> str | None:
    """The installed version of a package, ``None`` where it is missing."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _direct_url() -> str | None:
    """How pip installed the course (PEP 610's JSON, or ``""``); ``None`` where it did not.

    The build's own ``xor2gpt.egg-info`` in the course's folder is no installation.
    """
    found = [
        each
        for each in importlib.metadata.distributions(name="xor2gpt")
        if each.read_text("RECORD") is not None
    ]
    texts = [each.read_text("direct_url.json") or "" for each in found]
    return max(texts, default=None, key=len)


def _first_line(text: str) -> str:
    """The first line that says something."""
    return next((line.strip() for line in text.splitlines() if line.strip()), "no message")


# --- what students need ---------------------------------------------------------------------------


def check_python(version: tuple[int, ...] | None = None) -> Check:
    """3.11 is tested; newer is warned about; older fails."""
    version = tuple(version or sys.version_info[:3])
    found = "Python " + ".".join(map(str, version))
    tested = ".".join(map(str, TESTED_PYTHON))
    if version[:2] < TESTED_PYTHON:
        remedy = f"install Python {tested} and make the virtual environment with it"
        return Check("course", "python", "fail", f"{found}: too old", remedy)
    if version[:2] > TESTED_PYTHON:
        remedy = f"if a package fails to install or a stored output differs, use Python {tested}"
        return Check("course", "python", "warn", f"{found}: only {tested} is tested", remedy)
    return Check("course", "python", "ok", found)


def read_pins(path: Path) -> dict[str, str] | None:
    """``{package: version}`` of the exact pins in a requirements file; ``None`` without the file.

    A pin whose environment marker does not hold here is left out.
    """
    if not path.is_file():
        return None
    pins = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        match = _PIN.match(line.strip())
        if match and _marker_holds(match[3].split("#")[0].strip().lstrip("; ")):
            pins[match[1]] = match[2]
    return pins


def _marker_holds(marker: str) -> bool:
    """Whether an environment marker such as ``sys_platform == "linux"`` is true here."""
    if not marker:
        return True
    try:
        from packaging.markers import Marker
    except ImportError:
        return False  # better silent about an optional package than a false alarm
    return Marker(marker).evaluate()


def check_packages(
    needed: dict[str, str] | None, pins: dict[str, str] | None, group: str = "course"
) -> Check:
    """Compare pins with what is installed.

    ``pins`` are all to look at; those also in ``needed`` fail when missing, others are a warning.
    """
    name = "packages" if group == "course" else "packages for grading and building"
    file = "requirements-student.txt" if (ROOT / "requirements-student.txt").is_file() else ""
    file = file if group == "course" and file else "requirements.txt"
    if pins is None:
        remedy = "run it in a checkout of the course (git clone), with `pip install -e .`"
        return Check(group, name, "warn", f"{file} not found: nothing to compare", remedy)
    missing, other = [], []
    for package, version in pins.items():
        installed = _installed(package)
        if installed is None:
            missing.append(package)
        elif installed.split("+")[0] != version.split("+")[0]:  # 2.13.0+cpu is 2.13.0
            other.append(f"{package} {installed} (pinned {version})")
    remedy = f"run `python -m pip install -r {file}` in the course's folder"
    parts = []
    if missing:
        parts.append("missing: " + ", ".join(missing))
    if other:
        parts.append("other version: " + ", ".join(other))
    if not parts:
        return Check(group, name, "ok", f"{len(pins)} packages as pinned")
    fails = any(package in (needed or {}) for package in missing)
    return Check(group, name, "fail" if fails else "warn", "; ".join(parts), remedy)


def check_installation() -> Check:
    """The course must be installed, and editable, so that a change in its folder takes effect."""
    remedy = "run `python -m pip install -e .` in the course's folder"
    direct_url = _direct_url()
    if direct_url is None:
        return Check("course", "course", "fail", "xor2gpt is not installed", remedy)
    info = json.loads(direct_url or "{}")
    if not info.get("dir_info", {}).get("editable"):
        found = "xor2gpt is installed as a copy: changes in the course's folder have no effect"
        return Check("course", "course", "warn", found, remedy)
    folder = Path(unquote(urlparse(info.get("url", "")).path))
    if _system() != "Windows" and folder.resolve() != ROOT:
        found = f"the installed xor2gpt is the one in {folder}, this one is in {ROOT}"
        return Check("course", "course", "warn", found, remedy)
    return Check("course", "course", "ok", "xor2gpt is installed editable")


def check_device() -> Check:
    """Name the device that `xor2gpt.machine.pick_device` chooses, and why not a better one."""
    try:
        import torch
    except ImportError as error:
        remedy = "run `python -m pip install -r requirements.txt` in the course's folder"
        return Check("course", "device", "fail", f"torch cannot be imported: {error}", remedy)
    try:
        chosen = machine.pick_device().type
    except (RuntimeError, ValueError) as error:
        remedy = "unset XOR2GPT_DEVICE, or set it to cuda, mps or cpu"
        return Check("course", "device", "fail", str(error), remedy)
    name = machine.gpu_name(chosen) or machine.cpu_model()
    bf16 = machine.bf16_support(chosen)
    found = f"{chosen}: {name}" + (f"; fast bfloat16 ({bf16})" if bf16 else "")
    if chosen == "cuda":
        return Check("course", "device", "ok", found)
    if "cuda" in machine.usable_devices():
        return Check("course", "device", "ok", found + "; chosen by XOR2GPT_DEVICE")
    if torch.cuda.is_available():
        remedy = "update the GPU's driver, or install a torch that has kernels for this GPU"
        found += "; a CUDA GPU is reported, but a small product on it fails"
        return Check("course", "device", "warn", found, remedy)
    if _which("nvidia-smi") and _run(["nvidia-smi", "-L"])[1].startswith("GPU"):
        built = torch.version.cuda
        remedy = (
            "update the NVIDIA driver"
            if built
            else "install the CUDA build of the same torch version (see pytorch.org)"
        )
        kind = f"for CUDA {built}" if built else "without CUDA"
        found += f"; there is an NVIDIA GPU, but torch {torch.__version__} is built {kind}"
        return Check("course", "device", "warn", found, remedy)
    return Check("course", "device", "ok", found)


def check_memory() -> Check:
    """Warn below 4 GiB, in total or available."""
    try:
        total, available = machine.memory_gib()
    except ImportError:
        remedy = "run `python -m pip install -r requirements.txt`"
        return Check("course", "memory", "warn", "unknown: psutil is missing", remedy)
    found = f"{available:.1f} GiB available of {total:.1f} GiB"
    if total < LOW_MEMORY_GIB:
        remedy = "run one notebook at a time; leave recipes and the grader to a larger machine"
        return Check("course", "memory", "warn", found, remedy)
    if available < LOW_MEMORY_GIB:
        return Check("course", "memory", "warn", found, "close other programs and notebooks")
    return Check("course", "memory", "ok", found)


def check_disk() -> Check:
    """Warn when little space is left where the course is."""
    free = shutil.disk_usage(ROOT).free / 2**30
    found = f"{free:.1f} GiB free where the course is"
    if free < LOW_DISK_GIB:
        remedy = f"free some space: keep {LOW_DISK_GIB:g} GiB for packages, data and books"
        return Check("course", "disk", "warn", found, remedy)
    return Check("course", "disk", "ok", found)


def check_data() -> Check:
    """Say where data are kept; warn when ``XOR2GPT_MIRROR`` names a folder that is not there."""
    try:
        from xor2gpt.data import store

        source, cache = store.mirror(), store.cache_root()
    except ImportError as error:
        return Check("course", "data", "warn", str(error), "install the packages, see above")
    if source and not source.is_url and not source.folder.is_dir():
        found = f"XOR2GPT_MIRROR is {source.base!r}, which is not there"
        remedy = "set it to a folder or address that holds the data, or unset it"
        return Check("course", "data", "warn", found, remedy)
    return Check(
        "course", "data", "ok", f"kept in {cache}; mirror: {source.base if source else 'none'}"
    )


def check_threads() -> Check:
    """Warn when more threads are set than cores can be used: small models then run far slower."""
    physical, logical, usable = machine.cores()
    found = f"{usable} of {logical} cores usable"
    if physical and physical != logical:
        found += f" ({physical} physical)"
    setting = os.environ.get("OMP_NUM_THREADS", "")
    if setting:
        found += f", OMP_NUM_THREADS={setting}"
    threads = int(setting) if setting.isdigit() else (logical if usable < logical else usable)
    if threads > usable:
        found += f"; {threads} threads would share {usable} cores"
        remedy = f"set OMP_NUM_THREADS={usable} (1 when several notebooks run at once)"
        return Check("course", "threads", "warn", found, remedy)
    return Check("course", "threads", "ok", found)


# --- what the grader needs ------------------------------------------------------------------------


def _namespace_remedy() -> str:
    """Why user namespaces are likely refused here, and what to do."""
    if _in_kubernetes():
        return (
            "pods often forbid user namespaces: run the grader on a virtual machine, or in a pod "
            "with hostUsers: false and a securityContext whose seccompProfile allows unshare "
            "and mount (Unconfined does)"
        )
    if _kernel("kernel.apparmor_restrict_unprivileged_userns") == "1":
        return (
            "Ubuntu's AppArmor forbids it (kernel.apparmor_restrict_unprivileged_userns = 1): add "
            "an AppArmor profile for bwrap that allows userns, or as administrator run `sysctl -w "
            "kernel.apparmor_restrict_unprivileged_userns=0` and keep that line in /etc/sysctl.d"
        )
    if _kernel("kernel.unprivileged_userns_clone") == "0":
        return "as administrator run `sysctl -w kernel.unprivileged_userns_clone=1`"
    if _kernel("user.max_user_namespaces") == "0":
        return "as administrator run `sysctl -w user.max_user_namespaces=15000`"
    if _in_container():
        return (
            "the container's seccomp profile forbids it: start the container with "
            "`--security-opt seccomp=unconfined --security-opt apparmor=unconfined`, "
            "or grade outside a container"
        )
    return "ask the administrator to allow unprivileged user namespaces"


def check_bubblewrap() -> Check:
    """Start a sandbox as the grader does: own namespaces, no network, a read-only root."""
    name = "bubblewrap"
    if _system() != "Linux":
        remedy = "grade on Linux (a virtual machine or WSL 2 will do); reading and solving is fine"
        return Check("grader", name, "warn", f"not available on {_system()}", remedy)
    if not _which("bwrap"):
        remedy = "install it: `apt install bubblewrap` or `dnf install bubblewrap`"
        return Check("grader", name, "warn", "not found", remedy)
    version = _first_line(_run(["bwrap", "--version"])[1])
    sandbox = "bwrap --unshare-all --die-with-parent --ro-bind / / --proc /proc --dev /dev true"
    code, output = _run(sandbox.split())
    if code:
        found = f"{version}, but a sandbox does not start: {_first_line(output)}"
        return Check("grader", name, "warn", found, _namespace_remedy())
    who = "as root" if _is_root() else "without root"
    return Check("grader", name, "ok", f"{version}; a sandbox starts {who}")


def check_namespaces() -> Check:
    """Whether an ordinary user may make a user namespace: tried, as another user when root."""
    name = "user namespaces"
    if _system() != "Linux":
        return Check("grader", name, "warn", f"not available on {_system()}", "grade on Linux")
    if not _which("unshare"):
        remedy = "install it: `apt install util-linux`"
        return Check("grader", name, "warn", "cannot be tried: unshare is missing", remedy)
    command = ["unshare", "--user", "--map-root-user", "true"]
    if _is_root() and _which("setpriv"):  # root may always do it: ask as nobody
        command = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", *command]
    code, output = _run(command)
    if code:
        found = f"refused: {_first_line(output)}"
        return Check("grader", name, "warn", found, _namespace_remedy())
    return Check("grader", name, "ok", "an unprivileged user can make one")


def check_seccomp() -> Check:
    """Load libseccomp and ask for its version."""
    name = "libseccomp2"
    if _system() != "Linux":
        return Check("grader", name, "warn", f"not available on {_system()}", "grade on Linux")
    try:
        library = ctypes.CDLL(ctypes.util.find_library("seccomp") or "libseccomp.so.2")
        library.seccomp_api_get.restype = ctypes.c_uint
        level = library.seccomp_api_get()
    except (OSError, AttributeError):
        remedy = "install it: `apt install libseccomp2` or `dnf install libseccomp`"
        return Check("grader", name, "warn", "cannot be loaded", remedy)
    return Check("grader", name, "ok", f"loads, API level {level}")


def check_browser() -> Check:
    """A Chromium that answers; the browser tests of the book need one."""
    candidates = [path for path in map(_which, _BROWSERS) if path]
    candidates += [path for path in _MAC_BROWSERS if Path(path).is_file()]
    failures = []
    for path in candidates:
        code, output = _run([path, "--version"])
        match = re.search(r"(Chromium|Google Chrome)[^\n]*?[\d.]+", output)
        if code == 0 and match:
            return Check("grader", "browser", "ok", match[0])
        failures.append(f"{path}: {_first_line(output)}")
    remedy = "install one for the book's browser tests: `apt install chromium`"
    found = "; ".join(failures) or "no Chromium found"
    return Check("grader", "browser", "warn", found, remedy)


# --- the report -----------------------------------------------------------------------------------


def run_checks() -> list[Check]:
    """All checks, in the order of the report."""
    pins = read_pins(ROOT / "requirements.txt")
    student = read_pins(ROOT / "requirements-student.txt")
    checks = [check_python(), check_packages(student or pins, student or pins)]
    checks += [check_installation(), check_device(), check_memory(), check_disk(), check_data()]
    checks.append(check_threads())
    if student is not None and pins is not None:
        others = {package: pin for package, pin in pins.items() if package not in student}
        checks.append(check_packages({}, others, group="grader"))
    return [
        *checks,
        check_bubblewrap(),
        check_namespaces(),
        check_seccomp(),
        check_browser(),
    ]


def healthy(checks: Sequence[Check]) -> bool:
    """Whether nothing that students need fails."""
    return not any(check.status == "fail" for check in checks)


def as_dict(checks: Sequence[Check]) -> dict[str, object]:
    """The report as plain data for ``--json``."""
    return {"ok": healthy(checks), "checks": [asdict(check) for check in checks]}


def report_lines(checks: Sequence[Check]) -> list[tuple[str, str]]:
    """``(line, status)`` pairs; headings and remedies have the status ``""``."""
    lines: list[tuple[str, str]] = []
    width = max(len(check.name) for check in checks) + 2
    for group, heading in (("course", "To study"), ("grader", "To grade, build and test")):
        chosen = [check for check in checks if check.group == group]
        lines += [(heading, "")] if chosen else []
        for check in chosen:
            lines.append((f"  {check.status:<5} {check.name:<{width}}{check.found}", check.status))
            if check.remedy:
                lines.append((f"        {'':<{width}}-> {check.remedy}", ""))
    counts = {status: sum(c.status == status for c in checks) for status in ("fail", "warn")}
    if counts["fail"]:
        lines.append((f"{counts['fail']} to mend before you study.", "fail"))
    elif counts["warn"]:
        plural = "" if counts["warn"] == 1 else "s"
        lines.append((f"Ready to study; {counts['warn']} warning{plural}.", "warn"))
    else:
        lines.append(("All is well.", "ok"))
    return lines


def main_without_packages() -> int:
    """The report in plain text, for an installation without typer and rich; the exit code."""
    checks = run_checks()
    for line, _ in report_lines(checks):
        print(line)
    return 0 if healthy(checks) else 1
