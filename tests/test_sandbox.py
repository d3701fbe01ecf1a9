"""Escape probes and limits, from inside a real sandbox. Needs bubblewrap (Linux)."""

import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

from autograder import sandbox
from autograder.manifest import TimeLimits
from autograder.referee import Student, StudentDied, StudentError, StudentTimeout

LIMITS = TimeLimits(cell_seconds=10.0, call_seconds=5.0)
CAGE = sandbox.Cage(
    file_mb=8, processes=16, tmp_mb=16, memory_mb=300, tree_cpu_seconds=3.0, cpu_seconds=10
)


@pytest.fixture(scope="module")
def warm(need_program):
    if sys.platform != "linux":
        pytest.skip("bubblewrap needs Linux")
    need_program("bwrap", why="submissions run behind bubblewrap")
    with sandbox.Sandbox(CAGE) as running:
        yield running


@pytest.fixture
def student(warm):
    line = warm.open()
    yield Student(line, LIMITS)
    line.kill()


def prints(student, code):
    """What a cell prints inside the sandbox."""
    return student.run("probe", code)["output"].strip()


def test_a_child_runs_numpy_and_torch(student):
    assert prints(student, "import torch\nprint((torch.ones(3, 4) @ torch.ones(4)).sum())") == (
        "tensor(12.)"
    )


def test_it_sees_only_its_own_processes(student):
    code = "import os\nprint([p for p in os.listdir('/proc') if p.isdigit()])"
    assert prints(student, code) == "['1']"


@pytest.mark.parametrize(
    "path",
    [
        os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + "/solutions",
        os.path.dirname(os.path.abspath(__file__)),
        "/etc/passwd",
        "/root/.bashrc",
        "/course/autograder/referee.py",
        "/course/autograder/manifest.py",
        "/course/autograder/authoring",
    ],
)
def test_course_and_machine_are_not_there(student, path):
    assert prints(student, f"import os\nprint(os.path.exists({path!r}))") == "False"


@pytest.mark.parametrize("folder", ["/", "/usr", "/course", "/course/xor2gpt", sys.prefix, "/dev"])
def test_the_runtime_cannot_be_written(student, folder):
    code = (
        "try:\n"
        f"    open({folder!r} + '/probe', 'w')\n"
        "    print('written')\n"
        "except OSError as error:\n"
        "    print('refused')\n"
    )
    assert prints(student, code) == "refused"


@pytest.mark.parametrize("folder", ["/tmp", "/dev/shm", "~"])
def test_scratch_folders_are_private_to_one_child(warm, folder):
    code = f"import os\np = os.path.expanduser({folder!r}) + '/mark'\n"
    first, second = warm.open(), warm.open()
    try:
        prints(Student(first, LIMITS), code + "open(p, 'w').write('x')")
        assert prints(Student(second, LIMITS), code + "print(os.path.exists(p))") == "False"
    finally:
        first.kill()
        second.kill()


@pytest.mark.parametrize(
    "code",
    [
        "import socket; socket.create_connection(('127.0.0.1', 80), 1)",
        "import socket; socket.create_connection(('192.0.2.1', 80), 1)",
        "import socket; socket.socket(socket.AF_INET, socket.SOCK_DGRAM)",
        "import urllib.request; urllib.request.urlopen('http://192.0.2.1/', timeout=1)",
    ],
)
def test_there_is_no_network(student, code):
    with pytest.raises(StudentError):
        student.run("probe", code)


SYSCALLS = {  # numbers of x86-64 and aarch64
    "unshare": (272, 97),
    "mount": (165, 40),
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "bpf": (321, 280),
    "io_uring_setup": (425, 425),
    "perf_event_open": (298, 241),
    "keyctl": (250, 219),
    "userfaultfd": (323, 282),
    "setns": (308, 268),
}


@pytest.mark.parametrize("name", SYSCALLS)
def test_dangerous_system_calls_are_denied(student, name):
    number = SYSCALLS[name][0 if os.uname().machine == "x86_64" else 1]
    code = (
        "import ctypes\n"
        "c = ctypes.CDLL(None, use_errno=True)\n"
        f"r = c.syscall({number}, ctypes.c_long(0x10000000), 0, 0, 0, 0)\n"
        "print(r, ctypes.get_errno())"
    )
    assert prints(student, code) == "-1 1"  # EPERM


def test_a_user_namespace_through_clone_is_denied(student):
    number = 56 if os.uname().machine == "x86_64" else 220
    code = (
        "import ctypes\n"
        "c = ctypes.CDLL(None, use_errno=True)\n"
        f"r = c.syscall({number}, ctypes.c_long(0x10000000 | 17), 0, 0, 0, 0)\n"
        "print(r, ctypes.get_errno())"
    )
    assert prints(student, code) == "-1 1"


def test_it_has_no_rights_left(student):
    code = (
        "lines = dict(l.split(':', 1) for l in open('/proc/self/status').read().splitlines())\n"
        "names = 'CapEff', 'CapPrm', 'CapBnd', 'NoNewPrivs', 'Seccomp'\n"
        "print(*(lines[name].strip() for name in names))"
    )
    *capabilities, privileges, filtering = prints(student, code).split()
    assert {int(value, 16) for value in capabilities} == {0}
    assert (privileges, filtering) == ("1", "2")


def test_the_environment_comes_from_an_allow_list(student, monkeypatch):
    names = set(prints(student, "import os\nprint(*os.environ)").split())
    assert names <= set(sandbox.ENVIRONMENT) | {"PWD", "LC_CTYPE", "SHLVL", "_"}


def test_the_process_limit_binds(student):
    code = (
        "import os, time\n"
        "n = 0\n"
        "try:\n"
        "    for _ in range(100):\n"
        "        if os.fork() == 0:\n"
        "            time.sleep(60)\n"
        "        n += 1\n"
        "except OSError:\n"
        "    pass\n"
        "print(n)"
    )
    assert 1 <= int(prints(student, code)) < CAGE.processes


def test_threads_count_as_well(student):
    code = (
        "import threading, time\n"
        "n = 0\n"
        "try:\n"
        "    for _ in range(100):\n"
        "        threading.Thread(target=time.sleep, args=(60,), daemon=True).start()\n"
        "        n += 1\n"
        "except RuntimeError:\n"
        "    pass\n"
        "print(n)"
    )
    assert 1 <= int(prints(student, code)) < CAGE.processes


def test_the_file_limit_binds(student):
    with pytest.raises((StudentError, StudentDied)):
        student.run("probe", "open('/tmp/big', 'wb').write(bytes(20_000_000))")


def test_the_scratch_space_is_limited(student):
    code = (
        "import os\n"
        "try:\n"
        "    for n in range(100):\n"
        "        open(f'/tmp/{n}', 'wb').write(bytes(1_000_000))\n"
        "except OSError as error:\n"
        "    print(n)\n"
    )
    assert int(prints(student, code)) <= CAGE.tmp_mb


def test_the_watchdog_ends_a_memory_bomb(warm):
    line = warm.open()
    with pytest.raises((StudentDied, StudentTimeout)):
        Student(line, LIMITS).run("probe", "x = []\nwhile True: x.append(bytearray(10_000_000))")
    line.kill()
    assert line.reason == "memory"
    assert line.peak_memory_mb > CAGE.memory_mb


def test_memory_of_children_counts_together(warm):
    code = (
        "import os, time\n"
        "for _ in range(6):\n"
        "    if os.fork() == 0:\n"
        "        x = bytearray(os.urandom(1_000_000) * 100)\n"
        "        time.sleep(60)\n"
        "time.sleep(60)\n"
    )
    line = warm.open()
    with pytest.raises((StudentDied, StudentTimeout)):
        Student(line, LIMITS).run("probe", code)
    line.kill()
    assert line.reason == "memory"


def test_the_watchdog_counts_the_time_of_the_whole_tree(warm):
    code = (
        "import os\n"
        "for _ in range(3):\n"
        "    if os.fork() == 0:\n"
        "        while True: pass\n"
        "while True: pass\n"
    )
    line = warm.open()
    with pytest.raises((StudentDied, StudentTimeout)):
        Student(line, LIMITS).run("probe", code)
    line.kill()
    assert line.reason == "cpu"


def test_nobody_survives(warm):
    code = (
        "import subprocess, os\n"
        "subprocess.Popen(['sleep', '300'], start_new_session=True)\n"
        "if os.fork() == 0:\n"
        "    os.setsid()\n"
        "    if os.fork() == 0:\n"
        "        import time; time.sleep(300)\n"
        "    os._exit(0)\n"
    )
    line = warm.open()
    Student(line, LIMITS).run("probe", code)
    pids = [process.pid for process in line.tree()]
    assert len(pids) >= 3
    line.kill()
    assert all(sandbox.wait_gone(pid) for pid in pids)


def test_a_killed_child_does_not_hurt_the_next(warm):
    line = warm.open()
    with pytest.raises(StudentDied):
        Student(line, LIMITS).run("probe", "import os\nos._exit(3)")
    assert line.kill() == 3
    other = warm.open()
    assert prints(Student(other, LIMITS), "print(1)") == "1"
    other.kill()


def test_a_segfault_ends_its_child_only(warm):
    line = warm.open()
    with pytest.raises(StudentDied):
        Student(line, LIMITS).run("probe", "import ctypes\nctypes.string_at(0)")
    assert line.kill() == -11


def test_children_leave_nothing_behind(warm):
    own = psutil.Process()
    before = (own.num_fds(), len(psutil.Process(warm.process.pid).children(recursive=True)))
    for _ in range(10):
        line = warm.open()
        Student(line, LIMITS).run("probe", "x = 1")
        line.kill()
    time.sleep(0.2)
    last = warm.open()  # the warm interpreter reaps old helpers when it forks
    last.kill()
    time.sleep(0.2)
    after = (own.num_fds(), len(psutil.Process(warm.process.pid).children(recursive=True)))
    assert after[0] == before[0]
    assert after[1] <= before[1] + 1


def test_without_bubblewrap_the_message_names_the_remedy(monkeypatch):
    monkeypatch.setattr(sandbox.shutil, "which", lambda name: None)
    monkeypatch.setattr(sandbox.sys, "platform", "linux")
    assert "apt-get install bubblewrap" in sandbox.missing()
    with pytest.raises(sandbox.SandboxError, match="bubblewrap"), sandbox.Sandbox():
        pass


def test_a_refused_namespace_is_explained():
    text = sandbox._explain("", "bwrap: setting up uid map: Permission denied")
    assert "apparmor_restrict_unprivileged_userns" in text and "Kubernetes" in text


AS_USER = """
import subprocess
import sys
sys.path[:0] = {paths!r}
from autograder.manifest import TimeLimits
from autograder.referee import Student
from autograder.sandbox import Cage, Sandbox

code = '''
import os, time
n = 0
try:
    for _ in range(100):
        if os.fork() == 0:
            time.sleep(60)
        n += 1
except OSError:
    pass
lines = dict(l.split(":", 1) for l in open("/proc/self/status").read().splitlines())
print(n, lines["CapEff"].strip(), lines["Seccomp"].strip())
'''
with Sandbox(Cage(processes=16, memory_mb=300)) as warm:
    line = warm.open()
    print(warm.mode, Student(line, TimeLimits()).run("probe", code)["output"].strip())
    line.kill()
"""


def test_limits_bind_for_an_ordinary_user_too(warm, need_program, tmp_path):
    if os.geteuid() != 0:
        pytest.skip("every other test of this file runs as an ordinary user already")
    setpriv = need_program("setpriv", why="it starts the grader as an ordinary user")
    python = need_program("/usr/bin/python3.11", why="an interpreter that every user can read")
    root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    packages = [path for path in sys.path if path.endswith("site-packages")]
    script = AS_USER.format(paths=[root, *packages])
    done = subprocess.run(
        [setpriv, "--reuid=65534", "--regid=65534", "--clear-groups", python, "-c", script],
        capture_output=True,
        text=True,
        cwd="/",
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    mode, forks, capabilities, filtering = done.stdout.split()
    assert mode == "user" and 1 <= int(forks) < 16
    assert int(capabilities, 16) == 0 and filtering == "2"


def test_memory_that_a_tree_shares_counts_too(warm):
    code = (
        "import mmap, os, time\n"
        "shared = mmap.mmap(-1, 400_000_000)\n"
        "os.fork()\n"
        "for start in range(0, len(shared), 4096):\n"
        "    shared[start] = 1\n"
        "time.sleep(60)\n"
    )
    line = warm.open()
    with pytest.raises((StudentDied, StudentTimeout)):
        Student(line, LIMITS).run("probe", code)
    line.kill()
    assert line.reason == "memory"


def test_a_process_killed_from_outside_is_not_the_students_fault(warm):
    line = warm.open()
    os.kill(line.pid, signal.SIGKILL)
    with pytest.raises(StudentDied):
        Student(line, LIMITS).run("probe", "x = 1")
    assert line.ended(5.0)  # the referee waits for that too before it kills
    line.kill()
    assert line.outside is not None
    own = warm.open()
    with pytest.raises(StudentDied):
        Student(own, LIMITS).run("probe", "import os\nos.kill(os.getpid(), 9)\nos._exit(9)")
    own.kill()
    assert own.outside is None


def test_a_child_ends_with_its_grader(warm):
    """A grader that is killed leaves no child behind, even one that never looks at its line."""
    read, write = os.pipe()
    if (grader := os.fork()) == 0:
        line = warm.open()
        os.write(write, str(line.pid).encode())
        Student(line, LIMITS).run("probe", "while True: pass")
        os._exit(0)
    child = int(os.read(read, 20))
    assert psutil.pid_exists(child)
    os.kill(grader, signal.SIGKILL)
    os.waitpid(grader, 0)
    assert sandbox.wait_gone(child)
    os.close(read)
    os.close(write)


@pytest.mark.parametrize(
    ("path", "seen"),
    [
        ("/usr/bin/python3", "/usr/bin/python3"),
        ("/tmp/clone/.venv", "/runtime/tmp/clone/.venv"),
        ("/tmpfiles/x", "/tmpfiles/x"),
        ("/dev/shm/venv", "/runtime/dev/shm/venv"),
    ],
)
def test_a_runtime_under_a_private_folder_is_found_elsewhere(path, seen):
    assert sandbox.inside(path) == seen


def test_a_clone_under_tmp_can_grade(warm):
    """The environment's folder may lie where the sandbox has a private folder of its own."""
    packages = next(path for path in sys.path if path.endswith("site-packages"))
    root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    script = AS_USER.format(paths=["/tmp/clone"])
    environment = os.path.dirname(os.path.dirname(os.path.dirname(packages)))
    done = subprocess.run(
        [
            "bwrap", "--dev-bind", "/", "/", "--perms", "0755", "--tmpfs", "/tmp",
            "--ro-bind", environment, "/tmp/environment", "--ro-bind", root, "/tmp/clone",
            "/tmp/environment/bin/python", "-c", script,
        ],
        capture_output=True,
        text=True,
        timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[1].isdigit()
