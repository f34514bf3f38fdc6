//! The names and numbers of operations.

use super::io_uring_op::*;
use super::{IORING_OP_NOP128, IORING_OP_URING_CMD128};

macro_rules! names {
    ($($IORING_OP:ident)*) => { [$((stringify!($IORING_OP), $IORING_OP as u8)),*] };
}

/// All operations up to Linux 7.3, by number.
const OPS: [(&str, u8); 65] = names! {
    IORING_OP_NOP IORING_OP_READV IORING_OP_WRITEV IORING_OP_FSYNC IORING_OP_READ_FIXED
    IORING_OP_WRITE_FIXED IORING_OP_POLL_ADD IORING_OP_POLL_REMOVE IORING_OP_SYNC_FILE_RANGE
    IORING_OP_SENDMSG IORING_OP_RECVMSG IORING_OP_TIMEOUT IORING_OP_TIMEOUT_REMOVE
    IORING_OP_ACCEPT IORING_OP_ASYNC_CANCEL IORING_OP_LINK_TIMEOUT IORING_OP_CONNECT
    IORING_OP_FALLOCATE IORING_OP_OPENAT IORING_OP_CLOSE IORING_OP_FILES_UPDATE IORING_OP_STATX
    IORING_OP_READ IORING_OP_WRITE IORING_OP_FADVISE IORING_OP_MADVISE IORING_OP_SEND
    IORING_OP_RECV IORING_OP_OPENAT2 IORING_OP_EPOLL_CTL IORING_OP_SPLICE
    IORING_OP_PROVIDE_BUFFERS IORING_OP_REMOVE_BUFFERS IORING_OP_TEE IORING_OP_SHUTDOWN
    IORING_OP_RENAMEAT IORING_OP_UNLINKAT IORING_OP_MKDIRAT IORING_OP_SYMLINKAT IORING_OP_LINKAT
    IORING_OP_MSG_RING IORING_OP_FSETXATTR IORING_OP_SETXATTR IORING_OP_FGETXATTR
    IORING_OP_GETXATTR IORING_OP_SOCKET IORING_OP_URING_CMD IORING_OP_SEND_ZC
    IORING_OP_SENDMSG_ZC IORING_OP_READ_MULTISHOT IORING_OP_WAITID IORING_OP_FUTEX_WAIT
    IORING_OP_FUTEX_WAKE IORING_OP_FUTEX_WAITV IORING_OP_FIXED_FD_INSTALL IORING_OP_FTRUNCATE
    IORING_OP_BIND IORING_OP_LISTEN IORING_OP_RECV_ZC IORING_OP_EPOLL_WAIT IORING_OP_READV_FIXED
    IORING_OP_WRITEV_FIXED IORING_OP_PIPE IORING_OP_NOP128 IORING_OP_URING_CMD128
};

/// Returns the kernel's name of an operation, for example `IORING_OP_READ`, or `None` if the number
/// is newer than this crate.
///
/// ```
/// use rustix_uring::{opcode, sys};
///
/// assert_eq!(sys::op_name(opcode::Read::CODE), Some("IORING_OP_READ"));
/// assert_eq!(sys::op_name(255), None);
/// ```
#[inline]
pub const fn op_name(code: u8) -> Option<&'static str> {
    if (code as usize) < OPS.len() { Some(OPS[code as usize].0) } else { None }
}

/// Returns the number of the operation with this name, at compile time.
pub(crate) const fn op_code(name: &str) -> u8 {
    let mut code = 0;
    while code < OPS.len() {
        if is_same(OPS[code].0.as_bytes(), name.as_bytes()) {
            return OPS[code].1;
        }
        code += 1;
    }
    panic!("no operation has this name")
}

/// Compares byte strings. `==` is not `const`.
const fn is_same(one: &[u8], other: &[u8]) -> bool {
    let mut n = 0;
    while n < one.len() && n < other.len() && one[n] == other[n] {
        n += 1;
    }
    n == one.len() && n == other.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_in_numeric_order() {
        assert!(OPS.iter().map(|(_, number)| usize::from(*number)).eq(0..OPS.len()));
    }

    #[test]
    fn names_match_as_a_whole() {
        assert_eq!(op_code("IORING_OP_READ"), 22);
        assert_eq!(op_code("IORING_OP_READV"), 1);
        assert_eq!(op_name(64), Some("IORING_OP_URING_CMD128"));
        assert_eq!(op_name(65), None);
    }
}
