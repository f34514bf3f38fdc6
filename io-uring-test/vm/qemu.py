"""Runs a guest from start to verdict. QEMU emulates the processor; KVM is not needed."""

import re
import subprocess
import time
from dataclasses import dataclass, field

from packages import Failure, program, run

PROCESSORS, HUGE_PAGES = 2, 16
DISK, SCRATCH, NVME = 256 << 20, 64 << 20, 64 << 20

# oops=panic turns every oops into a panic.
PANIC = re.compile(r"Kernel panic - not syncing.*")
WARNING = re.compile(r"(?:WARNING: |BUG: |INFO: task |INFO: rcu|UBSAN: |refcount_t: ).*")


@dataclass
class Verdict:
    """The outcome of a guest's run."""

    problem: str = ""
    statuses: dict = field(default_factory=dict)  # exit statuses of the programs, by name
    seconds: float = 0
    warning: str = ""  # the first warning that the kernel printed during the tests


def sparse(path, size):
    with open(path, "wb") as file:
        file.truncate(size)
    return path


def boot(arch, kernel, work, logs, timeout, progress):
    """Runs the guest whose initramfs is in `work`. `logs` is the path of the logs without extension.
    Calls `progress` periodically."""
    output, console, report = (logs.with_name(logs.name + end) for end in (".log", ".console", ".tsv"))
    status, said = work / "status", work / "qemu"
    ports = {"output": output, "status": status, "report": report}
    for path in (*ports.values(), console):
        path.write_bytes(b"")

    mkfs = program("mkfs.ext4", "e2fsprogs")
    run([mkfs, "-q", "-F", sparse(work / "disk", DISK)])
    drives = {"disk": "virtio-blk-%s,drive=disk" % arch.bus, "scratch": "virtio-blk-%s,drive=scratch" % arch.bus}
    sparse(work / "scratch", SCRATCH)
    if arch.bus == "pci":
        drives["nvme"] = "nvme,serial=rustix-uring,drive=nvme"
        sparse(work / "nvme", NVME)
    append = (
        "console=%s panic=-1 oops=panic loglevel=5 random.trust_cpu=on nvme.poll_queues=1 hugepages=%d %s"
        % (arch.console, HUGE_PAGES, arch.append)
    )
    argv = [
        # Kills the emulator when this process dies.
        "setpriv", "--pdeathsig", "KILL", program(arch.qemu, *arch.packages),
        *arch.machine, "-accel", arch.accel, "-m", str(arch.memory), "-smp", str(PROCESSORS),
        "-display", "none", "-monitor", "none", "-no-reboot", "-nodefaults",
        "-serial", "file:%s" % console, "-kernel", kernel.image, "-initrd", work / "initramfs",
        "-append", append, "-device", "virtio-serial-" + arch.bus,
    ]
    for number, (name, path) in enumerate(ports.items(), 1):
        argv += ["-chardev", "file,id=%s,path=%s" % (name, path)]
        argv += ["-device", "virtserialport,chardev=%s,name=%s,nr=%d" % (name, name, number)]
    for name, device in drives.items():
        argv += ["-drive", "if=none,id=%s,format=raw,cache=unsafe,file=%s" % (name, work / name)]
        argv += ["-device", device]

    started = time.monotonic()
    elapsed = lambda: time.monotonic() - started
    with open(said, "wb") as log:
        process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        while process.poll() is None and elapsed() < timeout and "\nend\n" not in status.read_text():
            time.sleep(0.1)
            progress(elapsed(), output)
        seconds = elapsed()
        ended = process.poll() is not None
        if not ended and seconds < timeout:
            # The guest is powering off.
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                pass
    finally:
        process.kill()
        process.wait()

    verdict = Verdict(seconds=seconds)
    words = [line.split(" ") for line in status.read_text().splitlines()]
    verdict.statuses = {word[1]: int(word[2]) for word in words if word[0] == "ended"}
    log = console.read_text(errors="replace").replace("\r", "")
    # Ignores warnings during boot: the emulated processor causes some.
    ran = log.partition("starts\n")[2].partition("init: all has run")[0]
    if warning := WARNING.search(ran):
        verdict.warning = warning[0]
    if panic := PANIC.search(log):
        verdict.problem = panic[0]
    elif fatal := [" ".join(word[1:]) for word in words if word[0] == "fatal"]:
        verdict.problem = fatal[0]
    elif ["end"] not in words:
        booted = any(word[0] == "boot" for word in words)
        where = "the tests" if booted else "boot"
        if ended:
            why = said.read_text(errors="replace").strip()[-500:] or "QEMU printed no message"
            verdict.problem = "the guest stopped during %s: %s" % (where, why)
        else:
            verdict.problem = "%s did not finish within %d s" % (where, timeout)
    return verdict
