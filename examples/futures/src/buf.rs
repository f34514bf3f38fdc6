//! Buffers: a part of one, and those that are registered with the kernel.
//!
//! A buffer is whatever gives out bytes and borrows nothing: a `Vec<u8>`, a box, an array, a static
//! slice to write from, a [`Part`] of one of them. It goes into the operation, and comes back with the
//! result.

use std::cell::RefCell;
use std::io;
use std::mem;
use std::ops::{Deref, DerefMut, Range};
use std::rc::Rc;

use rustix_uring::types::iovec;

use crate::ring::Ring;

/// A part of a buffer, which is a buffer itself.
pub struct Part<B> {
    /// The buffer.
    pub whole: B,
    /// Which of its bytes are the part.
    pub range: Range<usize>,
}

impl<B> Part<B> {
    /// The bytes of `whole` that are in `range`.
    pub fn new(whole: B, range: Range<usize>) -> Self {
        Self { whole, range }
    }
}

/// # Panics
///
/// If the range is not within the buffer, as slices do.
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

/// Buffers that are registered with the ring of the program. The kernel looks their pages up once, and
/// not at each operation.
///
/// They stay registered until this is dropped, and every buffer that was [taken](Self::take) as well.
pub struct FixedBufs(Rc<Registered>);

struct Registered {
    ring: Ring,
    /// The buffers that nobody has taken.
    here: RefCell<Vec<Option<Box<[u8]>>>>,
}

impl FixedBufs {
    /// Registers buffers, of which none may be empty. Needs Linux 5.13.
    ///
    /// # Errors
    ///
    /// EBUSY if the program has registered buffers already, ENOMEM above `RLIMIT_MEMLOCK`, EINVAL for
    /// none or more than 16384; `Unsupported` on older kernels.
    ///
    /// # Panics
    ///
    /// Outside of a program that [`start`](crate::start) runs.
    pub fn register(bufs: impl IntoIterator<Item = Vec<u8>>) -> io::Result<Self> {
        let ring = Ring::current();
        let mut bufs: Vec<_> = bufs.into_iter().map(Vec::into_boxed_slice).collect();
        let vector =
            |buf: &mut Box<[u8]>| iovec { iov_base: buf.as_mut_ptr().cast(), iov_len: buf.len() };
        let vectors: Vec<_> = bufs.iter_mut().map(vector).collect();
        // SAFETY: `Registered` has the buffers, or a `FixedBuf` that keeps the `Registered`, which
        // unregisters them before it drops them. Operations name a buffer only while they own it.
        unsafe { ring.register_buffers(&vectors) }?;
        let here = RefCell::new(bufs.into_iter().map(Some).collect());
        Ok(Self(Rc::new(Registered { ring, here })))
    }

    /// Takes a buffer, by its position. It is back when what is returned is dropped.
    ///
    /// Returns `None` if somebody has it already, or if there is none.
    pub fn take(&self, index: u16) -> Option<FixedBuf> {
        let bytes = self.0.here.borrow_mut().get_mut(usize::from(index))?.take()?;
        Some(FixedBuf { bytes, index, home: self.0.clone() })
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        // Nothing is in flight with them. If the kernel refused, which it does not, it would keep pages
        // that no operation names.
        let _ = self.ring.unregister_buffers();
    }
}

/// A registered buffer, which you have for yourself.
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

/// A [`FixedBuf`], or a [`Part`] of one. There are no others.
pub trait Fixed: AsRef<[u8]> + AsMut<[u8]> + Sealed + 'static {}

impl<B: AsRef<[u8]> + AsMut<[u8]> + Sealed + 'static> Fixed for B {}

mod sealed {
    use crate::ring::Ring;

    /// What an operation must know of a registered buffer.
    pub trait Sealed {
        /// The position of the buffer, if it is registered with this ring.
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
