//! The buffer contents of a multishot `recvmsg`.

use core::fmt;
use core::net::SocketAddr;
use core::ops::Range;

use super::{ControlMessages, MsgFlags, MsgHdr, decode_socket_addr};

/// A message in a provided buffer that [`RecvMsgMulti`](crate::opcode::RecvMsgMulti) has filled: a
/// header, the sender's address, control messages, and the payload.
///
/// ```
/// use rustix_uring::types::{MsgHdr, RecvMsgOut};
/// # fn each(buffer: &[u8], cqe: &rustix_uring::cqueue::Entry) -> Result<(), Box<dyn std::error::Error>> {
///
/// let mut msghdr = MsgHdr::new(); // as given to the operation
/// msghdr.msg_namelen = 28;
///
/// let filled = cqe.to_result()? as usize;
/// let message = RecvMsgOut::parse(&buffer[..filled], &msghdr)?;
/// println!("{:?} says {:?}", message.socket_addr(), message.payload_data());
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RecvMsgOut<'buf> {
    buffer: &'buf [u8],
    header: Header,
    name: Range<usize>,
    name_room: usize,
    control: Range<usize>,
    payload: Range<usize>,
}

/// `struct io_uring_recvmsg_out`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Header {
    namelen: u32,
    controllen: u32,
    payloadlen: u32,
    flags: u32,
}

impl Header {
    const SIZE: usize = 16;

    fn read(buffer: &[u8]) -> Option<Self> {
        let (namelen, rest) = buffer.split_first_chunk()?;
        let (controllen, rest) = rest.split_first_chunk()?;
        let (payloadlen, rest) = rest.split_first_chunk()?;
        Some(Self {
            namelen: u32::from_ne_bytes(*namelen),
            controllen: u32::from_ne_bytes(*controllen),
            payloadlen: u32::from_ne_bytes(*payloadlen),
            flags: u32::from_ne_bytes(*rest.first_chunk()?),
        })
    }
}

/// The error for a buffer that ends before its payload would start.
///
/// Either no [`RecvMsgMulti`](crate::opcode::RecvMsgMulti) has filled the buffer, or the request
/// had a different [`MsgHdr`] from the one that you passed to the parser.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct RecvMsgError;

impl fmt::Display for RecvMsgError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the buffer is too short for the message header, name, and control messages")
    }
}

impl core::error::Error for RecvMsgError {}

impl<'buf> RecvMsgOut<'buf> {
    /// Parses `buffer`, which is the filled part of the provided buffer: as many bytes as the
    /// result of the completion. (In groups whose buffers are consumed incrementally, it starts at
    /// the end of the previous part.)
    ///
    /// `msghdr` is the header that you passed to the operation. Only `msg_namelen` and
    /// `msg_controllen` matter: they are the sizes that the kernel reserves in the buffer for the
    /// address and the control messages, used or not.
    ///
    /// # Errors
    ///
    /// Fails if the buffer is shorter than the header and the space for address and control
    /// messages.
    pub fn parse(buffer: &'buf [u8], msghdr: &MsgHdr) -> Result<Self, RecvMsgError> {
        let header = Header::read(buffer).ok_or(RecvMsgError)?;
        let (name, control_start) =
            area(Header::SIZE, header.namelen, msghdr.msg_namelen as usize)?;
        let (control, payload_start) =
            area(control_start, header.controllen, msghdr.msg_controllen)?;
        let payload_room = buffer.len().checked_sub(payload_start).ok_or(RecvMsgError)?;
        let (payload, _) = area(payload_start, header.payloadlen, payload_room)?;
        Ok(Self { buffer, header, name, name_room: msghdr.msg_namelen as usize, control, payload })
    }

    /// Returns the length of the sender's address, even if the address was truncated.
    #[inline]
    pub const fn incoming_name_len(&self) -> u32 {
        self.header.namelen
    }

    /// Returns whether the sender's address was truncated.
    #[inline]
    pub const fn is_name_data_truncated(&self) -> bool {
        self.header.namelen as usize > self.name_room
    }

    /// Returns the sender's address, which is a `struct sockaddr`.
    #[inline]
    pub fn name_data(&self) -> &'buf [u8] {
        &self.buffer[self.name.clone()]
    }

    /// Returns the sender's address if it is an internet address.
    #[inline]
    pub fn socket_addr(&self) -> Option<SocketAddr> {
        decode_socket_addr(self.name_data())
    }

    /// Returns the length of the control messages in bytes.
    #[inline]
    pub const fn incoming_control_len(&self) -> u32 {
        self.header.controllen
    }

    /// Returns whether control messages were truncated.
    #[inline]
    pub const fn is_control_data_truncated(&self) -> bool {
        self.flags().contains(MsgFlags::CTRUNC)
    }

    /// Returns the bytes of the control messages.
    #[inline]
    pub fn control_data(&self) -> &'buf [u8] {
        &self.buffer[self.control.clone()]
    }

    /// Returns an iterator over the control messages.
    #[inline]
    pub fn control_messages(&self) -> ControlMessages<'buf> {
        ControlMessages::new(self.control_data())
    }

    /// Returns the length of the payload. For a packet, this is the full length even if the payload
    /// was truncated.
    #[inline]
    pub const fn incoming_payload_len(&self) -> u32 {
        self.header.payloadlen
    }

    /// Returns whether the payload was truncated.
    #[inline]
    pub const fn is_payload_truncated(&self) -> bool {
        self.flags().contains(MsgFlags::TRUNC)
    }

    /// Returns the payload.
    #[inline]
    pub fn payload_data(&self) -> &'buf [u8] {
        &self.buffer[self.payload.clone()]
    }

    /// Returns the range of the payload in the buffer. Use this if you own the buffer and want to
    /// keep it.
    #[inline]
    pub fn payload_range(&self) -> Range<usize> {
        self.payload.clone()
    }

    /// Returns the flags of the message, which are the `msg_flags` of `recvmsg(2)`.
    #[inline]
    pub const fn flags(&self) -> MsgFlags {
        MsgFlags::from_bits_retain(self.header.flags)
    }
}

/// Returns the range of the `len` bytes at `start`, and the end of their space of `room` bytes.
/// Bytes that do not fit were truncated.
fn area(start: usize, len: u32, room: usize) -> Result<(Range<usize>, usize), RecvMsgError> {
    let len = usize::try_from(len).unwrap_or(usize::MAX).min(room);
    let end = start.checked_add(room).ok_or(RecvMsgError)?;
    Ok((start..start + len, end))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::io_uring_recvmsg_out;
    use std::vec::Vec;

    fn msghdr(namelen: u32, controllen: usize) -> MsgHdr {
        MsgHdr { msg_namelen: namelen, msg_controllen: controllen, ..MsgHdr::new() }
    }

    /// Creates a message with these header fields, followed by `rest`.
    fn message(header: [u32; 4], rest: &[u8]) -> Vec<u8> {
        let mut bytes: Vec<u8> = header.iter().flat_map(|word| word.to_ne_bytes()).collect();
        bytes.extend(rest);
        bytes
    }

    #[test]
    fn layout_is_that_of_the_kernel() {
        assert_eq!(Header::SIZE, size_of::<io_uring_recvmsg_out>());
        assert_eq!(core::mem::offset_of!(io_uring_recvmsg_out, controllen), 4);
        assert_eq!(core::mem::offset_of!(io_uring_recvmsg_out, payloadlen), 8);
        assert_eq!(core::mem::offset_of!(io_uring_recvmsg_out, flags), 12);
    }

    #[test]
    fn all_parts_are_found() {
        let bytes = message([2, 3, 5, 0], b"na\0\0ctl\0payload");
        let out = RecvMsgOut::parse(&bytes, &msghdr(4, 4)).unwrap();
        assert_eq!(out.name_data(), b"na");
        assert_eq!(out.control_data(), b"ctl");
        assert_eq!(out.payload_data(), b"paylo");
        assert_eq!(out.payload_range(), 24..29);
        assert!(!out.is_name_data_truncated());
        assert!(!out.is_control_data_truncated());
        assert!(!out.is_payload_truncated());
    }

    #[test]
    fn truncation_is_reported() {
        let flags = (MsgFlags::TRUNC | MsgFlags::CTRUNC).bits();
        let bytes = message([9, 8, 100, flags], b"nactlpay");
        let out = RecvMsgOut::parse(&bytes, &msghdr(2, 3)).unwrap();
        assert_eq!(out.name_data(), b"na");
        assert_eq!(out.incoming_name_len(), 9);
        assert!(out.is_name_data_truncated());
        assert_eq!(out.control_data(), b"ctl");
        assert_eq!(out.incoming_control_len(), 8);
        assert!(out.is_control_data_truncated());
        assert_eq!(out.payload_data(), b"pay");
        assert_eq!(out.incoming_payload_len(), 100);
        assert!(out.is_payload_truncated());
    }

    #[test]
    fn a_short_buffer_is_an_error() {
        let bytes = message([0, 0, 0, 0], b"nactl");
        assert!(RecvMsgOut::parse(&bytes, &msghdr(2, 3)).is_ok());
        for len in 0..bytes.len() {
            assert!(RecvMsgOut::parse(&bytes[..len], &msghdr(2, 3)).is_err(), "{len}");
        }
        assert!(RecvMsgOut::parse(&bytes, &msghdr(u32::MAX, usize::MAX)).is_err());
    }
}
