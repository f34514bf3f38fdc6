//! Control messages.

/// The control messages that came with a message: the `cmsg(3)` macros as an iterator.
///
/// What comes behind a message of an impossible length is not looked at.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ControlMessages<'a> {
    rest: &'a [u8],
}

/// A control message: a `struct cmsghdr` and what follows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct ControlMessage<'a> {
    /// Whose message it is: `SOL_SOCKET`, `IPPROTO_IP` and so on.
    pub level: i32,
    /// Which message it is, `SCM_RIGHTS` for one: `cmsg_type`.
    pub kind: i32,
    /// What it says. Not aligned to anything.
    pub data: &'a [u8],
}

impl<'a> ControlMessages<'a> {
    /// Those in `control`: what `msg_control` points to, up to the length that `msg_controllen`
    /// has once the message is there.
    #[inline]
    pub const fn new(control: &'a [u8]) -> Self {
        Self { rest: control }
    }
}

impl<'a> Iterator for ControlMessages<'a> {
    type Item = ControlMessage<'a>;

    fn next(&mut self) -> Option<ControlMessage<'a>> {
        // `struct cmsghdr`: its own length with all that belongs to it, level, type.
        let (len, after) = self.rest.split_first_chunk()?;
        let (level, after) = after.split_first_chunk()?;
        let (kind, after) = after.split_first_chunk()?;
        let len = usize::from_ne_bytes(*len);
        let header = self.rest.len() - after.len();
        // No header's length is odd to the alignment, so that data begins right behind it.
        const { assert!((size_of::<usize>() + 8) % align_of::<usize>() == 0) }
        let data = after.get(..len.checked_sub(header)?)?;
        // The last one may do without the padding.
        let next = len.checked_next_multiple_of(align_of::<usize>())?;
        self.rest = self.rest.get(next..).unwrap_or_default();
        Some(ControlMessage {
            level: i32::from_ne_bytes(*level),
            kind: i32::from_ne_bytes(*kind),
            data,
        })
    }
}

impl core::iter::FusedIterator for ControlMessages<'_> {}

#[cfg(test)]
mod tests {
    use super::*;
    use core::mem::offset_of;
    use linux_raw_sys::net::cmsghdr;
    use std::vec::Vec;

    fn message(level: i32, kind: i32, data: &[u8]) -> Vec<u8> {
        let len = size_of::<cmsghdr>() + data.len();
        let mut bytes = Vec::from(len.to_ne_bytes());
        bytes.extend(level.to_ne_bytes());
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(data);
        bytes
    }

    fn padded(mut message: Vec<u8>) -> Vec<u8> {
        message.resize(message.len().next_multiple_of(align_of::<cmsghdr>()), 0xee);
        message
    }

    #[test]
    fn layout_is_the_kernels() {
        assert_eq!(size_of::<cmsghdr>(), size_of::<usize>() + 8);
        assert_eq!(align_of::<cmsghdr>(), align_of::<usize>());
        assert_eq!(offset_of!(cmsghdr, cmsg_level), size_of::<usize>());
        assert_eq!(offset_of!(cmsghdr, cmsg_type), size_of::<usize>() + 4);
    }

    #[test]
    fn one_after_the_other() {
        let mut bytes = padded(message(1, 2, b"abc"));
        bytes.extend(padded(message(3, 4, b"")));
        bytes.extend(message(5, 6, b"last!"));
        let found: Vec<_> =
            ControlMessages::new(&bytes).map(|m| (m.level, m.kind, m.data)).collect();
        assert_eq!(found, [(1, 2, &b"abc"[..]), (3, 4, b""), (5, 6, b"last!")]);
    }

    #[test]
    fn impossible_lengths_end_it() {
        for len in [0, 1, size_of::<cmsghdr>() - 1, size_of::<cmsghdr>() + 4, usize::MAX] {
            let mut bytes = message(1, 2, b"abc");
            bytes[..size_of::<usize>()].copy_from_slice(&len.to_ne_bytes());
            assert_eq!(ControlMessages::new(&bytes).next(), None, "{len}");
        }
    }
}
