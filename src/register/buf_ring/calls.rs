//! Rings of provided buffers.

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
    /// Registers a ring of `entries` provided buffers, a power of two up to 32768, as group
    /// `bgid`, in memory of yours (`IORING_REGISTER_PBUF_RING`). Since Linux 5.19.
    ///
    /// The first [`BufRing::memory_size`] bytes of the memory are set to zero.
    ///
    /// # Errors
    ///
    /// EINVAL if `entries` is not such a number, the memory is not page-aligned or is shorter than
    /// [`BufRing::memory_size`], for flags and options that the kernel does not know, or on older
    /// kernels; EEXIST if there is such a group already; EFAULT if the memory is not mapped. Nothing
    /// is registered then, and the memory is yours again. Its first 16 bytes may have been set to
    /// zero.
    ///
    /// A 32-bit kernel of 6.1 ends in an oops when it takes a buffer, if the ring lies in high memory.
    ///
    /// # Safety
    ///
    /// If it succeeds, the memory is valid for reads and writes, and nobody else's, until one of
    /// these:
    ///
    /// - [`BufRing::unregister`] has returned `Ok`;
    /// - the `BufRing` was dropped, and then [`unregister_buf_ring`](Self::unregister_buf_ring) has
    ///   returned `Ok` for this group;
    /// - the `BufRing` was dropped, and this ring has ended: it was dropped, and all of its
    ///   operations have completed (see [`IoUring`](crate::IoUring), "Dropping it").
    ///
    /// It need not be initialized. If the call fails, this holds for the duration of the call only.
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
        // An old tail must not be published.
        // SAFETY: the caller promises that the memory is ours.
        unsafe { memory.write_bytes(0, size_of::<Buf>()) };
        let addr = memory.as_ptr().expose_provenance() as u64;
        let mut options = options.into();
        options.flags.remove(BufRingFlags::MMAP);
        // SAFETY: the memory is as long as the kernel expects, and the caller promises it.
        unsafe { self.register_pbuf_ring(addr, entries, bgid, options) }?;
        // What is behind the tail the kernel does not look at before it is published, and it knows
        // now that the memory is there.
        // SAFETY: the memory is as long, and the caller promises that it is ours.
        unsafe {
            let others = BufRing::memory_size(entries) - size_of::<Buf>();
            memory.add(size_of::<Buf>()).write_bytes(0, others);
            Ok(BufRing::new(memory, self.registered(entries, bgid, options), None))
        }
    }

    /// Registers a ring of `entries` provided buffers, a power of two up to 32768, as group `bgid`,
    /// in memory that the result owns (`IORING_REGISTER_PBUF_RING`). Since Linux 5.19.
    ///
    /// The memory is anonymous memory of this process, which works on every ring and for every group.
    /// A forked child gets a copy, which the kernel does not read, or none
    /// ([`dontfork`](crate::Builder::dontfork)). The child may drop its `BufRing`, and nothing else.
    ///
    /// ```
    /// use rustix_uring::{BufRingFlags, Errno, IoUring};
    ///
    /// let ring = IoUring::new(8)?;
    /// match ring.submitter().register_buf_ring_owned(8, 0, BufRingFlags::empty()) {
    ///     Err(Errno::INVAL) => {} // an older kernel
    ///     bufs => bufs?.unregister(&ring.submitter())?,
    /// }
    /// # Ok::<(), Errno>(())
    /// ```
    ///
    /// # Errors
    ///
    /// EINVAL if `entries` is not such a number, for flags and options that the kernel does not know,
    /// or on older kernels; EEXIST if there is such a group already; ENOMEM if memory is short, or above
    /// `RLIMIT_MEMLOCK`. Nothing is registered then.
    ///
    /// A 32-bit kernel of 6.1 ends in an oops when it takes a buffer, if the ring lies in high memory.
    /// There, register in memory of yours ([`register_buf_ring`](Self::register_buf_ring)) that does not.
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
        // SAFETY: the memory is nobody else's, and lives as long as the result. The kernel keeps the
        // pages, not the addresses: if the result is dropped first, what it reads is still there.
        let mut bufs = unsafe { self.register_buf_ring(memory, entries, bgid, options) }?;
        bufs.mapping = Some(mapping);
        Ok(bufs)
    }

    /// Registers a ring of `entries` provided buffers in memory of the kernel. Since Linux 6.4.
    ///
    /// [`register_buf_ring_owned`](Self::register_buf_ring_owned) does the same in memory of the
    /// program, on older kernels too. A forked child shares memory of the kernel, unless it was [left
    /// out](crate::Builder::dontfork), and disturbs the parent if it writes there.
    ///
    /// # Errors
    ///
    /// EINVAL if `entries` is not a power of two up to 32768, for groups from 2048 on, whose memory
    /// the kernel has no offset for, for flags and options that the kernel does not know, or on older
    /// kernels; EEXIST if there is such a group already; ENOMEM if memory is short; EBADF if this
    /// ring has no descriptor. Nothing is registered then.
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
        let fd = self.handle.descriptor(SEAL).ok_or(Errno::BADF)?;
        let mut options = options.into();
        options.flags.insert(BufRingFlags::MMAP);
        // SAFETY: the kernel gets no address.
        unsafe { self.register_pbuf_ring(0, entries, bgid, options) }?;
        let offset = u64::from(sys::IORING_OFF_PBUF_RING) | group;
        let memory = Mmap::new(fd, offset, BufRing::memory_size(entries))
            .and_then(|memory| memory.dontfork(self.sq.settings.dontfork));
        match memory {
            // SAFETY: this is the memory of the ring that was just registered. The kernel has set it
            // to zero.
            Ok(memory) => Ok(unsafe {
                let registered = self.registered(entries, bgid, options);
                BufRing::new(memory.start(), registered, Some(memory))
            }),
            Err(errno) => {
                // It was registered for nothing; the errno of the mapping is what counts.
                // SAFETY: nobody has a handle to the group.
                let _ = unsafe { self.unregister_buf_ring(bgid) };
                Err(errno)
            }
        }
    }

    /// Unregisters the ring of provided buffers of a group by its number
    /// (`IORING_UNREGISTER_PBUF_RING`). Since Linux 5.19.
    ///
    /// This is for groups whose [`BufRing`] was dropped. If you still have it, call
    /// [`BufRing::unregister`], which is safe; this is not:
    ///
    /// ```compile_fail,E0133
    /// # let ring = rustix_uring::IoUring::new(8).unwrap();
    /// ring.submitter().unregister_buf_ring(0);
    /// ```
    ///
    /// # Errors
    ///
    /// ENOENT if there is no such group; 6.1 answers EINVAL for groups below 64 once any ring was
    /// registered. EINVAL if the group is not one of a ring, or on kernels without them.
    ///
    /// # Safety
    ///
    /// If this ring has registered a [`BufRing`] as this group, the `BufRing` was dropped.
    pub unsafe fn unregister_buf_ring(&self, bgid: u16) -> io::Result<()> {
        let mut arg = buf_reg(0, 0, bgid, BufRingOptions::default());
        // SAFETY: the kernel reads the struct, in which there are no addresses.
        unsafe { self.register_struct(IORING_UNREGISTER_PBUF_RING, &mut arg, 1) }.map(drop)
    }

    /// What a ring of buffers remembers of its registration.
    fn registered(&self, entries: u16, bgid: u16, options: BufRingOptions) -> Registered {
        Registered { ring: self.sq.id, entries, bgid, flags: options.flags }
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

    /// Returns how far the kernel has come in the ring of provided buffers of a group: how many
    /// buffers it has used up since registration, modulo 2^16 (`IORING_REGISTER_PBUF_STATUS`). Since
    /// Linux 6.8.
    ///
    /// This is for groups whose [`BufRing`] is not at hand; else call [`BufRing::head`].
    ///
    /// # Errors
    ///
    /// ENOENT if there is no such group; EINVAL if the group is not one of a ring, or on older kernels.
    pub fn buf_ring_head(&self, bgid: u16) -> io::Result<u16> {
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
        // SAFETY: nothing is submitted, so that there is nothing to be answered.
        unsafe { <IoUring>::builder().build_mock(4, script) }.unwrap()
    }

    /// A ring whose kernel agrees to everything, and what it was asked.
    fn mock() -> (Mock, Arc<Mutex<Vec<u32>>>) {
        let calls = Arc::new(Mutex::new(Vec::new()));
        let log = calls.clone();
        let script = Script::default().register(move |op, _| {
            log.lock().unwrap().push(op);
            Ok(0)
        });
        (build(script), calls)
    }

    /// Room for eight slots.
    type Room = Box<[MaybeUninit<u64>; 16]>;

    fn register(ring: &Mock, room: &mut Room) -> BufRing {
        let bytes = size_of_val(&**room);
        let memory = NonNull::slice_from_raw_parts(NonNull::from(&mut **room).cast(), bytes);
        // SAFETY: tests keep the memory for as long as the handle, and the kernel is none.
        unsafe { ring.submitter().register_buf_ring(memory, 8, 3, BufRingFlags::empty()) }.unwrap()
    }

    /// A completion of a buffer that was never added, as when groups are mistaken: nothing is read
    /// that nobody has written, nor what was there before. (The former Miri sees.)
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
            // SAFETY: registering has written to all of it.
            assert!(room.iter().all(|word| unsafe { word.assume_init() } == 0));
        }
    }

    /// With another ring's submitter, the kernel is not even asked, and the handle comes back.
    #[test]
    fn another_rings_submitter_is_refused() {
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

    /// A registration that is refused leaves everything behind the first slot as it was.
    #[test]
    fn what_is_refused_is_not_initialized() {
        let script = Script::default().register(|_, _| Err(Errno::EXIST));
        let ring = build(script);
        let mut words = [7_u64; 16];
        let memory = NonNull::slice_from_raw_parts(NonNull::from(&mut words).cast(), 128);
        // SAFETY: it is refused.
        let refused =
            unsafe { ring.submitter().register_buf_ring(memory, 8, 3, BufRingFlags::empty()) };
        assert_eq!(refused.err(), Some(Errno::EXIST));
        assert_eq!((words[0], &words[2..]), (0, &[7; 14][..]));
    }
}
