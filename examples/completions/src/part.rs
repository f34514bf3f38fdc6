//! A part of a buffer.

use std::ops::Range;

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
