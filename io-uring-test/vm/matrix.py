"""Runs the same tests on every kernel and every architecture."""

import os
import queue
import re
import tempfile
import threading
from dataclasses import dataclass, field
from pathlib import Path

import guest
import kernels
import qemu
import toolchain
from arches import ARCHES
from packages import Failure, program, say

FULL = """
    5.10 6.1 6.12 6.18 7.2 7.3 musl:7.2 i686:6.1 i686:7.2 aarch64:7.3 armv7:7.2 riscv64:7.2
    powerpc64le:6.12 s390x:7.2
""".split()
FAST = "5.10 6.1 6.12 7.2 i686:7.2".split()


@dataclass(frozen=True)
class Entry:
    arch: str
    kernel: str

    def __str__(self):
        return self.arch + " " + self.kernel

    @staticmethod
    def parse(text):
        arch, _, kernel = text.rpartition(":")
        arch = arch or "x86_64"
        if arch not in ARCHES:
            raise Failure("unknown architecture %s; known are %s" % (arch, " ".join(ARCHES)))
        return Entry(arch, kernel)


@dataclass
class Row:
    """A line of the report that the live tests write."""

    state: str
    reason: str


@dataclass
class Result:
    entry: Entry
    version: str = "?"
    machine: str = ""  # the architecture of the kernel
    statuses: dict = field(default_factory=dict)
    rows: dict = field(default_factory=dict)  # by group and name
    problem: str = ""  # why some tests have no verdict
    unavailable: str = ""  # why there is no toolchain, in which case nothing was run
    warning: str = ""
    seconds: float = 0
    log: Path = None

    def passed(self):
        return not self.unavailable and not self.problem and not any(self.statuses.values())

    def count(self, group, state):
        return sum(key[0] == group and row.state == state for key, row in self.rows.items())


def run(entries, tests, logs, jobs, timeout, refresh):
    """Runs the tests on all entries, and returns the results in the order of the entries."""
    waiting, results = queue.Queue(), {}
    for entry in entries:
        waiting.put(entry)

    def work():
        while True:
            try:
                entry = waiting.get_nowait()
            except queue.Empty:
                return
            result = results[entry] = Result(entry)
            try:
                run_one(result, tests, logs, timeout, refresh)
            except toolchain.Unavailable as e:
                result.unavailable = str(e)
            except Failure as e:
                result.problem = str(e)
            except Exception as e:  # otherwise the thread would end silently, and look like a success
                result.problem = repr(e)
            say("%s: %s" % (entry, outcome(result)))

    workers = [threading.Thread(target=work, daemon=True) for _ in range(jobs)]
    for worker in workers:
        worker.start()
    for worker in workers:
        while worker.is_alive():
            worker.join(0.2)
    return [results[entry] for entry in entries]


@dataclass(frozen=True)
class Cases:
    """The unit tests and the live tests. With filters: only live tests whose names contain one of them."""

    filters: list

    def programs(self, arch):
        programs = dict(toolchain.build(arch))
        # The filters name live tests.
        if self.filters:
            del programs["unit"]
        return programs

    def commands(self):
        return {
            "unit": ["/vm/bin/unit", "--quiet", "--test-threads=2"],
            # Emulation may be a hundred times slower than a real machine, for which the default is chosen.
            "live": ["/vm/bin/live", "--report", "/tmp/report", "--timeout", "300", *self.filters],
        }


@dataclass(frozen=True)
class Explorer:
    """Random programs, compared with the model."""

    seed: int
    steps: int
    seconds: int  # at most, so that it ends by itself and says how far it has come

    def programs(self, arch):
        return {"explore": toolchain.explorer(arch)}

    def commands(self):
        limits = ["--steps", str(self.steps), "--seconds", str(self.seconds)]
        return {"explore": ["/vm/bin/explore", "--seed", str(self.seed), *limits]}


def run_one(result, tests, logs, timeout, refresh):
    entry = result.entry
    arch = ARCHES[entry.arch]
    machine = kernels.machine(arch, entry.kernel)
    result.machine = machine.name
    kernel = kernels.find(machine, entry.kernel, refresh)
    result.version = kernel.version
    busybox = kernels.busybox(machine)
    program(machine.qemu, *machine.packages)
    programs = tests.programs(arch)
    commands = {name: words for name, words in tests.commands().items() if name in programs}
    stem = logs / ("%s-%s" % (entry.arch, entry.kernel))
    result.log = stem.with_name(stem.name + ".log")
    heard = [0]

    def progress(seconds, output):
        if seconds - heard[0] > 20:
            heard[0] = seconds
            cases = len(re.findall(r"^(?:ok  |skip|FAIL) ", output.read_text(errors="replace"), re.M))
            so_far = "%d cases" % cases if cases else "running"
            say("%s: %s after %d s" % (entry, so_far, seconds))

    with tempfile.TemporaryDirectory(prefix="rustix-uring-") as folder:
        work = Path(folder)
        guest.write_initramfs(work / "initramfs", machine, kernel, busybox, programs, commands)
        say("%s: starting Linux %s" % (entry, kernel.version))
        verdict = qemu.boot(machine, kernel, work, stem, timeout, progress)
    result.seconds = verdict.seconds
    result.statuses, result.problem, result.warning = verdict.statuses, verdict.problem, verdict.warning
    for line in stem.with_name(stem.name + ".tsv").read_text().splitlines():
        group, name, state, reason = line.split("\t")
        result.rows[group, name] = Row(state, reason)
    if not result.problem and set(result.statuses) != set(commands):
        result.problem = "some tests did not run"
    if not result.problem and "live" in commands and not result.rows:
        result.problem = "the live tests wrote no report"


def outcome(result):
    """Describes a result in words."""
    if result.unavailable:
        return "no toolchain: " + result.unavailable
    if result.problem:
        return "FAILED: " + result.problem
    if "explore" in result.statuses:
        said = result.log.read_text(errors="replace").strip().splitlines()
        return ("FAILED: " if result.statuses["explore"] else "") + (said[-1] if said else "no output")
    words = []
    if "unit" in result.statuses:
        words.append("unit tests " + ("FAILED" if result.statuses["unit"] else "pass"))
    counts = [(result.count("case", state), state) for state in ("passed", "skipped", "failed")]
    words.append(", ".join("%d %s" % count for count in counts if count[0]))
    if result.statuses["live"] and not result.count("case", "failed"):
        words.append("exit status %d" % result.statuses["live"])
    return "; ".join(words)


def failures(result):
    """The lines in which the tests reported failures, including cases that timed out."""
    text = result.log.read_text(errors="replace") if result.log else ""
    return re.findall(r"^(?:FAIL .*|test .* FAILED)$", text, re.M)


def summary(results):
    """One line for each result and each failed case."""
    lines = []
    for result in results:
        lines.append("%-16s %-10s %5.0f s  %s" % (result.entry, result.version, result.seconds, outcome(result)))
        lines += ["    " + line for line in failures(result)]
        if result.warning:
            lines.append("    kernel warning: " + result.warning)
        if not result.passed() and result.log:
            lines.append("    see %s" % os.path.relpath(result.log))
    return "\n".join(lines)


# Cases for changes that were backported: an older series may have the change before a newer one does.
BACKPORTED = {"buf_ring::min_left": "new in 7.1; backported to 6.12.107, which is newer than 6.18.15"}


def regressions(results):
    """Cases that pass on one kernel and not on a newer one. Any such case is a fault."""
    found = []
    for arch in ARCHES:
        # Kernels of one architecture have similar configurations, so they are compared only with each other.
        mine = [r for r in results if r.machine == r.entry.arch == arch and r.passed()]
        mine.sort(key=lambda r: kernels.order(r.version))
        for i, newer in enumerate(mine):
            for key, row in newer.rows.items():
                before = [r for r in mine[:i] if key in r.rows and r.rows[key].state == "passed"]
                # The case detected a known kernel bug, and was skipped because of it.
                known = row.state == "skipped" and row.reason.startswith("a bug of this kernel: ")
                if row.state != "passed" and before and not known and key[1] not in BACKPORTED:
                    found.append("%s passes on %s but not on %s: %s, %s" % (
                        key[1], before[-1].entry, newer.entry, row.state, row.reason))
    return found
