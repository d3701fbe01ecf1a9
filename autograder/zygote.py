"""The warm interpreter inside the sandbox: forks one locked-down child per submission.

Does: import what submissions use, once; for each request fork a child, give it namespaces, a user,
limits and a system-call filter of its own, and let it serve one session.
Does not: see a submission, a test, an answer or another student: the bytes go from the referee to
the child through a pair of pipes that only this child keeps.

Runs inside bubblewrap (see :mod:`autograder.sandbox`), as
``python -P -m autograder.zygote CONTROL MODE MODULE...`` where ``CONTROL`` is the descriptor of a
Unix socket, ``MODE`` is ``root`` or ``user``, and the modules are imported at once. A request on
the socket is a JSON object with the limits and three descriptors: the child reads, the child
writes, and a status socket on which the caller gets the child's pidfd and, at the end, its exit
status. When the caller's end of the status socket closes, the child is ended.

The order of locking matters and was measured: namespaces, mounts, limits, user, capabilities,
no_new_privs, and the filter last.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import gc
import importlib
import json
import os
import random
import resource
import select
import signal
import socket
import sys
from typing import Any, NoReturn

CLONE_NEWNS, CLONE_NEWIPC, CLONE_NEWUSER = 0x00020000, 0x08000000, 0x10000000
CLONE_NEWPID, CLONE_NEWNET = 0x20000000, 0x40000000
CLONE_NEW_ANY = 0x7E020000  # every CLONE_NEW* flag that clone(2) knows
MS_NOSUID, MS_NODEV, MS_REC, MS_PRIVATE = 2, 4, 16384, 1 << 18
PR_SET_DUMPABLE, PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS = 4, 24, 38
PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL = 47, 4
AF_UNIX = int(socket.AF_UNIX)
FIRST_UID = 61000  # slot k runs as user 61000 + k when the grader is root

WARM = (  # the shell imports the later ones only when it starts
    *("numpy.linalg", "autograder.student", "IPython.core.interactiveshell", "sqlite3"),
    *("IPython.core.completerlib", "IPython.core.crashhandler", "IPython.core.magics"),
)
DENIED = (
    *("mount", "umount2", "pivot_root", "chroot", "unshare", "setns", "fsopen", "fsconfig"),
    *("fsmount", "fspick", "move_mount", "open_tree", "mount_setattr", "ptrace"),
    *("process_vm_readv", "process_vm_writev", "process_madvise", "kcmp", "pidfd_getfd"),
    *("bpf", "perf_event_open", "userfaultfd", "io_uring_setup", "io_uring_enter"),
    *("io_uring_register", "keyctl", "add_key", "request_key", "kexec_load", "kexec_file_load"),
    *("init_module", "finit_module", "delete_module", "open_by_handle_at", "name_to_handle_at"),
    *("swapon", "swapoff", "reboot", "settimeofday", "clock_settime", "clock_adjtime", "acct"),
    *("quotactl", "syslog", "vhangup", "iopl", "ioperm", "sethostname", "setdomainname"),
    *("personality", "lookup_dcookie", "fanotify_init", "mbind", "migrate_pages", "move_pages"),
    *("set_mempolicy", "nfsservctl", "sched_setscheduler", "sched_setattr"),
)

libc = ctypes.CDLL(None, use_errno=True)


def _checked(result: int, what: str) -> None:
    if result != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{what}: {os.strerror(code)}")


def _mount(source: str, target: str, kind: str, flags: int, options: str) -> None:
    arguments = (text.encode() for text in (source, target, kind))
    source_, target_, kind_ = arguments
    _checked(
        libc.mount(source_, target_, kind_, ctypes.c_ulong(flags), options.encode()),
        f"mount {kind} on {target}",
    )


def warm_up(modules: list[str]) -> None:
    """Import what submissions use, without starting a thread: a fork keeps only one."""
    for module in (*WARM, *modules):
        importlib.import_module(module)
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(1)
        torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)  # imports 800 modules more
    _load_filter()
    gc.freeze()  # a collection in a child would copy every page that the children share
    threads = len(os.listdir("/proc/self/task"))
    if threads != 1:
        raise RuntimeError(f"the warm interpreter has {threads} threads; a fork would lose them")


def _load_filter() -> Any:
    """The system-call filter, built but not yet in force."""
    import pyseccomp

    rules = pyseccomp.SyscallFilter(pyseccomp.ALLOW)
    for name in DENIED:
        with contextlib.suppress(ValueError, RuntimeError, OSError):  # not on this architecture
            rules.add_rule(pyseccomp.ERRNO(errno.EPERM), name)
    # glibc falls back from clone3 (whose flags a filter cannot read) to clone.
    rules.add_rule(pyseccomp.ERRNO(errno.ENOSYS), "clone3")
    for bit in range(32):
        if CLONE_NEW_ANY >> bit & 1:
            flag = 1 << bit
            rules.add_rule(
                pyseccomp.ERRNO(errno.EPERM),
                "clone",
                pyseccomp.Arg(0, pyseccomp.MASKED_EQ, flag, flag),
            )
    rules.add_rule(
        pyseccomp.ERRNO(errno.EAFNOSUPPORT),
        "socket",
        pyseccomp.Arg(0, pyseccomp.NE, AF_UNIX),
    )
    return rules


def _own_user_namespace() -> None:
    """A user namespace per child, so that process limits count this child's processes only."""
    uid, gid = os.geteuid(), os.getegid()
    _checked(libc.unshare(CLONE_NEWUSER), "unshare(user)")
    for name, text in (
        ("setgroups", "deny"),
        ("uid_map", f"0 {uid} 1"),
        ("gid_map", f"0 {gid} 1"),
    ):
        with open(f"/proc/self/{name}", "w") as stream:
            stream.write(text)


def _private_folders(tmp_mb: int) -> None:
    _mount("none", "/", "none", MS_REC | MS_PRIVATE, "")
    flags = MS_NOSUID | MS_NODEV
    _mount("tmpfs", "/tmp", "tmpfs", flags, f"size={tmp_mb}m,nr_inodes=10000,mode=1777")
    _mount("tmpfs", "/dev/shm", "tmpfs", flags, f"size={tmp_mb}m,nr_inodes=1000,mode=1777")
    _mount("proc", "/proc", "proc", flags, "")
    os.mkdir("/tmp/home", 0o777)
    os.chmod("/tmp/home", 0o777)
    os.chdir("/tmp/home")


def _limits(limits: dict[str, int]) -> None:
    both = {
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_FSIZE: limits["file_mb"] * 2**20,
        resource.RLIMIT_NOFILE: limits["open_files"],
        resource.RLIMIT_CPU: limits["cpu_seconds"],
        resource.RLIMIT_AS: limits["address_space_mb"] * 2**20,
        resource.RLIMIT_NPROC: limits["processes"],
    }
    for name, value in both.items():
        resource.setrlimit(name, (value, value))


def _drop_everything(mode: str, slot: int) -> None:
    for capability in range(64):
        if libc.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) != 0:
            break
    libc.prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)
    if mode == "root":
        os.setgroups([])
        os.setresgid(FIRST_UID + slot, FIRST_UID + slot, FIRST_UID + slot)
        os.setresuid(FIRST_UID + slot, FIRST_UID + slot, FIRST_UID + slot)
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)  # _LINUX_CAPABILITY_VERSION_3
    nothing = (ctypes.c_uint32 * 6)()
    _checked(libc.capset(header, nothing), "capset")
    _checked(libc.prctl(PR_SET_DUMPABLE, 1, 0, 0, 0), "prctl(dumpable)")
    _checked(libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "prctl(no_new_privs)")


def _close_all_but(keep: set[int]) -> None:
    for name in os.listdir("/proc/self/fd"):
        if int(name) not in keep:
            with contextlib.suppress(OSError):
                os.close(int(name))


def _student(mode: str, request: dict[str, Any], reads: int, writes: int) -> NoReturn:
    """The child, process 1 of its own process namespace. Never returns."""
    from autograder.student import serve

    rules = _load_filter()
    _private_folders(request["tmp_mb"])
    _close_all_but({reads, writes})
    with open(os.devnull, "r+b", buffering=0) as nothing:
        for descriptor in (0, 1, 2):
            os.dup2(nothing.fileno(), descriptor)
    os.setsid()
    random.seed(0)
    sys.modules["numpy"].random.seed(0)
    if torch := sys.modules.get("torch"):
        torch.manual_seed(0)
    _limits(request)
    _drop_everything(mode, request["slot"])
    rules.load()
    try:
        with os.fdopen(reads, "rb") as reader, os.fdopen(writes, "wb") as writer:
            serve(reader, writer)
    finally:
        os._exit(0)


def _outlive_nobody(status: socket.socket, pidfd: int) -> None:
    """Return when the child has ended; end it when the grader's side of ``status`` is gone."""
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    poll.register(status, select.POLLIN)
    if pidfd not in dict(poll.poll()):
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)


def _helper(mode: str, request: dict[str, Any], descriptors: list[int]) -> NoReturn:
    """Between zygote and child: owns the namespaces' birth and reports the child's end."""
    reads, writes, status_descriptor = descriptors
    status = socket.socket(fileno=status_descriptor)
    try:
        if mode == "user":
            _own_user_namespace()
        flags = CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWNET
        _checked(libc.unshare(flags), "unshare")
        child = os.fork()
        if child == 0:
            try:
                status.close()
                _student(mode, request, reads, writes)
            finally:
                os._exit(70)
        os.close(reads)
        os.close(writes)
        pidfd = os.pidfd_open(child)
        socket.send_fds(status, [b"started"], [pidfd])
        _outlive_nobody(status, pidfd)
        _, code = os.waitpid(child, 0)
        status.send(json.dumps({"exit": os.waitstatus_to_exitcode(code)}).encode())
    except OSError as error:
        with contextlib.suppress(OSError):
            status.send(json.dumps({"error": str(error)}).encode())
    finally:
        os._exit(0)


def main() -> None:
    control = socket.socket(fileno=int(sys.argv[1]))
    mode, modules = sys.argv[2], sys.argv[3:]
    try:
        warm_up(modules)
    except Exception as error:
        control.send(json.dumps({"error": f"{type(error).__name__}: {error}"}).encode())
        raise
    control.send(json.dumps({"ready": True}).encode())
    while True:
        data, descriptors, _, _ = socket.recv_fds(control, 65536, 3)
        if not data:
            return
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG) != (0, 0):
                pass  # reap helpers that are done
        if os.fork() == 0:
            control.close()
            _helper(mode, json.loads(data), list(descriptors))
        for descriptor in descriptors:
            os.close(descriptor)


if __name__ == "__main__":
    main()
