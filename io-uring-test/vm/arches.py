"""The machines that QEMU can emulate, and their names in Debian and Rust."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Arch:
    name: str
    triple: str
    deb: str
    qemu: str
    packages: tuple  # sets of Debian packages that contain the emulator: the first available set is used
    machine: tuple
    console: str
    flavors: tuple  # flavors of Debian's kernels, best first
    gnu: str = ""  # prefix of the cross tools; empty if the system's own tools suffice
    bus: str = "pci"  # suffix of virtio devices
    filesystem: str = "ext4"  # file system of the disk that the tests use
    append: str = ""  # appended to the kernel's command line
    accel: str = "tcg"
    memory: int = 1024  # MiB
    suites: tuple = ()  # suites with kernels for this architecture; empty for all suites
    native_until: tuple = ()  # the last series with kernels of its own; later ones run on `compat`
    compat: str = ""
    rustup: bool = False  # rustup provides the standard library, because Debian does not


X86 = dict(
    packages=("qemu-system-x86",),
    # QEMU 7.2 occasionally returns from CMPXCHG16B with wrong flags, and the kernel dies of a double
    # fault (seen in __kmalloc on 6.12).
    machine=("-M", "pc", "-cpu", "max,-cx16"),
    console="ttyS0",
    # A busy host delivers ticks late, and the kernel would conclude that the timer does not work.
    append="no_timer_check",
    # With one thread per processor, QEMU 7.2 occasionally executes a breakpoint that the kernel has
    # already patched away, and the kernel dies with "Oops: int3" (seen in io_submit_sqes on 7.2).
    accel="tcg,thread=single",
)
PC = dict(X86, deb="amd64", qemu="qemu-system-x86_64", flavors=("cloud-amd64", "amd64"))

ARCHES = {
    arch.name: arch
    for arch in (
        Arch(name="x86_64", triple="x86_64-unknown-linux-gnu", **PC),
        Arch(name="musl", triple="x86_64-unknown-linux-musl", rustup=True, **PC),
        Arch(
            name="i686", triple="i686-unknown-linux-gnu", gnu="i686-linux-gnu",
            deb="i386", qemu="qemu-system-i386", flavors=("686-pae", "686"),
            suites=("bookworm", "bullseye"), native_until=(6, 1), compat="x86_64", **X86,
            # Few enough for the guest to have no high memory. 6.1 accepts rings of provided buffers in
            # high memory and dies with an oops at their first use: page_address() of such a page is NULL,
            # and io_buffer_select() reads its tail.
            memory=768,
        ),
        Arch(
            name="aarch64", triple="aarch64-unknown-linux-gnu", gnu="aarch64-linux-gnu",
            deb="arm64", qemu="qemu-system-aarch64", packages=("qemu-system-arm",),
            machine=("-M", "virt", "-cpu", "max,pauth-impdef=on"), console="ttyAMA0",
            flavors=("cloud-arm64", "arm64"),
        ),
        Arch(
            name="armv7", triple="armv7-unknown-linux-gnueabihf", gnu="arm-linux-gnueabihf",
            deb="armhf", qemu="qemu-system-arm", packages=("qemu-system-arm",),
            machine=("-M", "virt,highmem=off", "-cpu", "cortex-a15"), console="ttyAMA0",
            flavors=("armmp", "armmp-lpae"),
        ),
        Arch(
            name="riscv64", triple="riscv64gc-unknown-linux-gnu", gnu="riscv64-linux-gnu",
            deb="riscv64", qemu="qemu-system-riscv64",
            packages=("qemu-system-riscv opensbi", "qemu-system-misc opensbi"),
            machine=("-M", "virt", "-cpu", "rv64"), console="ttyS0", flavors=("riscv64",),
            suites=("trixie", "trixie-backports", "sid", "experimental"),
        ),
        Arch(
            name="powerpc64le", triple="powerpc64le-unknown-linux-gnu",
            gnu="powerpc64le-linux-gnu", deb="ppc64el", qemu="qemu-system-ppc64",
            packages=("qemu-system-ppc",), machine=("-M", "pseries", "-cpu", "power9"),
            console="hvc0", flavors=("powerpc64le",),
        ),
        Arch(
            name="s390x", triple="s390x-unknown-linux-gnu", gnu="s390x-linux-gnu",
            deb="s390x", qemu="qemu-system-s390x",
            packages=("qemu-system-s390x", "qemu-system-misc"),
            # QEMU 7.2 has vector instructions, but the TCP checksums that the kernel computes with them
            # are wrong: no connection is ever refused.
            machine=("-M", "s390-ccw-virtio", "-cpu", "max,vx=off"), console="ttysclp0", bus="ccw",
            flavors=("s390x", "cloud-s390x"),
            # Since 7.2, ext4 dies with an oops in ext4_mb_new_blocks here: ext4 is a module, and the
            # address that it reads for its per-CPU data (AG %R1,952 of the lowcore) is invalid.
            filesystem="tmpfs",
        ),
    )
}
