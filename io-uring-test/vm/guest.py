"""The files of the guest: an initramfs with busybox, the programs, and the modules that it needs."""

import shlex
import stat
from pathlib import Path


class Cpio:
    """Writes an initramfs in the newc format. Root owns every entry."""

    def __init__(self, out):
        self.out, self.count, self.folders = out, 0, set()

    def _entry(self, path, mode, data=b"", device=(0, 0)):
        self.count += 1
        name = path.encode() + b"\0"
        fields = (self.count, mode, 0, 0, 1, 0, len(data), 0, 0, *device, len(name), 0)
        head = b"070701" + b"".join(b"%08X" % field for field in fields) + name
        self.out.write(head + bytes(-len(head) % 4) + data + bytes(-len(data) % 4))

    def folder(self, path):
        if path and path not in self.folders:
            self.folder(path.rpartition("/")[0])
            self.folders.add(path)
            self._entry(path, stat.S_IFDIR | 0o755)

    def file(self, path, data, mode=0o644):
        self.folder(path.rpartition("/")[0])
        self._entry(path, stat.S_IFREG | mode, data)

    def link(self, path, target):
        self._entry(path, stat.S_IFLNK | 0o777, target.encode())

    def device(self, path, major, minor):
        self.folder(path.rpartition("/")[0])
        self._entry(path, stat.S_IFCHR | 0o600, device=(major, minor))

    def end(self):
        self._entry("TRAILER!!!", 0)


def modules(arch):
    wanted = ["virtio_console", "virtio_blk"]
    if arch.bus == "pci":
        wanted = ["virtio_pci", *wanted, "nvme"]
    return [*wanted, arch.filesystem] if arch.filesystem != "tmpfs" else wanted


def write_initramfs(path, arch, kernel, busybox, programs, commands):
    """Writes the initramfs. `programs` maps names in /vm/bin to paths, `commands` names to argument lists."""
    loaded = kernel.modules(modules(arch))
    with open(path, "wb") as out:
        cpio = Cpio(out)
        for folder in ("dev", "etc", "mnt", "proc", "root", "run", "sys", "tmp"):
            cpio.folder(folder)
        cpio.device("dev/console", 5, 1)
        cpio.device("dev/null", 1, 3)
        cpio.file("bin/busybox", busybox.read_bytes(), 0o755)
        cpio.link("bin/sh", "busybox")
        cpio.file("etc/passwd", b"root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534::/tmp:/bin/sh\n")
        cpio.file("etc/group", b"root:x:0:\nnogroup:x:65534:\n")
        cpio.file("etc/hosts", b"127.0.0.1 localhost vm\n::1 localhost\n")
        cpio.file("init", Path(__file__).with_name("init.sh").read_bytes(), 0o755)
        for name, program in programs.items():
            cpio.file("vm/bin/" + name, program.read_bytes(), 0o755)
        for name, data in loaded:
            cpio.file("vm/modules/%s.ko" % name, data)
        cpio.file("vm/modules/order", "".join(name + "\n" for name, _ in loaded).encode())
        cpio.file("vm/filesystem", arch.filesystem.encode() + b"\n")
        run = ["run %s %s\n" % (name, shlex.join(words)) for name, words in commands.items()]
        cpio.file("vm/run", "".join(run).encode())
        cpio.end()
