//! Probes: which operations the kernel supports.

use core::fmt;

use rustix::io;

use crate::handle::Handle;
use crate::submit::Submitter;
use crate::sys::io_uring_register_op::*;

/// The number of operations that a probe can hold: one for each possible number.
pub(crate) const OPS: usize = 256;

/// The flag of an operation that the kernel supports (`IO_URING_OP_SUPPORTED`).
const SUPPORTED: u16 = 1;

/// What the kernel reports about one operation: `struct io_uring_probe_op`.
#[derive(Clone, Copy)]
#[repr(C)]
struct Op {
    op: u8,
    resv: u8,
    flags: u16,
    resv2: u32,
}

/// The operations that the kernel supports, as [`register_probe`] reports them:
/// `struct io_uring_probe`. Since Linux 5.6.
///
/// A probe contains operations as numbers, because a kernel that is newer than this crate reports
/// numbers that have no name here yet.
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
    /// Creates a probe in which no operation is supported.
    #[inline]
    pub const fn new() -> Self {
        const NOTHING: Op = Op { op: 0, resv: 0, flags: 0, resv2: 0 };
        Self { last_op: 0, ops_len: 0, resv: 0, resv2: [0; 3], ops: [NOTHING; OPS] }
    }

    /// Returns whether the kernel supports the operation with this number, which is the `CODE` of
    /// its builder.
    ///
    /// A supported operation may still lack options that were added in a later kernel.
    #[inline]
    pub fn is_supported(&self, opcode: u8) -> bool {
        // The kernel fills the array in order of the numbers, so the index is the number.
        opcode < self.ops_len && self.ops[usize::from(opcode)].flags & SUPPORTED != 0
    }

    /// Returns the highest operation number that the kernel knows.
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

/// # Capabilities of the kernel
impl<H: Handle> Submitter<'_, H> {
    /// Fills `probe` with the operations that the kernel supports (`IORING_REGISTER_PROBE`). Since
    /// Linux 5.6.
    ///
    /// # Errors
    ///
    /// EINVAL on older kernels.
    pub fn register_probe(&self, probe: &mut Probe) -> io::Result<()> {
        // The kernel requires a probe that is all zero.
        *probe = Probe::new();
        // SAFETY: the kernel writes a header and up to `OPS` operations, all within `probe`, and
        // keeps no address.
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
    fn layout_matches_the_kernel() {
        assert_eq!(size_of::<Op>(), size_of::<io_uring_probe_op>());
        assert_eq!(offset_of!(Op, flags), offset_of!(io_uring_probe_op, flags));
        assert_eq!(offset_of!(Probe, ops), size_of::<io_uring_probe>());
        assert_eq!(offset_of!(Probe, ops_len), offset_of!(io_uring_probe, ops_len));
    }

    /// `Debug` works for every value that a newer kernel may write.
    #[test]
    fn all_ones_print() {
        let mut probe = Probe::new();
        let bytes = (&raw mut probe).cast::<u8>();
        // SAFETY: the probe consists of integers, for which every byte is valid.
        unsafe { bytes.write_bytes(0xff, size_of::<Probe>()) };
        assert!(probe.is_supported(254));
        assert!(format!("{probe:?}").contains("last_op: 255"));
    }
}
