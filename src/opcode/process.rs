//! Operations on processes.

use super::operations;
use crate::types::{IdType, SigInfo, WaitIdOptions};

operations! {
    /// Waits for a child process, like [`waitid(2)`].
    ///
    /// [`waitid(2)`]: https://man7.org/linux/man-pages/man2/waitid.2.html
    ///
    /// - **Result:** 0, and `infop` is filled; -ECHILD if there is no such child, and the contents
    ///   of `infop` are meaningless
    /// - **Memory:** `infop` until *completion*
    WaitId = "IORING_OP_WAITID" since "6.7",
    new(idtype: IdType => idtype, id: u32 => id, options: WaitIdOptions => waitid_options)
    {
        /// Sets where the kernel writes what happened to the child. By default, the kernel does not
        /// write it.
        infop: *mut SigInfo => addr2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::opcode::tests::{at, entries};

    entries! {
        wait_id: WaitId::new(IdType::PID, 7, WaitIdOptions::EXITED | WaitIdOptions::NOWAIT)
            .infop(at(0x1000))
            => { opcode: 50, fd: 7, len: 1, off: 0x1000, file_index: 0x100_0004 };
    }
}
