//! Socket addresses that the kernel writes.

use core::fmt;
use core::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

use rustix::net::AddressFamily;
use rustix::net::addr::{SocketAddrLen, SocketAddrStorage};

/// Room for an address that the kernel writes, and for its length.
///
/// ```
/// use rustix_uring::{opcode, types};
///
/// # let listener = types::Fd(3);
/// let mut peer = types::SocketAddrBuf::new();
/// let (addr, addrlen) = peer.as_mut_ptrs();
/// let accept_e = opcode::Accept::new(listener, addr, addrlen).build();
/// // once it has completed:
/// let peer: Option<std::net::SocketAddr> = peer.to_socket_addr();
/// ```
#[derive(Clone, Copy)]
#[repr(C, align(8))]
pub struct SocketAddrBuf {
    storage: [u8; size_of::<SocketAddrStorage>()],
    len: SocketAddrLen,
}

impl SocketAddrBuf {
    /// Room for every kind of address, with none in it.
    #[inline]
    pub const fn new() -> Self {
        const { assert!(align_of::<Self>() >= align_of::<SocketAddrStorage>()) }
        let size = size_of::<SocketAddrStorage>();
        Self { storage: [0; size_of::<SocketAddrStorage>()], len: size as SocketAddrLen }
    }

    /// Where the kernel puts an address, and where it looks how much room there is and puts the
    /// length. Both must live until the operation's *completion*.
    #[inline]
    pub const fn as_mut_ptrs(&mut self) -> (*mut SocketAddrStorage, *mut SocketAddrLen) {
        ((&raw mut self.storage).cast(), &raw mut self.len)
    }

    /// The address as the kernel has written it, `sa_family` first; zeros before that.
    #[inline]
    pub fn as_bytes(&self) -> &[u8] {
        // The length is that of the address, cut off or not.
        &self.storage[..self.storage.len().min(self.len as usize)]
    }

    /// The address, if it is an internet address.
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

/// The internet address in a `struct sockaddr`, if it is one and all there.
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

    /// What rustix makes of an address, as the kernel would write it.
    fn written(address: SocketAddr) -> SocketAddrBuf {
        let any = SocketAddrAny::from(address);
        let mut buf = SocketAddrBuf::new();
        let (addr, addrlen) = buf.as_mut_ptrs();
        let bytes = any.as_ptr().cast::<u8>();
        // SAFETY: the storage has room for every address, and the length belongs to the second. Behind
        // its length, an address may be uninitialized.
        unsafe {
            addr.cast::<u8>().copy_from_nonoverlapping(bytes, any.addr_len() as usize);
            addrlen.write(any.addr_len());
        }
        buf
    }

    #[test]
    fn addresses_come_back() {
        for text in ["127.0.0.1:80", "[::1]:65535", "[fe80::1%3]:1"] {
            let address: SocketAddr = text.parse().unwrap();
            assert_eq!(written(address).to_socket_addr(), Some(address));
        }
        let flow = SocketAddrV6::new(Ipv6Addr::LOCALHOST, 1, 0x12345, 2).into();
        assert_eq!(written(flow).to_socket_addr(), Some(flow));
    }

    #[test]
    fn half_an_address_is_none() {
        let mut buf = written("1.2.3.4:5".parse().unwrap());
        buf.len = 7;
        assert_eq!(buf.to_socket_addr(), None);
        assert_eq!(SocketAddrBuf::new().to_socket_addr(), None);
    }

    #[test]
    fn a_length_beyond_the_room_is_cut_off() {
        let mut buf = written("1.2.3.4:5".parse().unwrap());
        buf.len = u32::MAX;
        assert_eq!(buf.as_bytes().len(), 128);
        assert!(buf.to_socket_addr().is_some());
    }
}
