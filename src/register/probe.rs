//! Which operations the kernel knows.

use core::fmt;

use rustix::io;

use crate::handle::Handle;
use crate::submit::Submitter;
use crate::sys::io_uring_register_op::*;

/// How many operations a probe has room for: every number there can be.
pub(crate) const OPS: usize = 256;

/// The flag of an operation that the kernel has (`IO_URING_OP_SUPPORTED`).
const SUPPORTED: u16 = 1;

/// What the kernel says of one operation: `struct io_uring_probe_op`.
#[derive(Clone, Copy)]
#[repr(C)]
struct Op {
    op: u8,
    resv: u8,
    flags: u16,
    resv2: u32,
}

/// Which operations the kernel knows, as of [`register_probe`]: `struct io_uring_probe`. Since Linux
/// 5.6.
///
/// Operations are numbers here, not names: a kernel newer than this crate answers with numbers that
/// have none yet.
///
/// ```
/// use rustix_uring::{IoUring, Probe, opcode};
///
/// let ring = IoUring::new(2)?;
/// let mut probe = Probe::new();
/// ring.submitter().register_probe(&mut probe)?;
/// assert!(probe.is_supported(opcode::Nop::CODE));
/// # Ok::<(), rustix_uring::Errno>(())
/// ```
///
/// [`register_probe`]: crate::Submitter::register_probe
#[derive(Clone)]
#[repr(C)]
pub struct Probe {
    last_op: u8,
    ops_len: u8,
    resv: u16,
    resv2: [u32; 3],
    ops: [Op; OPS],
}

impl Probe {
    /// A probe in which nothing is supported.
    #[inline]
    pub const fn new() -> Self {
        const NOTHING: Op = Op { op: 0, resv: 0, flags: 0, resv2: 0 };
        Self { last_op: 0, ops_len: 0, resv: 0, resv2: [0; 3], ops: [NOTHING; OPS] }
    }

    /// Whether the kernel has the operation with this number, an opcode's `CODE`.
    ///
    /// An operation that it has may still lack an option that came later.
    #[inline]
    pub fn is_supported(&self, opcode: u8) -> bool {
        // By position: the kernel fills as many as it knows, in order.
        opcode < self.ops_len && self.ops[usize::from(opcode)].flags & SUPPORTED != 0
    }

    /// The highest number that the kernel has.
    #[inline]
    pub const fn last_op(&self) -> u8 {
        self.last_op
    }
}

impl Default for Probe {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        struct Supported<'a>(&'a Probe);
        impl fmt::Debug for Supported<'_> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_set().entries((0..=u8::MAX).filter(|&op| self.0.is_supported(op))).finish()
            }
        }
        f.debug_struct("Probe")
            .field("last_op", &self.last_op)
            .field("supported", &Supported(self))
            .finish()
    }
}

/// # What the kernel can do
impl<H: Handle> Submitter<'_, H> {
    /// Asks which operations the kernel has (`IORING_REGISTER_PROBE`). Since Linux 5.6.
    ///
    /// # Errors
    ///
    /// EINVAL on older kernels.
    pub fn register_probe(&self, probe: &mut Probe) -> io::Result<()> {
        // The kernel wants the whole of it to be zero.
        *probe = Probe::new();
        // SAFETY: the kernel writes a header and up to `OPS` operations, all within `probe`, and
        // keeps nothing.
        unsafe { self.register_struct(IORING_REGISTER_PROBE, probe, OPS as u32) }.map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::{io_uring_probe, io_uring_probe_op};
    use core::mem::offset_of;
    use std::format;

    #[test]
    fn layout_is_the_kernels() {
        assert_eq!(size_of::<Op>(), size_of::<io_uring_probe_op>());
        assert_eq!(offset_of!(Op, flags), offset_of!(io_uring_probe_op, flags));
        assert_eq!(offset_of!(Probe, ops), size_of::<io_uring_probe>());
        assert_eq!(offset_of!(Probe, ops_len), offset_of!(io_uring_probe, ops_len));
    }

    /// USERS.md D1: whatever a newer kernel writes there is a number, and prints.
    #[test]
    fn all_ones_print() {
        let mut probe = Probe::new();
        let bytes = (&raw mut probe).cast::<u8>();
        // SAFETY: the probe is nothing but integers, for which every byte is valid.
        unsafe { bytes.write_bytes(0xff, size_of::<Probe>()) };
        assert!(probe.is_supported(254));
        assert!(format!("{probe:?}").contains("last_op: 255"));
    }
}
