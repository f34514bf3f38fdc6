"""Checks that the crate compiles for every Linux target that the compiler knows."""

import os
import re
import subprocess
import threading

from packages import Failure, say
from toolchain import ROOT, target_folder


def linux():
    """The targets whose operating system is Linux according to the compiler."""
    found = []
    for triple in output("rustc", "--print", "target-list").split():
        if "linux" in triple and 'target_os="linux"' in output("rustc", "--print", "cfg", "--target", triple):
            found.append(triple)
    return found


def output(*argv):
    done = subprocess.run(argv, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    return done.stdout


def core_source():
    """Ensures that the source of core is present: few targets have a precompiled core."""
    library = os.path.join(output("rustc", "--print", "sysroot").strip(), "lib/rustlib/src/rust/library")
    if os.path.isdir(library):
        return
    try:
        done = subprocess.run(["rustup", "component", "add", "rust-src"], cwd=ROOT,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    except OSError as e:
        raise Failure("the source of core is missing, and rustup does not run: %s" % e)
    if done.returncode != 0:
        raise Failure("cannot install the source of core: " + done.stdout.strip()[-300:])


def check(jobs):
    """The outcome for each target: `None` if the crate compiles, otherwise the crate that does not."""
    core_source()
    waiting, found = linux(), {}
    total = len(waiting)
    say("cargo check for %d targets" % total)

    def work(number):
        # -Zbuild-std and -Zno-codegen are unstable. A check needs no machine code.
        env = dict(os.environ, RUSTC_BOOTSTRAP="1", RUSTFLAGS="-Zno-codegen")
        while waiting:
            try:
                triple = waiting.pop(0)
            except IndexError:
                return
            argv = [
                "cargo", "check", "--quiet", "-Zbuild-std=core", "-p", "rustix-uring",
                "--no-default-features", "--target", triple,
                "--target-dir", target_folder() / ("check-%d" % number),
            ]
            done = subprocess.run(argv, cwd=ROOT, env=env, stdin=subprocess.DEVNULL,
                                  stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
            found[triple] = None
            if done.returncode != 0:
                crate = re.search(r"could not (?:compile|document) `([^`]*)`", done.stdout)
                found[triple] = crate[1] if crate else done.stdout.strip()[-300:]
            if len(found) % 10 == 0:
                say("checked %d of %d targets" % (len(found), total))

    workers = [threading.Thread(target=work, args=(n,), daemon=True) for n in range(jobs)]
    for worker in workers:
        worker.start()
    for worker in workers:
        while worker.is_alive():
            worker.join(0.2)
    return dict(sorted(found.items()))


def summary(found):
    good = [triple for triple, crate in found.items() if crate is None]
    lines = ["%d of %d Linux targets compile" % (len(good), len(found))]
    lines += ["    %s: %s does not compile" % (triple, crate) for triple, crate in found.items() if crate]
    return "\n".join(lines)


def complaints(found):
    """Targets where this crate itself fails to compile. It cannot support more than its dependencies do."""
    return ["%s: %s does not compile" % item for item in found.items() if item[1] not in (None, *DEPENDENCIES)]


DEPENDENCIES = ("rustix", "linux-raw-sys", "libc", "errno", "bitflags", "core", "compiler_builtins")
