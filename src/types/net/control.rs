//! Control messages.

/// An iterator over the control messages of a received message, like the `cmsg(3)` macros.
///
/// The iterator ends at a message with an impossible length.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ControlMessages<'a> {
    rest: &'a [u8],
}

/// A control message: a `struct cmsghdr` and the data after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct ControlMessage<'a> {
    /// The protocol of the message: `SOL_SOCKET`, `IPPROTO_IP`, and so on.
    pub level: i32,
    /// The type of the message, for example `SCM_RIGHTS` (`cmsg_type`).
    pub kind: i32,
    /// The data of the message, which is not aligned.
    pub data: &'a [u8],
}

impl<'a> ControlMessages<'a> {
    /// Creates an iterator over the messages in `control`. This is the buffer that `msg_control`
    /// points to, up to the length that `msg_controllen` has when the message was received.
    #[inline]
    pub const fn new(control: &'a [u8]) -> Self {
        Self { rest: control }
    }
}

impl<'a> Iterator for ControlMessages<'a> {
    type Item = ControlMessage<'a>;

    fn next(&mut self) -> Option<ControlMessage<'a>> {
        // A `struct cmsghdr` consists of its length (including the header and the data), level, and
        // type.
        let (len, after) = self.rest.split_first_chunk()?;
        let (level, after) = after.split_first_chunk()?;
        let (kind, after) = after.split_first_chunk()?;
        let len = usize::from_ne_bytes(*len);
        let header = self.rest.len() - after.len();
        // The size of the header is a multiple of its alignment, so the data follows without
        // padding.
        const { assert!((size_of::<usize>() + 8) % align_of::<usize>() == 0) }
        let data = after.get(..len.checked_sub(header)?)?;
        // The last message may have no padding.
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
    fn layout_is_that_of_the_kernel() {
        assert_eq!(size_of::<cmsghdr>(), size_of::<usize>() + 8);
        assert_eq!(align_of::<cmsghdr>(), align_of::<usize>());
        assert_eq!(offset_of!(cmsghdr, cmsg_level), size_of::<usize>());
        assert_eq!(offset_of!(cmsghdr, cmsg_type), size_of::<usize>() + 4);
    }

    #[test]
    fn messages_are_returned_in_order() {
        let mut bytes = padded(message(1, 2, b"abc"));
        bytes.extend(padded(message(3, 4, b"")));
        bytes.extend(message(5, 6, b"last!"));
        let found: Vec<_> =
            ControlMessages::new(&bytes).map(|m| (m.level, m.kind, m.data)).collect();
        assert_eq!(found, [(1, 2, &b"abc"[..]), (3, 4, b""), (5, 6, b"last!")]);
    }

    #[test]
    fn an_impossible_length_ends_the_iteration() {
        for len in [0, 1, size_of::<cmsghdr>() - 1, size_of::<cmsghdr>() + 4, usize::MAX] {
            let mut bytes = message(1, 2, b"abc");
            bytes[..size_of::<usize>()].copy_from_slice(&len.to_ne_bytes());
            assert_eq!(ControlMessages::new(&bytes).next(), None, "{len}");
        }
    }
}
