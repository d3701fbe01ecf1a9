"""doctor and the machine's description: each check in its good and its bad case."""

import ast
import importlib.metadata
import json
import os
import re
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from xor2gpt import doctor, machine


@pytest.fixture(autouse=True)
def _clean(monkeypatch):
    """No device set from outside, and no device remembered between tests."""
    monkeypatch.delenv("XOR2GPT_DEVICE", raising=False)
    remembered = machine.usable_devices
    remembered.cache_clear()
    yield
    remembered.cache_clear()


@pytest.fixture
def linux(monkeypatch):
    """A Linux without root, container or odd kernel settings, on which commands succeed."""
    monkeypatch.setattr(doctor, "_system", lambda: "Linux")
    monkeypatch.setattr(doctor, "_is_root", lambda: False)
    monkeypatch.setattr(doctor, "_in_kubernetes", lambda: False)
    monkeypatch.setattr(doctor, "_in_container", lambda: False)
    monkeypatch.setattr(doctor, "_kernel", lambda setting: None)
    monkeypatch.setattr(doctor, "_which", lambda program: f"/usr/bin/{program}")
    monkeypatch.setattr(doctor, "_run", lambda command: (0, "bubblewrap 0.8.0"))
    return monkeypatch


# --- what students need ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("version", "status"), [((3, 10, 9), "fail"), ((3, 11, 0), "ok"), ((3, 12, 1), "warn")]
)
def test_python(version, status):
    check = doctor.check_python(version)
    assert check.status == status and ".".join(map(str, version)) in check.found
    assert bool(check.remedy) == (status != "ok")


def test_pins_are_read(tmp_path):
    path = tmp_path / "requirements.txt"
    path.write_text(
        "# comment\nnumpy==2.4.6\npsycopg[binary]==3.3.1  # why\nflask>=3\n"
        'colorama==0.4.6 ; sys_platform == "nowhere"\ntomli==2.5.0; python_version > "3"\n'
    )
    assert doctor.read_pins(path) == {"numpy": "2.4.6", "psycopg": "3.3.1", "tomli": "2.5.0"}
    assert doctor.read_pins(tmp_path / "absent.txt") is None


def test_packages(monkeypatch):
    there = {"numpy": "2.4.6", "torch": "2.13.0+cpu", "rich": "14.0"}
    monkeypatch.setattr(doctor, "_installed", there.get)
    pins = {"numpy": "2.4.6", "torch": "2.13.0"}
    assert doctor.check_packages(pins, pins).status == "ok"
    other = doctor.check_packages(pins, {**pins, "rich": "15.0.0"})
    assert other.status == "warn" and "rich 14.0 (pinned 15.0.0)" in other.found
    missing = doctor.check_packages({"scipy": "1"}, {"scipy": "1"})
    assert missing.status == "fail" and "missing: scipy" in missing.found
    assert "pip install -r requirements" in missing.remedy
    assert doctor.check_packages({}, {"scipy": "1"}, group="grader").status == "warn"
    assert doctor.check_packages(None, None).status == "warn"


def distribution(direct_url: str | None, record: str | None = "x") -> SimpleNamespace:
    texts = {"direct_url.json": direct_url, "RECORD": record}
    return SimpleNamespace(read_text=texts.get)


def test_installation(monkeypatch, tmp_path):
    def found(*distributions):
        monkeypatch.setattr(importlib.metadata, "distributions", lambda name: iter(distributions))
        return doctor.check_installation()

    editable = {"url": doctor.ROOT.as_uri(), "dir_info": {"editable": True}}
    assert found(distribution(json.dumps(editable))).status == "ok"
    assert found(distribution(None, None), distribution(json.dumps(editable))).status == "ok"
    assert found().status == "fail"
    assert found(distribution(None, None)).status == "fail"  # only the build's egg-info
    assert found(distribution(None)).status == "warn"
    elsewhere = {**editable, "url": tmp_path.as_uri()}
    check = found(distribution(json.dumps(elsewhere)))
    assert check.status == "warn" and str(tmp_path) in check.found


def test_device_cpu(monkeypatch):
    monkeypatch.setattr(machine, "usable_devices", lambda: ("cpu",))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(doctor, "_which", lambda program: None)
    monkeypatch.setattr(machine, "_cpu_flags", lambda: {"amx_bf16", "avx512_bf16"})
    check = doctor.check_device()
    assert check.status == "ok" and check.found.startswith("cpu: ")
    assert check.found.endswith("fast bfloat16 (AMX)")
    monkeypatch.setattr(machine, "_cpu_flags", lambda: set())
    assert "bfloat16" not in doctor.check_device().found


def test_device_cuda(monkeypatch):
    monkeypatch.setattr(machine, "usable_devices", lambda: ("cuda", "cpu"))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda index: "NVIDIA H100")
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: True)
    check = doctor.check_device()
    assert (check.status, check.found) == (
        "ok",
        "cuda: NVIDIA H100; fast bfloat16 (tensor cores)",
    )
    monkeypatch.setenv("XOR2GPT_DEVICE", "cpu")
    forced = doctor.check_device()
    assert forced.found.startswith("cpu: ") and "chosen by XOR2GPT_DEVICE" in forced.found
    assert "H100" not in forced.found


def test_a_gpu_that_is_reported_but_fails_is_not_claimed(monkeypatch):
    monkeypatch.setattr(machine, "_is_there", lambda kind: kind == "cuda")
    monkeypatch.setattr(machine, "_works", lambda kind: False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    check = doctor.check_device()
    assert check.status == "warn" and check.found.startswith("cpu: ")
    assert "reported, but a small product on it fails" in check.found and "driver" in check.remedy


@pytest.mark.parametrize(("built", "remedy"), [(None, "CUDA build"), ("13.0", "driver")])
def test_a_gpu_that_torch_cannot_see(monkeypatch, built, remedy):
    monkeypatch.setattr(machine, "usable_devices", lambda: ("cpu",))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.version, "cuda", built)
    monkeypatch.setattr(doctor, "_which", lambda program: "/usr/bin/nvidia-smi")
    monkeypatch.setattr(doctor, "_run", lambda command: (0, "GPU 0: NVIDIA H100"))
    check = doctor.check_device()
    assert check.status == "warn" and remedy in check.remedy and check.found.startswith("cpu: ")


def test_a_wrong_device_wish_fails(monkeypatch):
    monkeypatch.setenv("XOR2GPT_DEVICE", "tpu")
    check = doctor.check_device()
    assert check.status == "fail" and "'tpu'" in check.found and "XOR2GPT_DEVICE" in check.remedy


@pytest.mark.parametrize(
    ("gib", "status"), [((16.0, 9.0), "ok"), ((16.0, 3.9), "warn"), ((2.0, 1.9), "warn")]
)
def test_memory(monkeypatch, gib, status):
    monkeypatch.setattr(machine, "memory_gib", lambda: gib)
    check = doctor.check_memory()
    assert check.status == status and f"{gib[1]:.1f} GiB available" in check.found


def test_memory_without_psutil(monkeypatch):
    def missing():
        raise ImportError("psutil")

    monkeypatch.setattr(machine, "memory_gib", missing)
    assert doctor.check_memory().status == "warn"


@pytest.mark.parametrize(("free", "status"), [(50, "ok"), (1, "warn")])
def test_disk(monkeypatch, free, status):
    usage = SimpleNamespace(free=free * 2**30)
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda path: usage)
    assert doctor.check_disk().status == status


@pytest.mark.parametrize(
    ("cores", "setting", "status"),
    [
        ((4, 8, 8), "", "ok"),
        ((4, 8, 2), "", "warn"),  # a container's share: libraries would start 8 threads
        ((4, 8, 2), "2", "ok"),
        ((4, 4, 4), "16", "warn"),
        ((None, 4, 4), "1", "ok"),
    ],
)
def test_threads(monkeypatch, cores, setting, status):
    monkeypatch.setattr(machine, "cores", lambda: cores)
    monkeypatch.setenv("OMP_NUM_THREADS", setting)
    check = doctor.check_threads()
    assert check.status == status
    assert ("set OMP_NUM_THREADS" in check.remedy) == (status == "warn")


# --- what the grader needs ------------------------------------------------------------------------


def test_bubblewrap(linux):
    assert doctor.check_bubblewrap().found == "bubblewrap 0.8.0; a sandbox starts without root"
    linux.setattr(doctor, "_which", lambda program: None)
    missing = doctor.check_bubblewrap()
    assert missing.status == "warn" and "apt install bubblewrap" in missing.remedy
    linux.setattr(doctor, "_system", lambda: "Darwin")
    assert "not available on Darwin" in doctor.check_bubblewrap().found


REASONS = {
    "ubuntu": ("kernel.apparmor_restrict_unprivileged_userns", "1", "AppArmor"),
    "debian": ("kernel.unprivileged_userns_clone", "0", "unprivileged_userns_clone=1"),
    "limit": ("user.max_user_namespaces", "0", "max_user_namespaces="),
}


@pytest.mark.parametrize("reason", REASONS)
@pytest.mark.parametrize("check", [doctor.check_bubblewrap, doctor.check_namespaces])
def test_refused_namespaces_name_the_kernel_setting(linux, reason, check):
    setting, value, remedy = REASONS[reason]
    linux.setattr(doctor, "_kernel", {setting: value}.get)
    linux.setattr(
        doctor,
        "_run",
        lambda command: (0, "0.8") if "--version" in command else (1, "Operation not permitted"),
    )
    found = check()
    assert found.status == "warn" and "Operation not permitted" in found.found
    assert remedy in found.remedy and setting in found.remedy


@pytest.mark.parametrize(
    ("where", "remedy"),
    [("_in_kubernetes", "pods"), ("_in_container", "--security-opt"), (None, "administrator")],
)
def test_refused_namespaces_in_containers(linux, where, remedy):
    linux.setattr(doctor, "_run", lambda command: (1, "unshare failed"))
    if where:
        linux.setattr(doctor, where, lambda: True)
    assert remedy in doctor.check_namespaces().remedy


def test_namespaces_are_tried_as_an_ordinary_user(linux):
    tried = []
    linux.setattr(doctor, "_run", lambda command: (tried.append(command), (0, ""))[1])
    assert doctor.check_namespaces().status == "ok"
    linux.setattr(doctor, "_is_root", lambda: True)
    assert doctor.check_namespaces().status == "ok"
    assert tried[0][0] == "unshare"
    assert tried[1][:2] == ["setpriv", "--reuid=65534"], "root may always: ask as nobody"


def test_namespaces_without_unshare(linux):
    linux.setattr(doctor, "_which", lambda program: None)
    assert "unshare is missing" in doctor.check_namespaces().found


def test_seccomp(linux):
    class Library:
        def __init__(self, name):
            self.seccomp_api_get = self._level

        class _Call:
            restype = None

            def __call__(self):
                return 6

        _level = _Call()

    linux.setattr(doctor.ctypes, "CDLL", Library)
    assert doctor.check_seccomp().found == "loads, API level 6"

    def missing(name):
        raise OSError(name)

    linux.setattr(doctor.ctypes, "CDLL", missing)
    check = doctor.check_seccomp()
    assert check.status == "warn" and "libseccomp2" in check.remedy


def test_browser(linux):
    linux.setattr(doctor, "_run", lambda command: (0, "odd line\nChromium 156.0.1 built on Debian"))
    assert doctor.check_browser().found == "Chromium 156.0.1"
    linux.setattr(doctor, "_run", lambda command: (127, "no such library"))
    broken = doctor.check_browser()
    assert broken.status == "warn" and "no such library" in broken.found
    linux.setattr(doctor, "_which", lambda program: None)
    linux.setattr(doctor, "_MAC_BROWSERS", ())
    assert doctor.check_browser().found == "no Chromium found"


def test_commands_that_fail_or_hang_are_reported(monkeypatch):
    assert doctor._run(["no-such-program-anywhere"])[0] == 127
    monkeypatch.setattr(doctor, "PROBE_SECONDS", 0.2)
    assert doctor._run(["sleep", "5"]) == (124, "no answer in 0.2 s")


# --- the report -----------------------------------------------------------------------------------


def test_only_what_students_need_can_fail(monkeypatch):
    fail = doctor.Check("course", "python", "fail", "Python 2", "install")
    warn = doctor.Check("grader", "browser", "warn", "none", "install")
    assert doctor.healthy([warn]) and not doctor.healthy([warn, fail])
    lines = [line for line, _ in doctor.report_lines([fail, warn])]
    assert lines[0] == "To study" and lines[-1] == "1 to mend before you study."
    assert doctor.report_lines([warn])[-1] == ("Ready to study; 1 warning.", "warn")


def test_report_of_this_machine():
    checks = doctor.run_checks()
    names = [check.name for check in checks]
    assert len(set(names)) == len(names) >= 11
    for check in checks:
        assert check.status in ("ok", "warn", "fail") and check.found
        assert bool(check.remedy) == (check.status != "ok"), check
        assert check.group == "course" or check.status != "fail", check
    json.dumps(doctor.as_dict(checks))


@pytest.mark.parametrize("module", ["doctor.py", "machine.py", "__init__.py", "__main__.py"])
def test_an_old_python_can_read_what_doctor_needs(module):
    source = (Path(doctor.__file__).parent / module).read_text()
    ast.parse(source, feature_version=(3, 9))


# --- machine --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("there", "chosen"), [(("cuda", "mps"), "cuda"), (("mps",), "mps"), ((), "cpu")]
)
def test_pick_device_prefers_cuda_then_mps(monkeypatch, there, chosen):
    monkeypatch.setattr(machine, "_is_there", lambda kind: kind in there)
    monkeypatch.setattr(machine, "_works", lambda kind: True)
    assert machine.pick_device().type == chosen


def test_pick_device_skips_what_does_not_work(monkeypatch):
    monkeypatch.setattr(machine, "_is_there", lambda kind: True)
    monkeypatch.setattr(machine, "_works", lambda kind: kind != "cuda")
    assert machine.usable_devices() == ("mps", "cpu")
    assert machine.pick_device().type == "mps"
    assert machine.pick_device("cpu").type == "cpu"
    with pytest.raises(RuntimeError, match="'cuda' does not work here.*usable: mps, cpu"):
        machine.pick_device("cuda")


def test_the_cpu_works_and_this_torch_has_no_such_device():
    assert machine._works("cpu")
    if not torch.cuda.is_available():
        assert not machine._works("cuda")


def test_description_names_no_host_user_or_path():
    described = machine.describe_machine()
    assert set(described) == {
        "cpu",
        "architecture",
        "cores_physical",
        "cores_logical",
        "cores_usable",
        "memory_gib",
        "os",
        "gpu",
    }
    text = json.dumps(described)
    assert os.uname().nodename not in text if hasattr(os, "uname") else True
    assert not re.search(r"(/home/|/root|/Users/)", text)
    assert "usable cores" in machine.machine_line(described)


def test_a_containers_limits_count(monkeypatch, tmp_path):
    (tmp_path / "cpu.max").write_text("150000 100000\n")
    (tmp_path / "memory.max").write_text(str(2**30))
    (tmp_path / "memory.current").write_text(str(2**29))
    monkeypatch.setattr(machine, "_CGROUP", tmp_path)
    assert machine.cores()[2] == min(2, machine.cores()[1])
    assert machine.memory_gib() == (1.0, 0.5)
    (tmp_path / "cpu.max").write_text("max 100000\n")
    (tmp_path / "memory.max").write_text("max\n")
    assert machine.memory_gib()[0] != 1.0


def test_cpu_model_and_flags_are_read(monkeypatch, tmp_path):
    info = tmp_path / "cpuinfo"
    info.write_text("processor\t: 0\nmodel name\t: Fast CPU\nflags\t\t: avx2 avx512_bf16\n")
    monkeypatch.setattr(machine, "_CPUINFO", info)
    monkeypatch.setattr(machine.platform, "system", lambda: "Linux")
    assert machine.cpu_model() == "Fast CPU"
    assert machine.bf16_support() == "AVX-512"


def test_macs_are_asked_by_sysctl(monkeypatch):
    answers = {"machdep.cpu.brand_string": "Apple M3", "hw.optional.arm.FEAT_BF16": "1"}
    monkeypatch.setattr(machine.platform, "system", lambda: "Darwin")
    monkeypatch.setattr(machine, "_sysctl", lambda name: answers.get(name, ""))
    assert machine.cpu_model() == "Apple M3" and machine.bf16_support() == "ARM BF16"
    assert machine.gpu_name("mps") == "Apple M3 (GPU part)"


def test_versions():
    found = machine.versions()
    assert list(found) == ["python", "numpy", "torch", "scikit-learn"]
    assert "missing" not in found.values()
