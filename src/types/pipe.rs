//! Arguments of operations on pipes: creating and splicing.

use bitflags::bitflags;
use rustix::fs::OFlags;

use crate::sys;

bitflags! {
    /// Flags of [`Pipe`](crate::opcode::Pipe), which are those of [`pipe2(2)`].
    ///
    /// [`pipe2(2)`]: https://man7.org/linux/man-pages/man2/pipe.2.html
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    #[repr(transparent)]
    pub struct PipeFlags: u32 {
        /// Close both ends on `exec`. Fails with -EINVAL together with destination slots.
        const CLOEXEC = OFlags::CLOEXEC.bits();
        /// Transfer packets: each read returns the data of one write.
        const DIRECT = OFlags::DIRECT.bits();
        /// Neither end blocks.
        const NONBLOCK = OFlags::NONBLOCK.bits();
        /// Create a pipe that delivers notifications of the kernel.
        const NOTIFICATION_PIPE = OFlags::EXCL.bits();

        const _ = !0;
    }
}

bitflags! {
    /// Flags of [`Splice`](crate::opcode::Splice) and [`Tee`](crate::opcode::Tee): the `SPLICE_F_*`
    /// flags of [`splice(2)`].
    ///
    /// [`splice(2)`]: https://man7.org/linux/man-pages/man2/splice.2.html
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    #[repr(transparent)]
    pub struct SpliceFlags: u32 {
        /// Move pages instead of copying them if possible.
        const MOVE = sys::SPLICE_F_MOVE;
        /// Do not wait for the pipe.
        const NONBLOCK = sys::SPLICE_F_NONBLOCK;
        /// More data will follow.
        const MORE = sys::SPLICE_F_MORE;
        /// Has no effect here.
        const GIFT = sys::SPLICE_F_GIFT;
        /// The input is a slot of the registered file table. [`Fixed`](crate::types::Fixed) sets
        /// this flag.
        const FD_IN_FIXED = sys::SPLICE_F_FD_IN_FIXED;

        const _ = !0;
    }
}
