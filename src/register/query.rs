//! Queries: what the kernel reports about its own capabilities.

use core::fmt;

use rustix::io;

use crate::handle::Handle;
use crate::params::{EnterFlags, Features, SetupFlags};
use crate::sqe::Flags;
use crate::submit::Submitter;
use crate::sys::{
    self, io_uring_query_hdr, io_uring_query_opcode, io_uring_query_scq, io_uring_query_zcrx,
    io_uring_query_zcrx_event,
};

/// The capabilities of the kernel, as [`register_query`](crate::Submitter::register_query) reports
/// them. Since Linux 6.18.
///
/// There are four answers, some of which need a newer kernel. An answer is `None` if the kernel
/// does not know the question. Numbers and flags that have no name in this crate are kept.
///
/// ```
/// use rustix_uring::{IoUring, Query, SetupFlags};
///
/// let ring = IoUring::new(2)?;
/// match ring.submitter().register_query() {
///     Ok(query) => {
///         let defers = query.opcodes().map(|it| it.setup_flags().contains(SetupFlags::DEFER_TASKRUN));
///         assert_eq!(defers, Some(true));
///     }
///     Err(rustix_uring::Errno::INVAL) => {} // before Linux 6.18: use a probe, or try the operation
///     Err(errno) => return Err(errno),
/// }
/// # Ok::<(), rustix_uring::Errno>(())
/// ```
#[derive(Clone, Copy, Default)]
pub struct Query {
    pub(crate) opcodes: Answer<io_uring_query_opcode>,
    pub(crate) zcrx: Answer<io_uring_query_zcrx>,
    pub(crate) scq: Answer<io_uring_query_scq>,
    pub(crate) zcrx_event: Answer<io_uring_query_zcrx_event>,
}

/// An answer of the kernel, if it knew the question.
#[derive(Clone, Copy, Default)]
pub(crate) struct Answer<T> {
    pub(crate) known: bool,
    pub(crate) value: T,
}

impl<T> Answer<T> {
    fn get(&self) -> Option<&T> {
        self.known.then_some(&self.value)
    }
}

/// The operations and flags that the kernel supports: `struct io_uring_query_opcode`. Since Linux
/// 6.18.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub struct QueryOpcodes(io_uring_query_opcode);

/// The capabilities of zero-copy receive: `struct io_uring_query_zcrx`. Since Linux 6.19.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub struct QueryZcrx(io_uring_query_zcrx);

/// The layout of the header in the memory of the rings: `struct io_uring_query_scq`. Since Linux
/// 6.19.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub struct QueryScq(io_uring_query_scq);

/// The events that zero-copy receive can report: `struct io_uring_query_zcrx_event`. Since Linux
/// 7.2.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub struct QueryZcrxEvent(io_uring_query_zcrx_event);

impl Query {
    /// Returns the operations and flags that the kernel supports (`IO_URING_QUERY_OPCODES`). Since
    /// Linux 6.18.
    pub fn opcodes(&self) -> Option<QueryOpcodes> {
        self.opcodes.get().copied().map(QueryOpcodes)
    }

    /// Returns the capabilities of zero-copy receive (`IO_URING_QUERY_ZCRX`). Since Linux 6.19.
    pub fn zcrx(&self) -> Option<QueryZcrx> {
        self.zcrx.get().copied().map(QueryZcrx)
    }

    /// Returns the layout of the header in the memory of the rings (`IO_URING_QUERY_SCQ`). Since
    /// Linux 6.19.
    pub fn scq(&self) -> Option<QueryScq> {
        self.scq.get().copied().map(QueryScq)
    }

    /// Returns the events that zero-copy receive can report (`IO_URING_QUERY_ZCRX_EVENT`). Since
    /// Linux 7.2.
    pub fn zcrx_event(&self) -> Option<QueryZcrxEvent> {
        self.zcrx_event.get().copied().map(QueryZcrxEvent)
    }
}

impl QueryOpcodes {
    /// Returns the number of operations, which is the highest number plus one. The kernel may be
    /// built without some of them; the [`Probe`](crate::Probe) tells which.
    pub const fn opcodes(&self) -> u32 {
        self.0.nr_request_opcodes
    }

    /// Returns the number of register operations, which is the highest number plus one.
    pub const fn register_opcodes(&self) -> u32 {
        self.0.nr_register_opcodes
    }

    /// Returns the number of questions that the kernel knows.
    pub const fn query_opcodes(&self) -> u32 {
        self.0.nr_query_opcodes
    }

    /// Returns the features that every ring has.
    pub const fn features(&self) -> Features {
        Features::from_bits_retain(self.0.feature_flags as u32)
    }

    /// Returns the flags with which a ring can be set up.
    pub const fn setup_flags(&self) -> SetupFlags {
        SetupFlags::from_bits_retain(self.0.ring_setup_flags as u32)
    }

    /// Returns the flags that an enter call can have.
    pub const fn enter_flags(&self) -> EnterFlags {
        EnterFlags::from_bits_retain(self.0.enter_flags as u32)
    }

    /// Returns the flags that an entry can have.
    pub const fn sqe_flags(&self) -> Flags {
        Flags::from_bits_retain(self.0.sqe_flags as u8)
    }
}

impl QueryZcrx {
    /// Returns the flags with which an interface queue can be registered, as bits.
    pub const fn register_flags(&self) -> u64 {
        self.0.register_flags
    }

    /// Returns the flags that an area can have, as bits.
    pub const fn area_flags(&self) -> u64 {
        self.0.area_flags
    }

    /// Returns the number of control operations.
    pub const fn control_opcodes(&self) -> u32 {
        self.0.nr_ctrl_opcodes
    }

    /// Returns the features of zero-copy receive, as bits (`ZCRX_FEATURE_*`).
    pub const fn features(&self) -> u32 {
        self.0.features
    }

    /// Returns the size of the header before the entries of a refill ring, in bytes.
    pub const fn refill_header_size(&self) -> u32 {
        self.0.rq_hdr_size
    }

    /// Returns the alignment of that header in bytes.
    pub const fn refill_header_alignment(&self) -> u32 {
        self.0.rq_hdr_alignment
    }
}

impl QueryScq {
    /// Returns the size of the header before the first completion, in bytes.
    pub const fn header_size(&self) -> u64 {
        self.0.hdr_size
    }

    /// Returns the alignment of that header in bytes.
    pub const fn header_alignment(&self) -> u64 {
        self.0.hdr_alignment
    }
}

impl QueryZcrxEvent {
    /// Returns the bits that [`zcrx_event_desc::flags`](crate::sys::zcrx_event_desc) can have.
    pub const fn event_flags(&self) -> u32 {
        self.0.event_flags
    }

    /// Returns the size of the statistics in bytes.
    pub const fn stats_size(&self) -> u32 {
        self.0.stats_size
    }

    /// Returns the alignment of the statistics in bytes.
    pub const fn stats_alignment(&self) -> u32 {
        self.0.stats_off_alignment
    }
}

impl fmt::Debug for Query {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Query")
            .field("opcodes", &self.opcodes())
            .field("zcrx", &self.zcrx())
            .field("scq", &self.scq())
            .field("zcrx_event", &self.zcrx_event())
            .finish()
    }
}

macro_rules! debug {
    ($($Answer:ident: $($field:ident)*;)*) => { $(
        impl fmt::Debug for $Answer {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($Answer))
                    $(.field(stringify!($field), &self.$field()))*
                    .finish()
            }
        }
    )* };
}
debug! {
    QueryOpcodes: opcodes register_opcodes query_opcodes features setup_flags enter_flags sqe_flags;
    QueryZcrx: register_flags area_flags control_opcodes features refill_header_size
        refill_header_alignment;
    QueryScq: header_size header_alignment;
    QueryZcrxEvent: event_flags stats_size stats_alignment;
}

/// Returns the question with this number. The kernel writes its answer to `value`. `next` is the
/// address of the next question.
pub(crate) fn question<T>(op: u32, value: &mut T, next: u64) -> io_uring_query_hdr {
    io_uring_query_hdr {
        next_entry: next,
        query_data: (&raw mut *value).expose_provenance() as u64,
        query_op: op,
        size: size_of::<T>() as u32,
        result: 0,
        __resv: [0; 3],
    }
}

/// # Capabilities of the kernel
impl<H: Handle> Submitter<'_, H> {
    /// Returns the capabilities of the kernel (`IORING_REGISTER_QUERY`): its operations, flags and
    /// features, and those of zero-copy receive. Since Linux 6.18.
    ///
    /// # Errors
    ///
    /// EINVAL on older kernels.
    pub fn register_query(&self) -> io::Result<Query> {
        // SAFETY: `arg` is what the kernel expects for this operation.
        Query::ask(|arg| unsafe { self.register(sys::IORING_REGISTER_QUERY, arg, 0) })
    }
}

impl Query {
    /// Returns the capabilities of the kernel without a ring, like
    /// [`register_query`](crate::Submitter::register_query). Since Linux 6.18.
    ///
    /// # Errors
    ///
    /// EBADF or EINVAL on older kernels; the errors of setting up a ring if io_uring is absent or
    /// forbidden.
    #[cfg(feature = "raw-syscall")]
    pub fn without_ring() -> io::Result<Self> {
        // SAFETY: `arg` is what the kernel expects for this operation.
        Self::ask(|arg| unsafe {
            crate::sys::call::register_without_ring(sys::IORING_REGISTER_QUERY, arg, 0)
        })
    }

    /// Asks all questions in one call.
    fn ask(call: impl FnOnce(*mut core::ffi::c_void) -> io::Result<u32>) -> io::Result<Self> {
        let mut answers = Self::default();
        let address = |hdr: *mut sys::io_uring_query_hdr| hdr.expose_provenance() as u64;
        let Self { opcodes, zcrx, scq, zcrx_event } = &mut answers;
        // Each question points to the one before it, so the call gets the last one.
        let mut first = question(sys::IO_URING_QUERY_OPCODES, &mut opcodes.value, 0);
        let next = address(&raw mut first);
        let mut second = question(sys::IO_URING_QUERY_ZCRX, &mut zcrx.value, next);
        let next = address(&raw mut second);
        let mut third = question(sys::IO_URING_QUERY_SCQ, &mut scq.value, next);
        let next = address(&raw mut third);
        let mut last = question(sys::IO_URING_QUERY_ZCRX_EVENT, &mut zcrx_event.value, next);
        call((&raw mut last).cast())?;
        opcodes.known = first.result == 0;
        zcrx.known = second.result == 0;
        scq.known = third.result == 0;
        zcrx_event.known = last.result == 0;
        Ok(answers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::format;

    #[test]
    fn all_ones_print() {
        // SAFETY: the values consist of integers, for which every byte is valid. The four bools are
        // set to valid values.
        let ones = |known| unsafe {
            let mut query = Query::default();
            let all = |it: *mut u8, len| it.write_bytes(0xff, len);
            all((&raw mut query.opcodes.value).cast(), size_of::<io_uring_query_opcode>());
            all((&raw mut query.zcrx.value).cast(), size_of::<io_uring_query_zcrx>());
            all((&raw mut query.scq.value).cast(), size_of::<io_uring_query_scq>());
            all((&raw mut query.zcrx_event.value).cast(), size_of::<io_uring_query_zcrx_event>());
            query.opcodes.known = known;
            query.zcrx.known = known;
            query.scq.known = known;
            query.zcrx_event.known = known;
            query
        };
        assert!(format!("{:?}", ones(true)).contains("4294967295"));
        assert!(!format!("{:?}", ones(false)).contains("4294967295"));
        assert_eq!(ones(true).opcodes().unwrap().sqe_flags().bits(), 0xff);
    }
}
