//! Parts of buffers, and buffers that are registered with the kernel.
//!
//! A buffer is any value that provides bytes and borrows nothing: a `Vec<u8>`, a box, an array, a static
//! slice to write from, or a [`Part`] of one of them. It moves into the operation, and comes back with
//! the result.

use std::cell::RefCell;
use std::io;
use std::mem;
use std::ops::{Deref, DerefMut, Range};
use std::rc::Rc;

use rustix_uring::types::iovec;

use crate::ring::Ring;

/// A part of a buffer. You can use it as a buffer.
pub struct Part<B> {
    /// The whole buffer.
    pub whole: B,
    /// The range of bytes that the part covers.
    pub range: Range<usize>,
}

impl<B> Part<B> {
    /// Returns the part of `whole` that `range` covers.
    pub fn new(whole: B, range: Range<usize>) -> Self {
        Self { whole, range }
    }
}

/// # Panics
///
/// If the range exceeds the buffer.
impl<B: AsRef<[u8]>> AsRef<[u8]> for Part<B> {
    fn as_ref(&self) -> &[u8] {
        &self.whole.as_ref()[self.range.clone()]
    }
}

impl<B: AsMut<[u8]>> AsMut<[u8]> for Part<B> {
    fn as_mut(&mut self) -> &mut [u8] {
        &mut self.whole.as_mut()[self.range.clone()]
    }
}

/// Buffers that are registered with the ring of the program. The kernel pins their pages once, instead of
/// looking them up for each operation.
///
/// They stay registered until you have dropped this value and every buffer that you have
/// [taken](Self::take).
pub struct FixedBufs(Rc<Registered>);

struct Registered {
    ring: Ring,
    /// The buffers. A taken one is `None`.
    here: RefCell<Vec<Option<Box<[u8]>>>>,
}

impl FixedBufs {
    /// Registers buffers, none of which may be empty. Requires Linux 5.13.
    ///
    /// # Errors
    ///
    /// EBUSY if the program has already registered buffers, ENOMEM if the buffers exceed `RLIMIT_MEMLOCK`,
    /// EINVAL if there are no buffers or more than 16384, and `Unsupported` on older kernels.
    ///
    /// # Panics
    ///
    /// If called outside of a program that [`start`](crate::start) runs.
    pub fn register(bufs: impl IntoIterator<Item = Vec<u8>>) -> io::Result<Self> {
        let ring = Ring::current();
        let mut bufs: Vec<_> = bufs.into_iter().map(Vec::into_boxed_slice).collect();
        let vector =
            |buf: &mut Box<[u8]>| iovec { iov_base: buf.as_mut_ptr().cast(), iov_len: buf.len() };
        let vectors: Vec<_> = bufs.iter_mut().map(vector).collect();
        // SAFETY: each buffer is owned by `Registered`, or by a `FixedBuf` that keeps the `Registered` alive.
        // `Registered` unregisters the buffers before it drops them. An operation uses a buffer only while it
        // owns it.
        unsafe { ring.register_buffers(&vectors) }?;
        let here = RefCell::new(bufs.into_iter().map(Some).collect());
        Ok(Self(Rc::new(Registered { ring, here })))
    }

    /// Takes the buffer at this index. When you drop it, you can take it again.
    ///
    /// Returns `None` if the buffer is already taken, or if there is no such buffer.
    pub fn take(&self, index: u16) -> Option<FixedBuf> {
        let bytes = self.0.here.borrow_mut().get_mut(usize::from(index))?.take()?;
        Some(FixedBuf { bytes, index, home: self.0.clone() })
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        // No operation in flight uses the buffers. If the kernel failed to unregister them, their pages would
        // stay pinned, but no operation could use them.
        let _ = self.ring.unregister_buffers();
    }
}

/// A registered buffer that you have taken.
pub struct FixedBuf {
    bytes: Box<[u8]>,
    index: u16,
    home: Rc<Registered>,
}

impl Deref for FixedBuf {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

impl DerefMut for FixedBuf {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.bytes
    }
}

impl AsRef<[u8]> for FixedBuf {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl AsMut<[u8]> for FixedBuf {
    fn as_mut(&mut self) -> &mut [u8] {
        &mut self.bytes
    }
}

impl Drop for FixedBuf {
    fn drop(&mut self) {
        self.home.here.borrow_mut()[usize::from(self.index)] = Some(mem::take(&mut self.bytes));
    }
}

/// A [`FixedBuf`], or a [`Part`] of one. No other type implements this.
pub trait Fixed: AsRef<[u8]> + AsMut<[u8]> + Sealed + 'static {}

impl<B: AsRef<[u8]> + AsMut<[u8]> + Sealed + 'static> Fixed for B {}

mod sealed {
    use crate::ring::Ring;

    /// What an operation must know about a registered buffer.
    pub trait Sealed {
        /// Returns the index of the buffer, if it is registered with this ring.
        fn index(&self, ring: &Ring) -> Option<u16>;
    }
}

pub(crate) use sealed::Sealed;

impl Sealed for FixedBuf {
    fn index(&self, ring: &Ring) -> Option<u16> {
        self.home.ring.is(ring).then_some(self.index)
    }
}

impl<B: Sealed> Sealed for Part<B> {
    fn index(&self, ring: &Ring) -> Option<u16> {
        self.whole.index(ring)
    }
}
