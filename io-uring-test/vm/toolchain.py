"""Builds static programs for every architecture.

The system's Rust builds for the system's own architecture. For the others, this module uses the Rust of
Debian 13, which has a standard library for each of Debian's architectures and is the oldest version that
this project supports, and Debian's cross linkers. Both are unpacked in the cache and run from there.
"""

import glob
import json
import os
import re
import shutil
import subprocess
import threading
from pathlib import Path

from packages import Apt, Failure, Lock, cache, program, say

RUST, GCC = "trixie", ("bookworm", "gcc-12")
ROOT = Path(__file__).resolve().parents[2]


class Unavailable(Failure):
    """This machine has no toolchain for the architecture. That does not count as a failure."""


def script(path, text):
    path.write_text("#!/bin/sh\n" + text)
    path.chmod(0o755)


def rust(arch):
    """The folder of a `rustc` and a `rustdoc` from Debian that can build for this architecture."""
    base = cache("toolchain", "rust")
    host, target = Apt("amd64", RUST), Apt(arch.deb, RUST)
    with Lock("toolchain-rust"):
        if not (base / "rustc").exists():
            host.update()
            series = re.match(r"\d+\.\d+", host.show("rustc")["Version"])[0]
            names = ["rustc", "libstd-rust-dev", *host.closure("libstd-rust-" + series)]
            host.unpack(names, base / "root", "rustc %s" % series)
            for name in ("rustc", "rustdoc"):
                # Uses the loader of its own release: its C library may be newer than the system's.
                script(base / name, RUN_RUST.format(program=name))
        if not (done := base / ("std-" + arch.deb)).exists():
            target.update()
            host.update()
            build = [re.sub(r"\+b\d+$", "", apt.show("libstd-rust-dev")["Version"]) for apt in (host, target)]
            if build[0] != build[1]:
                raise Unavailable("Debian has Rust %s for the host, but %s for %s" % (*build, arch.name))
            target.unpack(["libstd-rust-dev"], base / "root", "the standard library for " + arch.name)
            done.touch()
    return base


RUN_RUST = r"""root=$(dirname "$(readlink -f "$0")")/root
for loader in "$root"/usr/lib64/ld-linux-x86-64.so.2 "$root"/usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2; do
    [ ! -f "$loader" ] || break
done
exec "$loader" --argv0 {program} --library-path "$root/usr/lib/x86_64-linux-gnu" \
    "$root/usr/bin/{program}" --sysroot "$root/usr" "$@"
"""


def linker(arch):
    """The folder of a `cc` and an `ar` for this architecture."""
    base = cache("toolchain", "gcc-" + arch.name)
    with Lock("toolchain-gcc-" + arch.name):
        if (base / "cc").exists():
            return base
        suite, gcc = GCC
        apt = Apt("amd64", suite)
        apt.update()
        names = apt.closure("%s-%s" % (gcc, arch.gnu), "libc6-dev-%s-cross" % arch.deb)
        names = [name for name in names if not NOT_FOR_LINKER.match(name)]
        apt.unpack(names, base / "root", "the linker for " + arch.name)
        usr = base / "root" / "usr"
        shutil.rmtree(usr / "share", ignore_errors=True)
        for pattern in NOT_FOR_LINKING:
            for path in glob.glob(str(usr / pattern)):
                os.unlink(path)
        # libc.so names files by absolute path. With --sysroot, ld finds them in the cache.
        script(base / "ar", RUN_TOOL + 'exec "$usr/bin/%s-ar" "$@"\n' % arch.gnu)
        script(base / "cc", RUN_TOOL + 'exec "$usr/bin/%s-%s" --sysroot="${usr%%/usr}" "$@"\n' % (arch.gnu, gcc))
    return base


RUN_TOOL = r"""usr=$(dirname "$(readlink -f "$0")")/root/usr
export LD_LIBRARY_PATH="$usr/lib/x86_64-linux-gnu${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
"""
# The system, which is also Debian, has these.
NOT_FOR_LINKER = re.compile(
    r"^(libc6|libcrypt1|libgcc-s1|libstdc\+\+6|gcc-12-base|debconf|dpkg|tar|perl.*|libtinfo6)$"
)
NOT_FOR_LINKING = (
    "lib/gcc-cross/*/*/lto1", "lib/gcc-cross/*/*/*san*", "bin/*-lto-dump*", "bin/*-gcov*",
    "bin/*-gprof*", "bin/*-dwp", "*/lib/*san*.so*",
)


def rustup(triple):
    """Ensures that the system's Rust has the standard library of a target."""
    rustc = os.environ.get("RUSTC", "rustc")
    libdir = [rustc, "--print", "target-libdir", "--target", triple]
    found = subprocess.run(libdir, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=ROOT)
    if found.returncode == 0 and Path(found.stdout.strip()).is_dir():
        return
    if not shutil.which("rustup"):
        raise Unavailable("the toolchain lacks the target %s, and rustup is not installed" % triple)
    say("downloading the standard library for " + triple)
    added = subprocess.run(
        ["rustup", "target", "add", triple], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True, cwd=ROOT,
    )
    if added.returncode != 0:
        raise Unavailable("rustup: " + added.stdout.strip()[-300:])


def environment(arch):
    """The environment in which cargo builds static programs for an architecture."""
    env = dict(os.environ)
    own = "CARGO_TARGET_%s_" % arch.triple.upper().replace("-", "_")
    flags = [*env.pop("RUSTFLAGS", "").split(), "-C", "target-feature=+crt-static"]
    # Panic messages do not need debug information, and every guest must unpack the programs.
    env.update({own + "RUSTFLAGS": " ".join(flags), "CARGO_PROFILE_DEV_DEBUG": "false"})
    program("cc", "gcc libc6-dev")
    if arch.rustup:
        rustup(arch.triple)
    elif arch.gnu:
        gcc, debian = linker(arch), rust(arch)
        for name, tool in (("CC", "cc"), ("AR", "ar")):
            env["%s_%s" % (name, arch.triple.replace("-", "_"))] = str(gcc / tool)
        env.update({
            own + "LINKER": str(gcc / "cc"),
            "RUSTC": str(debian / "rustc"),
            "RUSTDOC": str(debian / "rustdoc"),
        })
    return env


def target_folder():
    return Path(os.environ.get("CARGO_TARGET_DIR") or ROOT / "target").absolute() / "matrix"


CARGO = threading.Lock()
BUILT = {}


def build(arch):
    """Builds the unit tests and the live tests, once per architecture."""
    env = environment(arch)
    with CARGO:
        if arch.name not in BUILT:
            say("building for %s" % arch.triple)
            BUILT[arch.name] = compile_tests(arch, env)
    return BUILT[arch.name]


def explorer(arch):
    """Builds the explorer, which looks for differences from the model. The build is optimized because it runs
    millions of steps."""
    env = environment(arch)
    with CARGO:
        say("building the explorer for %s" % arch.triple)
        return executable(arch, env, "build", "--release", "--bin", "explore", "-p", "io-uring-test")


def compile_tests(arch, env):
    # Builds the binary, not its tests: their dependencies do not support every architecture.
    unit = executable(arch, env, "test", "--no-run", "--lib", "-p", "rustix-uring")
    live = executable(arch, env, "build", "--bin", "io-uring-test", "-p", "io-uring-test")
    return {"unit": unit, "live": live}


def executable(arch, env, *command):
    argv = [
        "cargo", *command, "--target", arch.triple, "--target-dir", target_folder() / "build",
        "--message-format", "json-render-diagnostics",
    ]
    cargo = subprocess.run(argv, cwd=ROOT, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                           stderr=subprocess.PIPE, text=True)
    if cargo.returncode != 0:
        problems = [line for line in cargo.stderr.splitlines() if not line.startswith("   Compiling")]
        raise Failure("cargo failed for %s:\n%s" % (arch.triple, "\n".join(problems)[:3000]))
    messages = map(json.loads, cargo.stdout.splitlines())
    return Path([m["executable"] for m in messages if m.get("executable")][-1])
