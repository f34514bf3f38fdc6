//! The register calls for rings of provided buffers.

use core::ptr::NonNull;

use rustix::io::{self, Errno};

use super::{Buf, BufRing, BufRingFlags, BufRingOptions, Registered};
use crate::handle::Handle;
use crate::handle::sealed::SEAL;
use crate::memory::mmap::Mmap;
use crate::submit::Submitter;
use crate::sys::{self, io_uring_register_op::*};

/// # Provided buffers
impl<H: Handle> Submitter<'_, H> {
    /// Registers a ring of provided buffers in your memory, as group `bgid`
    /// (`IORING_REGISTER_PBUF_RING`). Since Linux 5.19.
    ///
    /// `entries` is a power of two up to 32768. This method sets the first [`BufRing::memory_size`]
    /// bytes of the memory to zero.
    ///
    /// # Errors
    ///
    /// EINVAL if `entries` is not a power of two or exceeds 32768, if the memory is not
    /// page-aligned or is shorter than [`BufRing::memory_size`], for flags and options that the
    /// kernel does not know, or on older kernels; EEXIST if the group exists already; EFAULT if the
    /// memory is not mapped. After an error, nothing is registered and the memory is yours again.
    /// Its first 16 bytes may have been set to zero.
    ///
    /// A 32-bit kernel of version 6.1 crashes (with an oops) when it takes a buffer from a ring in
    /// high memory.
    ///
    /// # Safety
    ///
    /// If the call succeeds, the memory is valid for reads and writes, and nothing else uses it,
    /// until one of the following:
    ///
    /// - [`BufRing::unregister`] has returned `Ok`;
    /// - the `BufRing` was dropped, and then [`unregister_buf_ring`](Self::unregister_buf_ring) has
    ///   returned `Ok` for this group;
    /// - the `BufRing` was dropped, and this ring has ended: it was dropped, and all of its
    ///   operations have completed (see [`IoUring`](crate::IoUring#dropping)).
    ///
    /// The memory need not be initialized. If the call fails, this holds only for the duration of
    /// the call.
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
        // The kernel must not see an old tail.
        // SAFETY: the caller promises that nothing else uses the memory.
        unsafe { memory.write_bytes(0, size_of::<Buf>()) };
        let addr = memory.as_ptr().expose_provenance() as u64;
        let mut options = options.into();
        options.flags.remove(BufRingFlags::MMAP);
        // SAFETY: the memory has the length that the kernel expects, and the caller vouches for it.
        unsafe { self.register_pbuf_ring(addr, entries, bgid, options) }?;
        // The kernel does not read slots beyond the tail before they are published, so they can be
        // set to zero now. The kernel has checked that the memory is mapped.
        // SAFETY: the memory has this length, and the caller promises that nothing else uses it.
        unsafe {
            let others = BufRing::memory_size(entries) - size_of::<Buf>();
            memory.add(size_of::<Buf>()).write_bytes(0, others);
            Ok(BufRing::new(memory, self.registered(entries, bgid, options), None))
        }
    }

    /// Registers a ring of provided buffers in memory that the result owns, as group `bgid`
    /// (`IORING_REGISTER_PBUF_RING`). Since Linux 5.19.
    ///
    /// `entries` is a power of two up to 32768.
    ///
    /// The memory is anonymous memory of this process. A forked child gets a copy that the kernel
    /// does not read, or no copy with [`dontfork`](crate::Builder::dontfork). The child may only
    /// drop its `BufRing`.
    ///
    /// ```
    /// use rustix_uring::{BufRingFlags, Errno, IoUring};
    ///
    /// let ring = IoUring::new(8)?;
    /// match ring.submitter().register_buf_ring_owned(8, 0, BufRingFlags::empty()) {
    ///     Err(Errno::INVAL) => {} // before Linux 5.19
    ///     bufs => bufs?.unregister(&ring.submitter())?,
    /// }
    /// # Ok::<(), Errno>(())
    /// ```
    ///
    /// # Errors
    ///
    /// EINVAL if `entries` is not a power of two or exceeds 32768, for flags and options that the
    /// kernel does not know, or on older kernels; EEXIST if the group exists already; ENOMEM if
    /// memory is short, or above `RLIMIT_MEMLOCK`. After an error, nothing is registered.
    ///
    /// A 32-bit kernel of version 6.1 crashes (with an oops) when it takes a buffer from a ring in
    /// high memory. There, use [`register_buf_ring`](Self::register_buf_ring) with memory of your
    /// own that is in low memory.
    pub fn register_buf_ring_owned(
        &self,
        entries: u16,
        bgid: u16,
        options: impl Into<BufRingOptions>,
    ) -> io::Result<BufRing> {
        if !entries.is_power_of_two() {
            return Err(Errno::INVAL);
        }
        let mapping =
            Mmap::anonymous(BufRing::memory_size(entries))?.dontfork(self.sq.settings.dontfork)?;
        let memory = NonNull::slice_from_raw_parts(mapping.start(), mapping.len());
        // SAFETY: the mapping is new and not shared, and the result owns it. The kernel keeps the
        // pages, not the addresses. So it can still read them if the result is dropped first.
        let mut bufs = unsafe { self.register_buf_ring(memory, entries, bgid, options) }?;
        bufs.mapping = Some(mapping);
        Ok(bufs)
    }

    /// Registers a ring of provided buffers in memory of the kernel, as group `bgid`. Since Linux
    /// 6.4.
    ///
    /// [`register_buf_ring_owned`](Self::register_buf_ring_owned) does the same in memory of the
    /// process, also on older kernels. A forked child shares the memory of the kernel, unless you
    /// [exclude it](crate::Builder::dontfork). If the child writes to it, it disturbs the parent.
    ///
    /// # Errors
    ///
    /// EINVAL if `entries` is not a power of two up to 32768, for group IDs from 2048 on (the
    /// kernel has no mmap offset for them), for flags and options that the kernel does not know, or
    /// on older kernels; EEXIST if the group exists already; ENOMEM if memory is short; EBADF if
    /// this ring has no descriptor. After an error, nothing is registered.
    pub fn register_buf_ring_mmap(
        &self,
        entries: u16,
        bgid: u16,
        options: impl Into<BufRingOptions>,
    ) -> io::Result<BufRing> {
        let group = u64::from(bgid) << sys::IORING_OFF_PBUF_SHIFT;
        // The bits of the mask select what to map. If the group ID reached into them, the call
        // would map something else.
        if !entries.is_power_of_two() || group & u64::from(sys::IORING_OFF_MMAP_MASK) != 0 {
            return Err(Errno::INVAL);
        }
        let fd = self.handle.descriptor(SEAL).ok_or(Errno::BADF)?;
        let mut options = options.into();
        options.flags.insert(BufRingFlags::MMAP);
        // SAFETY: the kernel gets no address.
        unsafe { self.register_pbuf_ring(0, entries, bgid, options) }?;
        let offset = u64::from(sys::IORING_OFF_PBUF_RING) | group;
        let memory = Mmap::new(fd, offset, BufRing::memory_size(entries))
            .and_then(|memory| memory.dontfork(self.sq.settings.dontfork));
        match memory {
            // SAFETY: this is the memory of the ring that was just registered. The kernel has
            // zeroed it.
            Ok(memory) => Ok(unsafe {
                let registered = self.registered(entries, bgid, options);
                BufRing::new(memory.start(), registered, Some(memory))
            }),
            Err(errno) => {
                // Without a mapping, the group is useless. Only the errno of the mapping matters.
                // SAFETY: no handle to the group exists.
                let _ = unsafe { self.unregister_buf_ring(bgid) };
                Err(errno)
            }
        }
    }

    /// Unregisters the ring of provided buffers of a group, by the group ID
    /// (`IORING_UNREGISTER_PBUF_RING`). Since Linux 5.19.
    ///
    /// Use this for groups whose [`BufRing`] was dropped. If you still have the `BufRing`, call
    /// [`BufRing::unregister`], which is safe. This method is not:
    ///
    /// ```compile_fail,E0133
    /// # let ring = rustix_uring::IoUring::new(8).unwrap();
    /// ring.submitter().unregister_buf_ring(0);
    /// ```
    ///
    /// # Errors
    ///
    /// ENOENT if there is no such group. Linux 6.1 returns EINVAL instead for group IDs below 64
    /// once any ring was registered. EINVAL if the group does not use a ring, or on kernels without
    /// such rings.
    ///
    /// # Safety
    ///
    /// If this ring has registered a [`BufRing`] as this group, that `BufRing` was dropped.
    pub unsafe fn unregister_buf_ring(&self, bgid: u16) -> io::Result<()> {
        let mut arg = buf_reg(0, 0, bgid, BufRingOptions::default());
        // SAFETY: the kernel reads the struct, which contains no addresses.
        unsafe { self.register_struct(IORING_UNREGISTER_PBUF_RING, &mut arg, 1) }.map(drop)
    }

    /// Returns the parameters of a registration for the handle.
    fn registered(&self, entries: u16, bgid: u16, options: BufRingOptions) -> Registered {
        Registered { ring: self.sq.id, entries, bgid, flags: options.flags }
    }

    /// Makes the register call.
    ///
    /// # Safety
    ///
    /// Same as [`register_buf_ring`](Self::register_buf_ring), unless `addr` is 0.
    unsafe fn register_pbuf_ring(
        &self,
        addr: u64,
        entries: u16,
        bgid: u16,
        options: BufRingOptions,
    ) -> io::Result<()> {
        let mut arg = buf_reg(addr, entries, bgid, options);
        // SAFETY: the kernel reads the struct; the caller vouches for the memory.
        unsafe { self.register_struct(IORING_REGISTER_PBUF_RING, &mut arg, 1) }.map(drop)
    }

    /// Returns the head of a group's ring: the number of buffers that the kernel has consumed since
    /// registration, modulo 2^16 (`IORING_REGISTER_PBUF_STATUS`). Since Linux 6.8.
    ///
    /// If you have the [`BufRing`], call [`BufRing::head`] instead.
    ///
    /// # Errors
    ///
    /// ENOENT if there is no such group; EINVAL if the group does not use a ring, or on older
    /// kernels.
    pub fn buf_ring_head(&self, bgid: u16) -> io::Result<u16> {
        let mut arg =
            sys::io_uring_buf_status { buf_group: u32::from(bgid), head: 0, resv: [0; 8] };
        // SAFETY: the kernel writes to the struct, which contains no addresses.
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

#[cfg(all(test, not(rustix_uring_loom)))]
mod tests {
    use super::*;
    use crate::mock::{Kernel, Script};
    use crate::{BufTracker, IoUring, cqueue, squeue};
    use core::mem::MaybeUninit;
    use std::boxed::Box;
    use std::sync::{Arc, Mutex};
    use std::vec::Vec;

    type Mock = IoUring<squeue::Entry, cqueue::Entry, Kernel>;

    fn build(script: Script) -> Mock {
        // SAFETY: nothing is submitted, so the script never answers an entry.
        unsafe { <IoUring>::builder().build_mock(4, script) }.unwrap()
    }

    /// Returns a ring whose mock kernel accepts every register call, and the log of these calls.
    fn mock() -> (Mock, Arc<Mutex<Vec<u32>>>) {
        let calls = Arc::new(Mutex::new(Vec::new()));
        let log = calls.clone();
        let script = Script::default().register(move |op, _| {
            log.lock().unwrap().push(op);
            Ok(0)
        });
        (build(script), calls)
    }

    /// Memory for eight slots.
    type Room = Box<[MaybeUninit<u64>; 16]>;

    fn register(ring: &Mock, room: &mut Room) -> BufRing {
        let bytes = size_of_val(&**room);
        let memory = NonNull::slice_from_raw_parts(NonNull::from(&mut **room).cast(), bytes);
        // SAFETY: tests keep the memory for as long as the handle, and the mock kernel never uses
        // it.
        unsafe { ring.submitter().register_buf_ring(memory, 8, 3, BufRingFlags::empty()) }.unwrap()
    }

    /// If the program confuses two groups, a completion can name a buffer that was never added. Even
    /// then, no code reads an uninitialized slot (Miri checks this) or its old contents.
    #[test]
    fn all_slots_are_initialized() {
        for before in [MaybeUninit::uninit(), MaybeUninit::new(5 << 16 | 5 << 32)] {
            let (ring, _) = mock();
            let mut room: Room = Box::new([before; 16]);
            let bufs = register(&ring, &mut room);
            let flags = 5 << sys::IORING_CQE_BUFFER_SHIFT | sys::IORING_CQE_F_BUFFER;
            let cqe = cqueue::Entry { user_data: 0, res: 100, flags };
            let mut tracker = BufTracker::new();
            assert_eq!(tracker.segments(&bufs, &cqe, |_| 10).iter(&bufs).count(), 1);
            assert_eq!(tracker.bundle_segments(&bufs, &cqe, |_| 10).iter(&bufs).count(), 1);
            assert_eq!(tracker.taken_segments(&bufs, &cqe, |_| 10, 0).iter(&bufs).count(), 1);
            drop(bufs);
            // SAFETY: the registration has written to all of it.
            assert!(room.iter().all(|word| unsafe { word.assume_init() } == 0));
        }
    }

    /// With the submitter of another ring, there is no register call, and the error returns the
    /// handle.
    #[test]
    fn the_submitter_of_another_ring_is_rejected() {
        let ((ring, calls), (other, other_calls)) = (mock(), mock());
        let mut room: Room = Box::new([MaybeUninit::uninit(); 16]);
        let bufs = register(&ring, &mut room);
        assert_eq!(bufs.available(&other.submitter()), Err(Errno::INVAL));
        let error = bufs.unregister(&other.submitter()).unwrap_err();
        assert_eq!(error.errno(), Errno::INVAL);
        assert_eq!(*other_calls.lock().unwrap(), []);
        error.into_buf_ring().unregister(&ring.submitter()).unwrap();
        let expected = [IORING_REGISTER_PBUF_RING, IORING_UNREGISTER_PBUF_RING];
        assert_eq!(*calls.lock().unwrap(), expected.map(|op| op as u32));
    }

    /// A registration that fails changes nothing behind the first slot.
    #[test]
    fn a_failed_registration_does_not_initialize_the_memory() {
        let script = Script::default().register(|_, _| Err(Errno::EXIST));
        let ring = build(script);
        let mut words = [7_u64; 16];
        let memory = NonNull::slice_from_raw_parts(NonNull::from(&mut words).cast(), 128);
        // SAFETY: the registration fails, so the memory is only used during the call.
        let refused =
            unsafe { ring.submitter().register_buf_ring(memory, 8, 3, BufRingFlags::empty()) };
        assert_eq!(refused.err(), Some(Errno::EXIST));
        assert_eq!((words[0], &words[2..]), (0, &[7; 14][..]));
    }
}
