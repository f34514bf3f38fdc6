//! Rings of provided buffers.

use core::ptr::NonNull;

use rustix::io::{self, Errno};

use crate::buf_ring::{Buf, BufRing, BufRingFlags, BufRingOptions};
use crate::local::Handle;
use crate::mmap::Mmap;
use crate::submit::Submitter;
use crate::sys::{self, io_uring_register_op::*};

/// # Provided buffers
impl<H: Handle> Submitter<'_, H> {
    /// Registers a ring of `entries` provided buffers, a power of two up to 32768, as group
    /// `bgid`, in memory of the caller's (`IORING_REGISTER_PBUF_RING`). Since Linux 5.19.
    ///
    /// # Errors
    ///
    /// EINVAL if `entries` is none that it may be, the memory does not begin a page or is shorter
    /// than [`BufRing::memory_size`], for flags and options that the kernel does not know, or on older
    /// kernels; EEXIST if there is such a group already;
    /// EFAULT if the memory is not there.
    ///
    /// A 32-bit kernel of 6.1 ends in an oops when it takes a buffer, if the ring lies in high memory.
    ///
    /// # Safety
    ///
    /// The memory is valid, and nobody else's, until the ring is unregistered.
    pub unsafe fn register_buf_ring(
        &self,
        memory: NonNull<[u8]>,
        entries: u16,
        bgid: u16,
        options: impl Into<BufRingOptions>,
    ) -> io::Result<BufRing> {
        if memory.len() < BufRing::memory_size(entries) || entries == 0 {
            return Err(Errno::INVAL);
        }
        let memory = memory.cast::<u8>();
        // SAFETY: the caller promises that the memory is ours. An old tail must not be published.
        unsafe { memory.write_bytes(0, size_of::<Buf>()) };
        let addr = memory.as_ptr().expose_provenance() as u64;
        let mut options = options.into();
        options.flags.remove(BufRingFlags::MMAP);
        // SAFETY: the memory is as long as the kernel expects, and the caller promises it.
        unsafe {
            self.register_pbuf_ring(addr, entries, bgid, options)?;
            Ok(BufRing::new(memory, entries, bgid, None))
        }
    }

    /// Registers a ring of `entries` provided buffers in memory of the kernel's. Since Linux 6.4.
    ///
    /// # Errors
    ///
    /// EINVAL if `entries` is no power of two up to 32768, for groups from 2048 on, whose memory the
    /// kernel has no offset for, for flags and options that the kernel does not know, or on older
    /// kernels; EEXIST if there is such a group already; ENOMEM if memory is short; EBADF if this ring has no descriptor.
    pub fn register_buf_ring_mmap(
        &self,
        entries: u16,
        bgid: u16,
        options: impl Into<BufRingOptions>,
    ) -> io::Result<BufRing> {
        let group = u64::from(bgid) << sys::IORING_OFF_PBUF_SHIFT;
        // The mask's bits say what is mapped. With a group's number there, another group's memory
        // would be.
        if !entries.is_power_of_two() || group & u64::from(sys::IORING_OFF_MMAP_MASK) != 0 {
            return Err(Errno::INVAL);
        }
        let fd = self.handle.descriptor().ok_or(Errno::BADF)?;
        let mut options = options.into();
        options.flags.insert(BufRingFlags::MMAP);
        // SAFETY: the kernel gets no address.
        unsafe { self.register_pbuf_ring(0, entries, bgid, options) }?;
        let offset = u64::from(sys::IORING_OFF_PBUF_RING) | group;
        let memory = Mmap::new(fd, offset, BufRing::memory_size(entries))
            .and_then(|memory| memory.dontfork(self.sq.settings.dontfork));
        match memory {
            // SAFETY: this is the memory of the ring that was just registered.
            Ok(memory) => Ok(unsafe { BufRing::new(memory.start(), entries, bgid, Some(memory)) }),
            Err(errno) => {
                // It was registered for nothing; the errno of the mapping is what counts.
                let _ = self.unregister_buf_ring(bgid);
                Err(errno)
            }
        }
    }

    /// Unregisters the ring of provided buffers of a group (`IORING_UNREGISTER_PBUF_RING`), as
    /// [`BufRing::unregister`] does. Since Linux 5.19.
    ///
    /// # Errors
    ///
    /// ENOENT if there is no such group; 6.1 answers EINVAL for groups below 64 once any ring was
    /// registered. EINVAL if the group is not one of a ring, or on kernels without them.
    pub fn unregister_buf_ring(&self, bgid: u16) -> io::Result<()> {
        let mut arg = buf_reg(0, 0, bgid, BufRingOptions::default());
        // SAFETY: the kernel reads the struct, in which there are no addresses.
        unsafe { self.register_struct(IORING_UNREGISTER_PBUF_RING, &mut arg, 1) }.map(drop)
    }

    /// # Safety
    ///
    /// As for [`register_buf_ring`](Self::register_buf_ring), unless there is no address.
    unsafe fn register_pbuf_ring(
        &self,
        addr: u64,
        entries: u16,
        bgid: u16,
        options: BufRingOptions,
    ) -> io::Result<()> {
        let mut arg = buf_reg(addr, entries, bgid, options);
        // SAFETY: the kernel reads the struct; the caller promises the memory.
        unsafe { self.register_struct(IORING_REGISTER_PBUF_RING, &mut arg, 1) }.map(drop)
    }

    /// How far the kernel has come in a ring of provided buffers.
    pub(crate) fn buf_ring_head(&self, bgid: u16) -> io::Result<u16> {
        let mut arg =
            sys::io_uring_buf_status { buf_group: u32::from(bgid), head: 0, resv: [0; 8] };
        // SAFETY: the kernel writes into the struct, in which there are no addresses.
        unsafe { self.register_struct(IORING_REGISTER_PBUF_STATUS, &mut arg, 1) }?;
        Ok(arg.head as u16)
    }
}

fn buf_reg(addr: u64, entries: u16, bgid: u16, options: BufRingOptions) -> sys::io_uring_buf_reg {
    sys::io_uring_buf_reg {
        ring_addr: addr,
        ring_entries: u32::from(entries),
        bgid,
        flags: options.flags.bits(),
        min_left: options.min_left,
        resv: [0; 5],
    }
}
