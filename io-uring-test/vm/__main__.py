"""The command line: see `io-uring-test/matrix --help`."""

import argparse
import signal
import sys

sys.dont_write_bytecode = True

import matrix
import pid1
import support
import targets
import toolchain
from packages import Failure, say


def arguments():
    parser = argparse.ArgumentParser(
        prog="io-uring-test/matrix", allow_abbrev=False,
        usage="%(prog)s [options] [-- CASE...]",
        description="Runs the unit tests and the live tests on many kernels and architectures, in QEMU's "
        "software emulation. Requires Debian 12 or newer on x86_64; missing packages, kernels and toolchains "
        "are downloaded.",
        epilog="Kernels and toolchains are cached in the folder that RUSTIX_URING_CACHE names, by default "
        "~/.cache/rustix-uring.",
    )
    chosen = parser.add_mutually_exclusive_group()
    chosen.add_argument("--fast", action="store_true", help="run only on " + " ".join(matrix.FAST))
    chosen.add_argument(
        "--kernels", metavar="LIST", help="run only on these, each VERSION or ARCH:VERSION; by default on "
        + " ".join(matrix.FULL)
    )
    chosen.add_argument(
        "--targets", action="store_true",
        help="run no tests; check that the crate compiles for every Linux target that the compiler knows"
    )
    parser.add_argument("--pid1", action="store_true", help="run only the freestanding program, as the only process, on "
                        + " ".join(pid1.USUAL) + ", or on the kernels of --kernels")
    parser.add_argument("--explore", type=int, metavar="STEPS", help="instead of the tests, run this many steps of "
                        "random programs and compare them with the model (release build)")
    parser.add_argument("--seed", type=int, default=1, help="the seed of --explore (1)")
    parser.add_argument("--write", action="store_true", help="update SUPPORT.md and the support table of README.md")
    parser.add_argument("--jobs", type=int, default=2, help="number of virtual machines at a time (2)")
    parser.add_argument("--timeout", type=int, default=900, help="time limit for each virtual machine, in seconds (900)")
    parser.add_argument("--refresh", action="store_true", help="look for kernels newer than those in the cache")
    parser.add_argument("cases", nargs="*", metavar="CASE", help="run only live tests whose names contain one of these")
    args = parser.parse_args()
    args.all = not (args.fast or args.kernels or args.targets or args.cases or args.pid1 or args.explore)
    if args.write and not args.all:
        parser.error("--write requires a run of all kernels and all cases")
    return args


def main():
    args = arguments()
    # SIGTERM then unwinds, so that the emulators are stopped and the scratch folders removed.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    chosen = matrix.FAST if args.fast else args.kernels.replace(",", " ").split() if args.kernels else matrix.FULL
    logs = toolchain.target_folder() / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    results, compiled, complaints = [], {}, []
    try:
        if args.pid1 or args.all:
            kernels = args.kernels.replace(",", " ").split() if args.kernels else pid1.USUAL
            complaints += pid1.run([matrix.Entry.parse(text) for text in kernels], args.refresh)
        if not (args.targets or args.pid1):
            entries = [matrix.Entry.parse(text) for text in chosen]
            if args.explore:
                # Booting and a shorter sequence take time too.
                tests = matrix.Explorer(args.seed, args.explore, max(args.timeout - 120, 1))
            else:
                tests = matrix.Cases(args.cases)
            results = matrix.run(entries, tests, logs, args.jobs, args.timeout, args.refresh)
            print("\n" + matrix.summary(results) + "\n", flush=True)
        if args.targets or args.all:
            compiled = targets.check(args.jobs)
            print("\n" + targets.summary(compiled) + "\n")
            complaints += targets.complaints(compiled)
    except Failure as e:
        sys.exit(str(e))
    if not (args.cases or args.explore):
        complaints += matrix.regressions(results) + support.lost(results)
    if args.all:
        complaints += support.gaps(results)
    if args.write:
        support.write(results, compiled)
        say("SUPPORT.md and README.md updated")
    for complaint in complaints:
        print(complaint)
    bad = [str(r.entry) for r in results if not r.passed() and not r.unavailable]
    if results:
        print("%d of %d passed%s" % (
            sum(r.passed() for r in results), len(results), "; failed: " + ", ".join(bad) if bad else ""))
    return 1 if bad or complaints else 0


if __name__ == "__main__":
    sys.exit(main())
