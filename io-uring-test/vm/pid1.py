"""Runs the freestanding program as the only process of a virtual machine. It prints a file on the
console. When it exits, the kernel panics, and the panic message contains the exit status."""

import re
import subprocess
import tempfile
import time
from pathlib import Path

import guest
import kernels
import qemu
import toolchain
from arches import ARCHES
from packages import Failure, program, say

USUAL = "5.10 6.12 7.2 aarch64:7.3".split()
MANIFEST = toolchain.ROOT / "examples" / "freestanding" / "Cargo.toml"
# Larger than a block of the program, and smaller than its chain of blocks.
TEXT = "".join("line %5d of what is printed\n" % n for n in range(2000)).encode()
# For each file: the expected exit status and output.
RUNS = (("", 0, TEXT), ("/empty", 0, b""), ("/missing", 1, b"/missing: cannot find out its size: errno 2\n"))
TIMEOUT = 300


def run(entries, refresh):
    """Runs the program on each entry, and returns a list of complaints."""
    complaints = []
    for entry in entries:
        try:
            started = time.monotonic()
            arch = ARCHES[entry.arch]
            machine = kernels.machine(arch, entry.kernel)
            kernel = kernels.find(machine, entry.kernel, refresh)
            binary = build(arch)
            for path, status, text in RUNS:
                check(machine, kernel, binary, path, status, text)
            say("%s: Linux %s, as its only process: passed, %.0f s" % (
                entry, kernel.version, time.monotonic() - started))
        except Failure as e:
            say("%s: FAILED: %s" % (entry, e))
            complaints.append("%s: the freestanding program: %s" % (entry, e))
    return complaints


def build(arch):
    env = toolchain.environment(arch)
    # The program's build script sets its own link arguments.
    env.pop("CARGO_TARGET_%s_RUSTFLAGS" % arch.triple.upper().replace("-", "_"))
    return toolchain.executable(arch, env, "build", "--release", "--locked", "--manifest-path", MANIFEST)


def check(machine, kernel, binary, path, status, text):
    with tempfile.TemporaryDirectory(prefix="rustix-uring-") as folder:
        console = boot(machine, kernel, binary, path, Path(folder))
    ended = re.search(r"Attempted to kill init! exitcode=0x([0-9a-f]+)", console)
    what = path or "without a file"
    if not ended:
        raise Failure("%s: the console does not report an exit of the program:\n%s" % (what, console[-1000:]))
    if int(ended[1], 16) != status << 8:
        raise Failure("%s: exitcode=0x%s, expected %d << 8:\n%s" % (what, ended[1], status, console[-1000:]))
    if text.decode() not in console:
        raise Failure("%s: the expected output is missing from the console:\n%s" % (what, console[-1000:]))


def boot(machine, kernel, binary, path, work):
    """Boots a machine with only the program and its files, and returns the console output."""
    with open(work / "initramfs", "wb") as out:
        cpio = guest.Cpio(out)
        cpio.device("dev/console", 5, 1)
        cpio.file("freestanding", binary.read_bytes(), 0o755)
        cpio.file("init", TEXT)
        cpio.file("empty", b"")
        cpio.end()
    console = work / "console"
    append = "console=%s rdinit=/freestanding panic=-1 loglevel=1 %s -- %s" % (machine.console, machine.append, path)
    argv = [
        "setpriv", "--pdeathsig", "KILL", program(machine.qemu, *machine.packages), *machine.machine,
        "-accel", machine.accel, "-m", str(machine.memory), "-smp", str(qemu.PROCESSORS), "-display", "none",
        "-monitor", "none", "-no-reboot", "-nodefaults", "-serial", "file:%s" % console,
        "-kernel", kernel.image, "-initrd", work / "initramfs", "-append", append,
    ]
    try:
        subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, timeout=TIMEOUT, check=False)
    except subprocess.TimeoutExpired:
        pass  # the caller reports what is missing from the console
    return console.read_text(errors="replace").replace("\r", "") if console.exists() else ""
