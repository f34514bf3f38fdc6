"""Every Linux target that the compiler knows: does the crate compile for it?"""

import os
import re
import subprocess
import threading

from packages import Failure, say
from toolchain import ROOT, target_folder


def linux():
    """The targets whose system is Linux, as the compiler says."""
    found = []
    for triple in output("rustc", "--print", "target-list").split():
        if "linux" in triple and 'target_os="linux"' in output("rustc", "--print", "cfg", "--target", triple):
            found.append(triple)
    return found


def output(*argv):
    done = subprocess.run(argv, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    return done.stdout


def core_source():
    """Few targets have a precompiled core, and the source of core has it for all."""
    library = os.path.join(output("rustc", "--print", "sysroot").strip(), "lib/rustlib/src/rust/library")
    if os.path.isdir(library):
        return
    try:
        done = subprocess.run(["rustup", "component", "add", "rust-src"], cwd=ROOT,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    except OSError as e:
        raise Failure("there is neither the source of core nor rustup: %s" % e)
    if done.returncode != 0:
        raise Failure("no source of core: " + done.stdout.strip()[-300:])


def check(jobs):
    """What became of each target: `None` where the crate compiles, else which crate does not."""
    core_source()
    waiting, found = linux(), {}
    total = len(waiting)
    say("cargo check for %d targets" % total)

    def work(number):
        # A core for each target is no stable option, nor is one without machine code, of which a
        # check has no use.
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
                say("%d of %d targets" % (len(found), total))

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
    lines += ["    %s: %s does not" % (triple, crate) for triple, crate in found.items() if crate]
    return "\n".join(lines)


def complaints(found):
    """Those that fail by the crate itself. What its dependencies do not support, it cannot."""
    return ["%s: %s does not compile" % item for item in found.items() if item[1] not in (None, *DEPENDENCIES)]


DEPENDENCIES = ("rustix", "linux-raw-sys", "libc", "errno", "bitflags", "core", "compiler_builtins")
