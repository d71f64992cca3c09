# SPDX-License-Identifier: GPL-2.0-or-later
"""
A Debian of another release in a folder, by debootstrap, from the mirrors that this machine's own apt
uses. debootstrap checks what it gets by the keyring of this machine.

    problem = missing()                                  # why there can be none; None: there can
    problem = bootstrap("bullseye", folder, packages, deadline)
    done = run_bounded(["chroot", folder, "true"], deadline)
"""
import os
import shutil
import signal
import subprocess
import time

from harness import PATH

ENVIRONMENT = {"PATH": PATH, "LC_ALL": "C.UTF-8", "HOME": "/root", "DEBIAN_FRONTEND": "noninteractive"}


def missing():
    if os.geteuid() != 0 or os.environ.get("SIPFENCE_TEST_UNPRIVILEGED"):
        return "a chroot needs root"
    for program in ("debootstrap", "chroot", "unshare", "apt-get"):
        if not shutil.which(program, path=PATH):
            return program + " is missing"
    return None


def mirrors():
    """Where apt of this machine gets Debian from."""
    done = subprocess.run(["apt-get", "indextargets", "--format", "$(REPO_URI)",
                           "Created-By: Packages", "Label: Debian"],
                          stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, timeout=60)
    return list(dict.fromkeys(done.stdout.split()))


def run_bounded(argv, deadline, **more):
    """Like subprocess.run, ended with all its children at that time of the monotonic clock."""
    child = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                             stderr=subprocess.STDOUT, text=True, errors="replace",
                             start_new_session=True, env=dict(ENVIRONMENT, **more))
    output = None
    try:
        output, _ = child.communicate(timeout=max(deadline - time.monotonic(), 1))
    except subprocess.TimeoutExpired:
        pass
    finally:
        if output is None:  # also when this process is told to end
            os.killpg(child.pid, signal.SIGKILL)
            output, _ = child.communicate()
            output += "\n(ended: it took too long)\n"
    return subprocess.CompletedProcess(argv, child.returncode, output)


def bootstrap(release, folder, packages, deadline):
    """Fills the folder; None, or why it could not be done."""
    problem = "apt knows no mirror of Debian"
    for mirror in mirrors():
        # What it mounts there is gone with it.
        done = run_bounded(["unshare", "--mount", "debootstrap", "--variant=minbase",
                            "--include=" + ",".join(packages), release, folder, mirror], deadline)
        if done.returncode == 0:
            return None
        problem = "debootstrap: " + " / ".join(done.stdout.strip().splitlines()[-3:])
    return problem
