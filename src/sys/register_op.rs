//! The names of register operations, and the releases that introduced them.

use super::io_uring_register_op::*;
use super::{IORING_REGISTER_BPF_FILTER, IORING_REGISTER_QUERY, IORING_REGISTER_ZCRX_CTRL};

macro_rules! operations {
    ($($since:literal: $($NAME:ident)*;)*) => {
        [$($((stringify!($NAME), $NAME as u32, $since)),*),*]
    };
}

/// All register operations up to Linux 7.3, by number. Number 32 was reserved for two releases.
const OPS: [(&str, u32, &str); 38] = operations! {
    "5.1": IORING_REGISTER_BUFFERS IORING_UNREGISTER_BUFFERS IORING_REGISTER_FILES
        IORING_UNREGISTER_FILES;
    "5.2": IORING_REGISTER_EVENTFD IORING_UNREGISTER_EVENTFD;
    "5.5": IORING_REGISTER_FILES_UPDATE;
    "5.6": IORING_REGISTER_EVENTFD_ASYNC IORING_REGISTER_PROBE IORING_REGISTER_PERSONALITY
        IORING_UNREGISTER_PERSONALITY;
    "5.10": IORING_REGISTER_RESTRICTIONS IORING_REGISTER_ENABLE_RINGS;
    "5.13": IORING_REGISTER_FILES2 IORING_REGISTER_FILES_UPDATE2 IORING_REGISTER_BUFFERS2
        IORING_REGISTER_BUFFERS_UPDATE;
    "5.14": IORING_REGISTER_IOWQ_AFF IORING_UNREGISTER_IOWQ_AFF;
    "5.15": IORING_REGISTER_IOWQ_MAX_WORKERS;
    "5.18": IORING_REGISTER_RING_FDS IORING_UNREGISTER_RING_FDS;
    "5.19": IORING_REGISTER_PBUF_RING IORING_UNREGISTER_PBUF_RING;
    "6.0": IORING_REGISTER_SYNC_CANCEL IORING_REGISTER_FILE_ALLOC_RANGE;
    "6.8": IORING_REGISTER_PBUF_STATUS;
    "6.9": IORING_REGISTER_NAPI IORING_UNREGISTER_NAPI;
    "6.12": IORING_REGISTER_CLOCK IORING_REGISTER_CLONE_BUFFERS;
    "6.13": IORING_REGISTER_SEND_MSG_RING;
    "6.15": IORING_REGISTER_ZCRX_IFQ;
    "6.13": IORING_REGISTER_RESIZE_RINGS IORING_REGISTER_MEM_REGION;
    "6.18": IORING_REGISTER_QUERY;
    "6.19": IORING_REGISTER_ZCRX_CTRL;
    "7.0": IORING_REGISTER_BPF_FILTER;
};

/// Returns the kernel's name of a register operation, such as `IORING_REGISTER_BUFFERS`, and the Linux
/// release that introduced it. Returns `None` if the number is newer than this crate.
///
/// ```
/// use rustix_uring::sys::{self, io_uring_register_op::*};
///
/// let sync_cancel = sys::register_op(IORING_REGISTER_SYNC_CANCEL as u32);
/// assert_eq!(sync_cancel, Some(("IORING_REGISTER_SYNC_CANCEL", "6.0")));
/// assert_eq!(sys::register_op(1000), None);
/// ```
pub fn register_op(op: u32) -> Option<(&'static str, &'static str)> {
    let (name, _, since) = OPS.get(op as usize)?;
    Some((*name, *since))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_are_in_numeric_order() {
        assert!(OPS.iter().map(|(_, number, _)| *number).eq(0..38));
    }

    #[test]
    fn every_operation_has_a_name() {
        assert_eq!(register_op(IORING_REGISTER_BPF_FILTER).unwrap().1, "7.0");
        assert_eq!(register_op(IORING_REGISTER_BPF_FILTER + 1), None);
        assert_eq!(register_op(u32::MAX), None);
    }
}
