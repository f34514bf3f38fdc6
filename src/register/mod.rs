//! Register calls (`io_uring_register(2)`), by which the kernel keeps resources for a ring or
//! returns information about it. Each topic has its own file.
//!
//! The signatures follow this table. An argument that the kernel writes is `&mut`. A method is
//! `unsafe` if the kernel keeps using memory after the call, or if it follows addresses whose
//! validity the types do not guarantee.
//!
//! "Ours" means memory that this crate provides; "borrowed" means memory that the caller lends for
//! the call.
//!
//! | operation | file | writes the argument | keeps memory | follows pointers in it | consequence |
//! |---|---|---|---|---|---|
//! | `REGISTER_BUFFERS` | buffers | | the buffers | to pin them | `unsafe` |
//! | `UNREGISTER_BUFFERS` | buffers | | | | |
//! | `REGISTER_FILES` | files | | | | |
//! | `UNREGISTER_FILES` | files | | | | |
//! | `REGISTER_EVENTFD` | eventfd | | | | |
//! | `UNREGISTER_EVENTFD` | eventfd | | | | |
//! | `REGISTER_FILES_UPDATE` | files | | | descriptors, borrowed | |
//! | `REGISTER_EVENTFD_ASYNC` | eventfd | | | | |
//! | `REGISTER_PROBE` | probe | yes | | | `&mut` |
//! | `REGISTER_PERSONALITY` | personality | | | | |
//! | `UNREGISTER_PERSONALITY` | personality | | | | |
//! | `REGISTER_RESTRICTIONS` | restrict | | | | |
//! | `REGISTER_ENABLE_RINGS` | ring | | | | |
//! | `REGISTER_FILES2` | files | | | descriptors and tags, borrowed | |
//! | `REGISTER_FILES_UPDATE2` | files | | | descriptors and tags, borrowed | |
//! | `REGISTER_BUFFERS2` | buffers | | the buffers | to pin them; tags, borrowed | `unsafe`, except in the sparse form |
//! | `REGISTER_BUFFERS_UPDATE` | buffers | | the buffers | to pin them; tags, borrowed | `unsafe` |
//! | `REGISTER_IOWQ_AFF` | workers | | | | |
//! | `UNREGISTER_IOWQ_AFF` | workers | | | | |
//! | `REGISTER_IOWQ_MAX_WORKERS` | workers | yes | | | `&mut` |
//! | `REGISTER_RING_FDS` | (local) | yes | | | a type for rings bound to their task |
//! | `UNREGISTER_RING_FDS` | (local) | | | | |
//! | `REGISTER_PBUF_RING` | buf_ring | the offset to map | the ring | to pin it | `unsafe` with memory of the caller |
//! | `UNREGISTER_PBUF_RING` | buf_ring | | ends what a handle relies on | | `unsafe` by group ID, safe with the handle |
//! | `REGISTER_SYNC_CANCEL` | sync | | | | |
//! | `REGISTER_FILE_ALLOC_RANGE` | files | | | | |
//! | `REGISTER_PBUF_STATUS` | buf_ring | yes, ours | | | |
//! | `REGISTER_NAPI` | net | yes | | | `&mut` |
//! | `UNREGISTER_NAPI` | net | yes | | | `&mut` |
//! | `REGISTER_CLOCK` | ring | | | | |
//! | `REGISTER_CLONE_BUFFERS` | buffers | | the buffers promised to the other ring; pushing operations promises them again | | takes a ring as the source |
//! | `REGISTER_SEND_MSG_RING` | sync | | | none, because a message has no pointers | |
//! | `REGISTER_ZCRX_IFQ` | (zcrx) | yes, ours | the area, and the refill ring's pages, ours | to pin them, and writes to the area | `unsafe`, except for a queue that another ring has registered |
//! | `REGISTER_RESIZE_RINGS` | (resize) | yes, ours | memory of the caller | to pin it | `&mut` ring; `unsafe` with memory of the caller |
//! | `REGISTER_MEM_REGION` | region, wait_region | | the region's pages | masks, during a wait | `unsafe` with memory of the caller |
//! | `REGISTER_QUERY` | probe | yes, ours | | answers, ours | |
//! | `REGISTER_ZCRX_CTRL` | (zcrx) | yes, ours | another area | to pin it, and writes to it | `unsafe` to add an area |
//! | `REGISTER_BPF_FILTER` | restrict | the size, ours | | the program, borrowed | |

pub(crate) mod buf_ring;
mod buffers;
mod eventfd;
mod files;
mod net;
mod personality;
mod probe;
mod query;
mod region;
mod restrict;
mod ring;
mod sync;
#[cfg(feature = "raw-syscall")]
mod wait_region;
mod workers;
pub mod zcrx;

pub use buf_ring::{
    BufRing, BufRingFlags, BufRingOptions, BufSegment, BufSegments, BufTracker, UnregisterError,
};
pub use probe::Probe;
pub use query::{Query, QueryOpcodes, QueryScq, QueryZcrx, QueryZcrxEvent};
pub use region::MemRegion;
pub use restrict::{BpfFilter, BpfFilterFlags, Restriction, SockFilter};
#[cfg(feature = "raw-syscall")]
pub use restrict::{filter_task, restrict_task};
#[cfg(feature = "raw-syscall")]
pub use sync::send_msg_ring;
#[cfg(feature = "raw-syscall")]
pub use wait_region::WaitRegion;

use core::ffi::c_void;
use core::ptr;

use rustix::io::{self, Errno};

use crate::handle::Handle;
use crate::handle::sealed::SEAL;
use crate::submit::Submitter;
use crate::sys::io_uring_register_op::{self, IORING_REGISTER_USE_REGISTERED_RING};
use crate::sys::{io_uring_rsrc_register, io_uring_rsrc_update2};

/// # Any operation
impl<H: Handle> Submitter<'_, H> {
    /// Makes a register call (`io_uring_register(2)`) with any operation number, including one that
    /// is newer than this crate.
    ///
    /// `op` is an `IORING_REGISTER_*` number. It determines the meaning of `arg`, of `nr_args` and
    /// of the result. This method passes the ring by its descriptor or, if it has none, by its
    /// registered index. In that case it sets the bit `IORING_REGISTER_USE_REGISTERED_RING` itself.
    ///
    /// ```
    /// use rustix_uring::{Errno, IoUring, sys::io_uring_register_op::*};
    ///
    /// let ring = IoUring::new(2)?;
    /// let mut workers = [0_u32; 2];
    /// // SAFETY: the kernel reads and writes two numbers, and keeps no address.
    /// let result = unsafe {
    ///     let op = IORING_REGISTER_IOWQ_MAX_WORKERS as u32;
    ///     ring.submitter().register(op, workers.as_mut_ptr().cast(), 2)
    /// };
    /// assert!(matches!(result, Ok(0) | Err(Errno::INVAL)), "{result:?}"); // since Linux 5.15
    /// # Ok::<(), Errno>(())
    /// ```
    ///
    /// # Errors
    ///
    /// The errors of the kernel, unchanged; EINVAL if `op` contains
    /// `IORING_REGISTER_USE_REGISTERED_RING`; ENOTRECOVERABLE if the ring is
    /// [lost](crate::IoUring::resize).
    ///
    /// # Safety
    ///
    /// The call must not break anything that safe code relies on:
    ///
    /// - **The argument.** Everything that the kernel reads or writes through `arg`, and through
    ///   addresses in it, is valid for that access during the call. (If the kernel writes to `arg`,
    ///   the pointer was cast from a `*mut`.) Memory that the kernel keeps, such as buffers, buffer
    ///   rings, regions and areas, stays valid and is used for nothing else for as long as the
    ///   kernel keeps it.
    /// - **Descriptors.** Every descriptor number in the argument is open, and refers to the file
    ///   that you mean.
    /// - **Handles.** The call neither ends nor changes what a handle represents: the group of a
    ///   [`BufRing`](crate::BufRing), the region of a `WaitRegion`, the queue of an
    ///   [`Ifq`](crate::zcrx::Ifq), the registered index of a [`Local`](crate::Local) ring.
    /// - **The queues.** They keep their addresses and their layout. To resize them, call
    ///   [`IoUring::resize`](crate::IoUring::resize).
    #[inline]
    pub unsafe fn register(&self, op: u32, arg: *const c_void, nr_args: u32) -> io::Result<u32> {
        self.check()?;
        if op & USE_REGISTERED_RING != 0 {
            return Err(Errno::INVAL);
        }
        // SAFETY: the caller vouches for the argument, and for what the call does to the ring.
        unsafe { self.handle.register(SEAL, op, arg, nr_args) }
    }
}

/// The bit that says that the ring is passed by its registered index. Only the handle may set it,
/// because only the handle knows which of the two it passes.
const USE_REGISTERED_RING: u32 = IORING_REGISTER_USE_REGISTERED_RING as u32;

/// The three forms of a register call.
impl<H: Handle> Submitter<'_, H> {
    /// Makes a register call without an argument.
    fn register_nothing(&self, op: io_uring_register_op) -> io::Result<u32> {
        // SAFETY: the kernel gets no address.
        unsafe { self.register(op as u32, ptr::null(), 0) }
    }

    /// Makes a register call with one struct. The meaning of `nr_args` depends on the operation.
    ///
    /// # Safety
    ///
    /// The kernel expects a `T`. Memory at the addresses in it stays valid for as long as the
    /// kernel keeps it.
    pub(crate) unsafe fn register_struct<T>(
        &self,
        op: io_uring_register_op,
        arg: &mut T,
        nr_args: u32,
    ) -> io::Result<u32> {
        // SAFETY: the struct is borrowed mutably for the call; the caller vouches for its contents.
        unsafe { self.register(op as u32, (&raw mut *arg).cast(), nr_args) }
    }

    /// Makes a register call with a slice, which the kernel reads.
    ///
    /// # Safety
    ///
    /// The kernel expects an array of `T`. Memory at the addresses in it stays valid for as long as
    /// the kernel keeps it.
    unsafe fn register_slice<T>(&self, op: io_uring_register_op, args: &[T]) -> io::Result<u32> {
        let nr_args = length(args)?;
        // SAFETY: the slice is valid for the call; the caller vouches for its contents.
        unsafe { self.register(op as u32, args.as_ptr().cast(), nr_args) }
    }

    /// Registers files or buffers, either all with tags or all without.
    ///
    /// # Safety
    ///
    /// The kernel expects a `T` for each resource. Memory at the addresses in it stays valid for as
    /// long as the kernel keeps it.
    unsafe fn register_tagged<T>(
        &self,
        op: io_uring_register_op,
        resources: &[T],
        tags: &[u64],
    ) -> io::Result<()> {
        let tags = tags_address(resources, tags)?;
        let size = size_of::<io_uring_rsrc_register>() as u32;
        let mut arg = io_uring_rsrc_register {
            nr: length(resources)?,
            flags: 0,
            resv2: 0,
            data: address(resources),
            tags,
        };
        // SAFETY: both slices are valid for the call; the caller vouches for their contents.
        unsafe { self.register_struct(op, &mut arg, size) }.map(drop)
    }

    /// Registers `nr` empty slots.
    fn register_sparse(&self, op: io_uring_register_op, nr: u32) -> io::Result<()> {
        let size = size_of::<io_uring_rsrc_register>() as u32;
        let mut arg = io_uring_rsrc_register {
            nr,
            flags: crate::sys::IORING_RSRC_REGISTER_SPARSE,
            resv2: 0,
            data: 0,
            tags: 0,
        };
        // SAFETY: the kernel reads the struct, which contains no addresses.
        unsafe { self.register_struct(op, &mut arg, size) }.map(drop)
    }

    /// Replaces the files or buffers in the slots from `offset` on, and returns how many it
    /// replaced.
    ///
    /// # Safety
    ///
    /// Same as [`register_tagged`](Self::register_tagged).
    unsafe fn update_tagged<T>(
        &self,
        op: io_uring_register_op,
        offset: u32,
        resources: &[T],
        tags: &[u64],
    ) -> io::Result<usize> {
        let tags = tags_address(resources, tags)?;
        let size = size_of::<io_uring_rsrc_update2>() as u32;
        let mut arg = io_uring_rsrc_update2 {
            offset,
            resv: 0,
            data: address(resources),
            tags,
            nr: length(resources)?,
            resv2: 0,
        };
        // SAFETY: both slices are valid for the call; the caller vouches for their contents.
        let updated = unsafe { self.register_struct(op, &mut arg, size) }?;
        Ok(updated as usize)
    }
}

/// Returns the address of the tags, which must be as many as the resources. Without tags, it is
/// null, which the kernel treats as all zeros.
fn tags_address<T>(resources: &[T], tags: &[u64]) -> io::Result<u64> {
    match tags.len() {
        0 => Ok(0),
        len if len == resources.len() => Ok(address(tags)),
        _ => Err(Errno::INVAL),
    }
}

/// Returns the length of a slice as the kernel's 32-bit count.
fn length<T>(slice: &[T]) -> io::Result<u32> {
    u32::try_from(slice.len()).map_err(|_| Errno::INVAL)
}

/// Returns the address of a slice as a word for a struct that the kernel reads.
fn address<T>(slice: &[T]) -> u64 {
    slice.as_ptr().expose_provenance() as u64
}

#[cfg(all(test, target_pointer_width = "64"))]
mod tests {
    use super::*;

    /// All lists that are registered use this function.
    #[test]
    fn lengths_are_not_truncated() {
        // Zero-sized elements need no memory.
        assert_eq!(length(&[(); u32::MAX as usize]), Ok(u32::MAX));
        assert_eq!(length(&[(); u32::MAX as usize + 1]), Err(Errno::INVAL));
    }
}
