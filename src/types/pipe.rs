//! Pipes: flags of making and of splicing.

use bitflags::bitflags;
use rustix::fs::OFlags;

use crate::sys;

bitflags! {
    /// Flags of [`Pipe`](crate::opcode::Pipe), as of [`pipe2(2)`].
    ///
    /// [`pipe2(2)`]: https://man7.org/linux/man-pages/man2/pipe.2.html
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    #[repr(transparent)]
    pub struct PipeFlags: u32 {
        /// Close both ends on `exec`; -EINVAL with slots.
        const CLOEXEC = OFlags::CLOEXEC.bits();
        /// Packets: each read gets what one write has put in.
        const DIRECT = OFlags::DIRECT.bits();
        /// Neither end waits.
        const NONBLOCK = OFlags::NONBLOCK.bits();
        /// The kernel's notifications come out of it.
        const NOTIFICATION_PIPE = OFlags::EXCL.bits();

        const _ = !0;
    }
}

bitflags! {
    /// Flags of [`Splice`](crate::opcode::Splice) and [`Tee`](crate::opcode::Tee), the `SPLICE_F_*`
    /// of [`splice(2)`].
    ///
    /// [`splice(2)`]: https://man7.org/linux/man-pages/man2/splice.2.html
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    #[repr(transparent)]
    pub struct SpliceFlags: u32 {
        /// Move pages instead of copying them, where that can be done.
        const MOVE = sys::SPLICE_F_MOVE;
        /// Do not wait for the pipe.
        const NONBLOCK = sys::SPLICE_F_NONBLOCK;
        /// More is to come.
        const MORE = sys::SPLICE_F_MORE;
        /// Without a meaning here.
        const GIFT = sys::SPLICE_F_GIFT;
        /// The input is a registered slot. [`Fixed`](crate::types::Fixed) sets it by itself.
        const FD_IN_FIXED = sys::SPLICE_F_FD_IN_FIXED;

        const _ = !0;
    }
}
