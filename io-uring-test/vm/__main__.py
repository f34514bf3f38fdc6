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
        "software emulation. Needs Debian 12 or newer on x86_64; what is missing is fetched.",
        epilog="Kernels and toolchains are kept in RUSTIX_URING_CACHE, or ~/.cache/rustix-uring.",
    )
    chosen = parser.add_mutually_exclusive_group()
    chosen.add_argument("--fast", action="store_true", help="only " + " ".join(matrix.FAST))
    chosen.add_argument(
        "--kernels", metavar="LIST", help="only these, VERSION or ARCH:VERSION; all are " + " ".join(matrix.FULL)
    )
    chosen.add_argument(
        "--targets", action="store_true", help="only compile the crate, for every Linux target that the compiler knows"
    )
    parser.add_argument("--pid1", action="store_true", help="only the freestanding program, as the only process of "
                        + " ".join(pid1.USUAL) + ", or of --kernels")
    parser.add_argument("--explore", type=int, metavar="STEPS", help="in place of the tests, so many steps of random "
                        "programs beside the model, optimized")
    parser.add_argument("--seed", type=int, default=1, help="where those begin (1)")
    parser.add_argument("--write", action="store_true", help="write SUPPORT.md and the README's part of it")
    parser.add_argument("--jobs", type=int, default=2, help="machines at a time (2)")
    parser.add_argument("--timeout", type=int, default=900, help="seconds for each machine (900)")
    parser.add_argument("--refresh", action="store_true", help="look for newer kernels than those in the cache")
    parser.add_argument("cases", nargs="*", metavar="CASE", help="only live tests whose names contain one of these")
    args = parser.parse_args()
    args.all = not (args.fast or args.kernels or args.targets or args.cases or args.pid1 or args.explore)
    if args.write and not args.all:
        parser.error("--write wants all kernels and all cases")
    return args


def main():
    args = arguments()
    # So that a termination, too, ends the emulators and the scratch folders.
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
            tests = matrix.Explorer(args.seed, args.explore) if args.explore else matrix.Cases(args.cases)
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
        say("SUPPORT.md and README.md are written")
    for complaint in complaints:
        print(complaint)
    bad = [str(r.entry) for r in results if not r.passed() and not r.unavailable]
    if results:
        print("%d of %d passed%s" % (
            sum(r.passed() for r in results), len(results), "; not " + ", ".join(bad) if bad else ""))
    return 1 if bad or complaints else 0


if __name__ == "__main__":
    sys.exit(main())
