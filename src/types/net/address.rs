//! Socket addresses that the kernel writes.

use core::fmt;
use core::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

use rustix::net::AddressFamily;
use rustix::net::addr::{SocketAddrLen, SocketAddrStorage};

/// A buffer for an address that the kernel writes, and for its length.
///
/// ```
/// use rustix_uring::{opcode, types};
///
/// # let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
/// let mut peer = types::SocketAddrBuf::new();
/// let (addr, addrlen) = peer.as_mut_ptrs();
/// let accept_e = opcode::Accept::new(&listener, addr, addrlen).build();
/// // once it has completed:
/// let peer: Option<std::net::SocketAddr> = peer.to_socket_addr();
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Copy)]
#[repr(C, align(8))]
pub struct SocketAddrBuf {
    storage: [u8; size_of::<SocketAddrStorage>()],
    len: SocketAddrLen,
}

impl SocketAddrBuf {
    /// Creates a buffer that is large enough for every kind of address.
    #[inline]
    pub const fn new() -> Self {
        const { assert!(align_of::<Self>() >= align_of::<SocketAddrStorage>()) }
        let size = size_of::<SocketAddrStorage>();
        Self { storage: [0; size_of::<SocketAddrStorage>()], len: size as SocketAddrLen }
    }

    /// Returns pointers to the buffer and to its length. The kernel writes the address to the
    /// buffer. It reads the size of the buffer from the length, and replaces it by the length of
    /// the address. Both must stay valid until the operation's *completion*.
    #[inline]
    pub const fn as_mut_ptrs(&mut self) -> (*mut SocketAddrStorage, *mut SocketAddrLen) {
        ((&raw mut self.storage).cast(), &raw mut self.len)
    }

    /// Returns the bytes of the address that the kernel has written, starting with `sa_family`.
    /// Before that, they are zeros.
    #[inline]
    pub fn as_bytes(&self) -> &[u8] {
        // The kernel stores the full length of the address, even if the address was truncated.
        &self.storage[..self.storage.len().min(self.len as usize)]
    }

    /// Returns the address if it is an internet address.
    #[inline]
    pub fn to_socket_addr(&self) -> Option<SocketAddr> {
        decode_socket_addr(self.as_bytes())
    }
}

impl Default for SocketAddrBuf {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for SocketAddrBuf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.to_socket_addr() {
            Some(address) => f.debug_tuple("SocketAddrBuf").field(&address).finish(),
            None => f.debug_tuple("SocketAddrBuf").field(&self.as_bytes()).finish(),
        }
    }
}

/// Returns the internet address in a `struct sockaddr`, if it is complete and has an internet
/// family.
pub fn decode_socket_addr(sockaddr: &[u8]) -> Option<SocketAddr> {
    let (family, rest) = sockaddr.split_first_chunk()?;
    let (port, rest) = rest.split_first_chunk()?;
    let port = u16::from_be_bytes(*port);
    match AddressFamily::from_raw(u16::from_ne_bytes(*family)) {
        AddressFamily::INET => {
            let ip = Ipv4Addr::from(*rest.first_chunk()?);
            Some(SocketAddrV4::new(ip, port).into())
        }
        AddressFamily::INET6 => {
            let (flowinfo, rest) = rest.split_first_chunk()?;
            let (ip, rest) = rest.split_first_chunk::<16>()?;
            let flowinfo = u32::from_be_bytes(*flowinfo);
            let scope_id = u32::from_ne_bytes(*rest.first_chunk()?);
            Some(SocketAddrV6::new(Ipv6Addr::from(*ip), port, flowinfo, scope_id).into())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::net::SocketAddrAny;

    /// Returns the address as the kernel would write it, converted by rustix.
    fn written(address: SocketAddr) -> SocketAddrBuf {
        let any = SocketAddrAny::from(address);
        let mut buf = SocketAddrBuf::new();
        let (addr, addrlen) = buf.as_mut_ptrs();
        let bytes = any.as_ptr().cast::<u8>();
        // SAFETY: the storage is large enough for every address, and the second pointer is for the
        // length. Copy only that length: the bytes after an address may be uninitialized.
        unsafe {
            addr.cast::<u8>().copy_from_nonoverlapping(bytes, any.addr_len() as usize);
            addrlen.write(any.addr_len());
        }
        buf
    }

    #[test]
    fn addresses_are_decoded() {
        for text in ["127.0.0.1:80", "[::1]:65535", "[fe80::1%3]:1"] {
            let address: SocketAddr = text.parse().unwrap();
            assert_eq!(written(address).to_socket_addr(), Some(address));
        }
        let flow = SocketAddrV6::new(Ipv6Addr::LOCALHOST, 1, 0x12345, 2).into();
        assert_eq!(written(flow).to_socket_addr(), Some(flow));
    }

    #[test]
    fn an_incomplete_address_is_none() {
        let mut buf = written("1.2.3.4:5".parse().unwrap());
        buf.len = 7;
        assert_eq!(buf.to_socket_addr(), None);
        assert_eq!(SocketAddrBuf::new().to_socket_addr(), None);
    }

    #[test]
    fn a_length_beyond_the_buffer_is_truncated() {
        let mut buf = written("1.2.3.4:5".parse().unwrap());
        buf.len = u32::MAX;
        assert_eq!(buf.as_bytes().len(), 128);
        assert!(buf.to_socket_addr().is_some());
    }
}
