"""Finds and downloads Debian's kernels, and keeps them in the cache."""

import gzip
import json
import lzma
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from arches import ARCHES
from packages import Apt, Failure, Lock, cache, program, say

SUITES = (
    "trixie-backports", "sid", "experimental", "trixie", "bookworm-backports", "bookworm", "bullseye",
)
# The suite to search first for each series.
USUAL = {"5.10": "bullseye", "6.1": "bookworm", "6.12": "trixie"}


def matches(wanted, version):
    """Whether a version equals `wanted` or belongs to that series."""
    return re.match(re.escape(wanted) + r"(?!\d)", version) is not None


def order(version):
    """A sort key that orders versions as Debian and the kernel do."""
    parts = re.findall(r"\d+|~|-rc|[^\d~]+", version)
    weight = {"~": -2, "-rc": -2}
    return [(0, int(p), "") if p.isdigit() else (weight.get(p, -1), 0, p) for p in parts] + [(-1, 0, "")]


def upstream(version):
    """The upstream version: 6.1.176 for 6.1.176-1, and 7.3-rc7 for 7.3~rc7-1~exp1."""
    return re.sub(r"-[^-]*$", "", version).replace("~", "-")


class Kernel:
    """A kernel in the cache."""

    def __init__(self, folder):
        self.folder = folder
        meta = json.loads((folder / "meta.json").read_text())
        self.release, self.version = meta["release"], meta["version"]
        self.image = folder / "vmlinuz"

    def modules(self, wanted):
        """Names and contents of modules and their dependencies, in load order. Built-in modules are
        omitted."""
        tree = self.folder / "modules"
        index = {}
        for base, _, files in os.walk(tree):
            for name in files:
                if found := re.match(r"(.+?)\.ko(\.xz|\.gz|\.zst)?$", name):
                    index[found[1].replace("-", "_")] = Path(base, name)
        done, loaded = set(), []

        def visit(name, required):
            name = name.replace("-", "_")
            if name in done:
                return
            done.add(name)
            if name not in index:
                if required and not self._built_in(name):
                    raise Failure("kernel %s has no module %s" % (self.release, name))
                return
            data = content(index[name])
            for group in re.findall(rb"(?:^|\0)softdep=pre: ?([^\0]*)", data):
                for dep in group.decode().split("post:")[0].split():
                    # An alias such as crypto-crc32c may be provided by several modules.
                    dep = dep.removeprefix("crypto-")
                    visit(dep, False)
                    visit(dep + "_generic", False)
            for group in re.findall(rb"(?:^|\0)depends=([^\0]+)", data):
                for dep in group.decode().split(","):
                    visit(dep, True)
            loaded.append((name, data))

        for name in wanted:
            visit(name, True)
        return loaded

    def _built_in(self, name):
        try:
            lines = (self.folder / "modules" / "modules.builtin").read_text().split()
        except FileNotFoundError:
            # For some kernels (6.19 to 7.1) the archive has only the image. All of these have the
            # following built in.
            return name in ("virtio_pci", "virtio_console", "nvme", "ext4")
        return any(Path(line).stem.replace("-", "_") == name for line in lines)


def content(path):
    if path.suffix == ".xz":
        return lzma.decompress(path.read_bytes())
    if path.suffix == ".gz":
        return gzip.decompress(path.read_bytes())
    if path.suffix == ".zst":
        zstd = [program("zstd", "zstd"), "-dc", path]
        return subprocess.run(zstd, check=True, stdout=subprocess.PIPE).stdout
    return path.read_bytes()


def find(arch, wanted, refresh=False):
    """The newest kernel of a series: from the cache if present, otherwise from Debian."""
    # The choice for a series is recorded, and stays until a run with --refresh.
    chosen = cache("kernels", arch.deb, "series-" + re.sub(r"[^\w.+-]", "_", wanted))
    with Lock("kernel-%s-%s" % (arch.deb, wanted)):
        if chosen.exists() and not refresh:
            return Kernel(chosen.parent / chosen.read_text().strip())
        suites = [USUAL[s] for s in USUAL if matches(s, wanted)] + list(SUITES)
        problems = []
        for suite in dict.fromkeys(suites):
            if arch.suites and suite not in arch.suites:
                continue
            apt = Apt(arch.deb, suite)
            try:
                apt.update(refresh)
            except Failure as e:
                problems.append("%s: %s" % (suite, e))
                continue
            if best := newest(arch, apt, wanted):
                kernel = fetch(arch, apt, *best)
                chosen.write_text(kernel.release + "\n")
                return kernel
        raise Failure("\n".join(["no Debian suite has Linux %s for %s" % (wanted, arch.name), *problems]))


def newest(arch, apt, wanted):
    """Version, release and packages of the newest kernel of a series that an apt root offers."""
    found = []
    for rank, flavor in enumerate(arch.flavors):
        # Up to 6.18, linux-image contains everything. Later, linux-binary has the kernel, and
        # linux-modules and linux-base have the rest.
        pattern = r"^linux-(image|binary|binary-unsigned|modules|base)-(\d[^-]*(?:-\d+|-rc\d+)?)-%s$"
        pattern %= re.escape(flavor)
        parts = {}
        for name in apt.names(pattern):
            kind, abi = re.match(pattern, name).groups()
            parts.setdefault(abi, {})[kind] = name
        for abi, kinds in parts.items():
            if not matches(".".join(re.findall(r"\d+", wanted)[:2]), abi):
                continue
            if "binary" in kinds:
                kinds.pop("binary-unsigned", None)
            main = kinds.get("binary") or kinds.get("binary-unsigned") or kinds.get("image")
            if main and matches(wanted, upstream(version := apt.show(main)["Version"])):
                found.append((-rank, order(version), version, abi + "-" + flavor, list(kinds.values())))
    return max(found)[2:] if found else None


def fetch(arch, apt, version, release, names):
    target = cache("kernels", arch.deb, release)
    if (target / "meta.json").exists():
        return Kernel(target)
    work = Path(tempfile.mkdtemp(prefix=".fetch-", dir=target.parent))
    try:
        tree, out = work / "tree", work / "out"
        apt.unpack(names, tree, "kernel %s for %s" % (upstream(version), arch.name))
        libs = [lib for lib in (tree / "lib/modules", tree / "usr/lib/modules") if lib.is_dir()]
        images = [*tree.glob("boot/vmlinu[xz]-*")]
        images += [image for lib in libs for image in lib.glob("*/vmlinu[xz]*")]
        if not images:
            raise Failure("these packages contain no kernel image: " + " ".join(names))
        (out / "modules").mkdir(parents=True)
        shutil.move(images[0], out / "vmlinuz")
        for folder in (folder for lib in libs for folder in lib.iterdir() if folder.is_dir()):
            for drivers in UNUSED:
                shutil.rmtree(folder / "kernel" / drivers, ignore_errors=True)
            shutil.copytree(folder, out / "modules", dirs_exist_ok=True, symlinks=True)
        (out / "meta.json").write_text(json.dumps({"release": release, "version": upstream(version)}))
        shutil.rmtree(target, ignore_errors=True)
        out.rename(target)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return Kernel(target)


# Drivers for devices that no emulated machine has.
UNUSED = """
    drivers/accel drivers/ata drivers/bluetooth drivers/comedi drivers/gpu drivers/hwmon drivers/iio
    drivers/infiniband drivers/input drivers/isdn drivers/leds drivers/media drivers/mfd drivers/mtd
    drivers/net/ethernet drivers/net/wireless drivers/platform drivers/soc drivers/staging drivers/usb
    drivers/video sound
""".split()


def busybox(arch):
    """The path of a static busybox for the guest."""
    target = cache("busybox", arch.deb)
    with Lock("busybox-" + arch.deb):
        if target.exists():
            return target
        # bookworm has no riscv64.
        suite = "trixie" if arch.suites and "bookworm" not in arch.suites else "bookworm"
        apt = Apt(arch.deb, suite)
        apt.update()
        work = Path(tempfile.mkdtemp(prefix=".fetch-", dir=target.parent))
        try:
            apt.unpack(["busybox-static"], work / "tree", "busybox for " + arch.name)
            found = [p for p in work.glob("tree/**/bin/busybox") if p.is_file()]
            found[0].rename(target)
        finally:
            shutil.rmtree(work, ignore_errors=True)
    return target


def machine(arch, wanted):
    """The architecture whose kernel runs the programs of `arch`."""
    series = tuple(int(n) for n in re.findall(r"\d+", wanted)[:2])
    if arch.native_until and series > arch.native_until:
        return ARCHES[arch.compat]
    return arch
