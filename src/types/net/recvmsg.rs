//! What a multishot `recvmsg` leaves in its buffer.

use core::fmt;
use core::net::SocketAddr;
use core::ops::Range;

use super::{ControlMessages, MsgFlags, MsgHdr, decode_socket_addr};

/// A message as [`RecvMsgMulti`](crate::opcode::RecvMsgMulti) puts it into a provided buffer: a
/// header, the sender's name, control messages, and the payload.
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

/// The buffer ends before the payload can begin: it is not what
/// [`RecvMsgMulti`](crate::opcode::RecvMsgMulti) has filled, or the [`MsgHdr`] is another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct RecvMsgError;

impl fmt::Display for RecvMsgError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the buffer is too short for a message's header, name and control messages")
    }
}

impl core::error::Error for RecvMsgError {}

impl<'buf> RecvMsgOut<'buf> {
    /// Finds its way in `buffer`, which is what the completion says was filled: as many bytes of
    /// the provided buffer as its result counts. (In groups whose buffers are used up bit by bit,
    /// from where the last one has ended.)
    ///
    /// Of `msghdr`, which is the one that the operation was given, `msg_namelen` and
    /// `msg_controllen` matter: that much room the name and the control messages have in the
    /// buffer, needed or not.
    ///
    /// # Errors
    ///
    /// There are fewer bytes than header, name and control messages have room.
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

    /// How long the sender's name is, also where it was cut off.
    #[inline]
    pub const fn incoming_name_len(&self) -> u32 {
        self.header.namelen
    }

    /// Whether the sender's name was cut off.
    #[inline]
    pub const fn is_name_data_truncated(&self) -> bool {
        self.header.namelen as usize > self.name_room
    }

    /// The sender's name, a `struct sockaddr`.
    #[inline]
    pub fn name_data(&self) -> &'buf [u8] {
        &self.buffer[self.name.clone()]
    }

    /// The sender's name, if it is an internet address.
    #[inline]
    pub fn socket_addr(&self) -> Option<SocketAddr> {
        decode_socket_addr(self.name_data())
    }

    /// How many bytes of control messages there are.
    #[inline]
    pub const fn incoming_control_len(&self) -> u32 {
        self.header.controllen
    }

    /// Whether control messages were cut off.
    #[inline]
    pub const fn is_control_data_truncated(&self) -> bool {
        self.flags().contains(MsgFlags::CTRUNC)
    }

    /// The control messages, as bytes.
    #[inline]
    pub fn control_data(&self) -> &'buf [u8] {
        &self.buffer[self.control.clone()]
    }

    /// The control messages.
    #[inline]
    pub fn control_messages(&self) -> ControlMessages<'buf> {
        ControlMessages::new(self.control_data())
    }

    /// How long the payload is; a packet's, also where it was cut off.
    #[inline]
    pub const fn incoming_payload_len(&self) -> u32 {
        self.header.payloadlen
    }

    /// Whether the payload was cut off.
    #[inline]
    pub const fn is_payload_truncated(&self) -> bool {
        self.flags().contains(MsgFlags::TRUNC)
    }

    /// The payload.
    #[inline]
    pub fn payload_data(&self) -> &'buf [u8] {
        &self.buffer[self.payload.clone()]
    }

    /// Where in the buffer the payload is, for those who own the buffer and want to keep it.
    #[inline]
    pub fn payload_range(&self) -> Range<usize> {
        self.payload.clone()
    }

    /// What came with the message, as `msg_flags` of `recvmsg(2)`.
    #[inline]
    pub const fn flags(&self) -> MsgFlags {
        MsgFlags::from_bits_retain(self.header.flags)
    }
}

/// Where the `len` bytes are that begin at `start`, and where their `room` ends: what does not fit
/// was cut off.
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

    /// A header with these fields, and `rest` behind it.
    fn message(header: [u32; 4], rest: &[u8]) -> Vec<u8> {
        let mut bytes: Vec<u8> = header.iter().flat_map(|word| word.to_ne_bytes()).collect();
        bytes.extend(rest);
        bytes
    }

    #[test]
    fn layout_is_the_kernels() {
        assert_eq!(Header::SIZE, size_of::<io_uring_recvmsg_out>());
        assert_eq!(core::mem::offset_of!(io_uring_recvmsg_out, controllen), 4);
        assert_eq!(core::mem::offset_of!(io_uring_recvmsg_out, payloadlen), 8);
        assert_eq!(core::mem::offset_of!(io_uring_recvmsg_out, flags), 12);
    }

    #[test]
    fn everything_in_its_place() {
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
    fn what_was_cut_off_is_told() {
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
