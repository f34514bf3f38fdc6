//! A part of a buffer.

use std::ops::Range;

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
