"""Builds the library and the live tests with the oldest supported Rust, which is that of Debian 13. The
compiler and cargo are unpacked in the cache and run from there."""

import os
import re
import subprocess
import sys

sys.dont_write_bytecode = True

import toolchain
from arches import ARCHES
from packages import Apt, Failure, Lock, cache, run, say

# The live tests enable every feature of the library.
BUILDS = (
    ["-p", "rustix-uring", "-p", "io-uring-test"],
    ["-p", "rustix-uring", "--no-default-features"],
    ["--release", "--manifest-path", "examples/freestanding/Cargo.toml"],
)


def cargo():
    """The path of Debian's cargo."""
    base = cache("toolchain", "cargo")
    with Lock("toolchain-cargo"):
        if not (base / "cargo").exists():
            apt = Apt("amd64", toolchain.RUST)
            apt.update()
            libraries = [name for name in apt.closure("cargo") if name.startswith("lib")]
            apt.unpack(["cargo", *libraries], base / "root", "cargo")
            text = toolchain.RUN_RUST.format(program="cargo").replace('--sysroot "$root/usr" ', "")
            toolchain.script(base / "cargo", text)
    return base / "cargo"


def main():
    manifest = (toolchain.ROOT / "Cargo.toml").read_text()
    promised = re.search(r'^rust-version = "([\d.]+)"', manifest, re.M)[1]
    try:
        rustc = toolchain.rust(ARCHES["x86_64"]) / "rustc"
        env = dict(os.environ, RUSTC=str(rustc), RUSTDOC=str(rustc.with_name("rustdoc")))
        version = run([rustc, "--version"]).split()[1]
        if not re.match(re.escape(promised) + r"(?!\d)", version):
            raise Failure("Cargo.toml promises Rust %s, but Debian has %s" % (promised, version))
        # The system's cargo downloads the dependencies; the older one builds offline.
        for manifest in ("Cargo.toml", "examples/freestanding/Cargo.toml"):
            run(["cargo", "fetch", "--locked", "--manifest-path", manifest], cwd=toolchain.ROOT)
        say("building with Rust " + version)
        target = toolchain.target_folder().with_name("msrv")
        for what in BUILDS:
            argv = [cargo(), "build", "--locked", "--offline", "--target-dir", target, *what]
            subprocess.run(argv, cwd=toolchain.ROOT, env=env, stdin=subprocess.DEVNULL, check=True)
    except Failure as e:
        sys.exit(str(e))
    except subprocess.CalledProcessError as e:
        sys.exit("FAILED: the build fails with Rust %s" % version)


if __name__ == "__main__":
    main()
