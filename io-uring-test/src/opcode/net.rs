//! Creating and connecting sockets. Accepting, sending and receiving have files of their own.

pub(crate) mod accept;
pub(crate) mod recv;
pub(crate) mod recvmsg;
pub(crate) mod send;
pub(crate) mod zc;

use std::io::{Read as _, Write as _};
use std::net::{Shutdown as How, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, AsRawFd};
use std::ptr;

use rustix::fs::{OFlags, fcntl_getfl};
use rustix::io::{FdFlags, fcntl_getfd};
use rustix::net::{getsockname, ipproto};
use rustix_uring::Errno;
use rustix_uring::opcode::{Bind, Connect, Listen, Shutdown, Socket};
use rustix_uring::types::{
    AddressFamily, DestinationSlot, Fd, FileSlot, Fixed, Shutdown as Direction, SocketAddrAny,
    SocketFlags, SocketType,
};

use crate::harness::Need::*;
use crate::harness::*;

pub(crate) const CASES: &[Case] = &[
    Case::kinds("socket", &[Opcode(Socket::CODE)], socket),
    Case::kinds("socket_into_slots", &[Opcode(Socket::CODE)], socket_into_slots),
    Case::kinds("socket_refused", &[Opcode(Socket::CODE)], socket_refused),
    Case::kinds("bind_and_listen", &[Opcode(Bind::CODE), Opcode(Listen::CODE)], bind_and_listen),
    Case::kinds("bind_refused", &[Opcode(Bind::CODE)], bind_refused),
    Case::kinds("listen_refused", &[Opcode(Listen::CODE)], listen_refused),
    Case::kinds("connect", &[Opcode(Connect::CODE)], connect),
    Case::kinds("connect_refused", &[Opcode(Connect::CODE)], connect_refused),
    Case::kinds("shutdown", &[Opcode(Shutdown::CODE)], shutdown),
    Case::kinds("shutdown_refused", &[Opcode(Shutdown::CODE)], shutdown_refused),
];

/// Any free port on the loopback interface.
const LOCAL: &str = "127.0.0.1:0";

fn listener() -> Result<(TcpListener, SocketAddrAny)> {
    let listener = TcpListener::bind(LOCAL)?;
    let address = SocketAddrAny::from(listener.local_addr()?);
    Ok((listener, address))
}

/// The two ends of a connection.
pub(crate) fn tcp() -> Result<(TcpStream, TcpStream)> {
    let listener = TcpListener::bind(LOCAL)?;
    let one = TcpStream::connect(listener.local_addr()?)?;
    let (other, _) = listener.accept()?;
    Ok((one, other))
}

/// Two unconnected sockets, and the address of the second.
pub(crate) fn udp() -> Result<(UdpSocket, UdpSocket, SocketAddrAny)> {
    let (one, other) = (UdpSocket::bind(LOCAL)?, UdpSocket::bind(LOCAL)?);
    let address = SocketAddrAny::from(other.local_addr()?);
    Ok((one, other, address))
}

const INET: AddressFamily = AddressFamily::INET;
const STREAM: SocketType = SocketType::STREAM;

fn socket(ring: &mut dyn Ring) -> Result {
    let kinds = [
        (STREAM, None, SocketFlags::empty()),
        (SocketType::DGRAM, Some(ipproto::UDP), SocketFlags::CLOEXEC),
        (STREAM, Some(ipproto::TCP), SocketFlags::CLOEXEC | SocketFlags::NONBLOCK),
    ];
    for (kind, protocol, flags) in kinds {
        let socket = Socket::new(INET, kind, protocol).flags(flags).build();
        // SAFETY: the entry points to no memory.
        let done = unsafe { ring.run(socket) }?;
        // SAFETY: the operation's result is a descriptor, and this is its only owner.
        let socket = unsafe { done.to_fd() }?;
        assert_eq!(rustix::net::sockopt::socket_type(&socket)?, kind);
        let (closes, waits) = (fcntl_getfd(&socket)?, fcntl_getfl(&socket)?);
        assert_eq!(closes.contains(FdFlags::CLOEXEC), flags.contains(SocketFlags::CLOEXEC));
        assert_eq!(waits.contains(OFlags::NONBLOCK), flags.contains(SocketFlags::NONBLOCK));
    }
    Ok(())
}

fn socket_into_slots(ring: &mut dyn Ring) -> Result {
    // SAFETY: the addresses and files are on this stack, and outlive each call.
    let ring = &mut unsafe { ring.runner() };
    let (_listener, address) = listener()?;
    ring.submitter().register_files(&[FileSlot::EMPTY; 2])?;
    let socket = Socket::new(INET, STREAM, None);
    let chosen = socket.file_index(DestinationSlot::try_from_slot_target(1).ok());
    assert_eq!(ring.result(chosen.build())?, Ok(0));
    let any = socket.file_index(Some(DestinationSlot::auto_target()));
    // SAFETY: the entry points to no memory.
    let any_slot = unsafe { ring.run(any.build()) }?.to_fixed();
    assert_eq!(any_slot, Ok(Fixed(0)));
    for slot in [0, 1] {
        let connect = Connect::new(Fixed(slot), address.as_ptr(), address.addr_len()).build();
        assert_eq!(ring.result(connect)?, Ok(0));
    }
    assert_eq!(ring.result(any.build())?, Err(Errno::NFILE));
    let inherited = chosen.flags(SocketFlags::CLOEXEC);
    assert_eq!(ring.result(inherited.build())?, Err(Errno::INVAL));
    Ok(())
}

fn socket_refused(ring: &mut dyn Ring) -> Result {
    // SAFETY: the addresses and files are on this stack, and outlive each call.
    let ring = &mut unsafe { ring.runner() };
    let refusals = [
        (Socket::new(AddressFamily::from_raw(999), STREAM, None), Errno::AFNOSUPPORT),
        (Socket::new(INET, SocketType::from_raw(9), None), Errno::SOCKTNOSUPPORT),
        (Socket::new(INET, STREAM, Some(ipproto::UDP)), Errno::PROTONOSUPPORT),
        (
            Socket::new(INET, STREAM, None).flags(SocketFlags::from_bits_retain(1 << 4)),
            Errno::INVAL,
        ),
    ];
    ring.refuses(refusals.map(|(socket, errno)| (socket.build(), errno)))
}

fn bind_and_listen(ring: &mut dyn Ring) -> Result {
    // SAFETY: the addresses and files are on this stack, and outlive each call.
    let ring = &mut unsafe { ring.runner() };
    let local: SocketAddr = LOCAL.parse()?;
    let address = SocketAddrAny::from(local);
    let socket = rustix::net::socket(INET, STREAM, None)?;
    ring.submitter().register_files(&[FileSlot::new(&socket)])?;
    let bind = Bind::new(Fixed(0), address.as_ptr(), address.addr_len()).build();
    assert_eq!(ring.result(bind)?, Ok(0));
    assert_eq!(ring.result(Listen::new(&socket, 4).build())?, Ok(0));
    let bound = SocketAddr::try_from(getsockname(&socket)?)?;
    assert!(bound.ip() == local.ip() && bound.port() != 0, "{bound}");
    let mut caller = TcpStream::connect(bound)?;
    caller.write_all(b"hello")?;
    let (mut called, _) = TcpListener::from(socket).accept()?;
    let mut said = [0; 5];
    called.read_exact(&mut said)?;
    assert_eq!(&said, b"hello");
    // A socket cannot be bound twice.
    let again = Bind::new(called.as_fd(), address.as_ptr(), address.addr_len()).build();
    assert_eq!(ring.result(again)?, Err(Errno::INVAL));
    Ok(())
}

fn bind_refused(ring: &mut dyn Ring) -> Result {
    // SAFETY: the addresses and files are on this stack, and outlive each call.
    let ring = &mut unsafe { ring.runner() };
    let (_listener, taken) = listener()?;
    let foreign = SocketAddrAny::from("192.0.2.1:0".parse::<SocketAddr>()?);
    let socket = rustix::net::socket(INET, STREAM, None)?;
    let file = file_with(b"")?;
    let fd = Fd(socket.as_raw_fd());
    let (start, len) = (taken.as_ptr(), taken.addr_len());
    let refusals = [
        (Bind::new(fd, start, len), Errno::ADDRINUSE),
        (Bind::new(fd, foreign.as_ptr(), len), Errno::ADDRNOTAVAIL),
        (Bind::new(fd, start, 2), Errno::INVAL),
        (Bind::new(fd, ptr::null(), len), Errno::FAULT),
        (Bind::new(Fd(file.as_raw_fd()), start, len), Errno::NOTSOCK),
        (Bind::new(Fd(-1), start, len), Errno::BADF),
    ];
    ring.refuses(refusals.map(|(bind, errno)| (bind.build(), errno)))
}

fn listen_refused(ring: &mut dyn Ring) -> Result {
    // SAFETY: the addresses and files are on this stack, and outlive each call.
    let ring = &mut unsafe { ring.runner() };
    let (datagrams, file) = (UdpSocket::bind(LOCAL)?, file_with(b"")?);
    ring.refuses([
        (Listen::new(datagrams.as_fd(), 4).build(), Errno::OPNOTSUPP),
        (Listen::new(file.as_fd(), 4).build(), Errno::NOTSOCK),
        (Listen::new(Fd(-1), 4).build(), Errno::BADF),
    ])
}

fn connect(ring: &mut dyn Ring) -> Result {
    // SAFETY: the addresses and files are on this stack, and outlive each call.
    let ring = &mut unsafe { ring.runner() };
    let (listener, address) = listener()?;
    let socket = rustix::net::socket(INET, STREAM, None)?;
    let connect = Connect::new(&socket, address.as_ptr(), address.addr_len()).build();
    assert_eq!(ring.result(connect)?, Ok(0));
    let (mut other, _) = listener.accept()?;
    TcpStream::from(socket.try_clone()?).write_all(b"hello")?;
    let mut said = [0; 5];
    other.read_exact(&mut said)?;
    assert_eq!(&said, b"hello");
    assert_eq!(ring.result(connect)?, Err(Errno::ISCONN));
    Ok(())
}

fn connect_refused(ring: &mut dyn Ring) -> Result {
    // SAFETY: the addresses and files are on this stack, and outlive each call.
    let ring = &mut unsafe { ring.runner() };
    let (listener, address) = listener()?;
    drop(listener);
    let socket = rustix::net::socket(INET, STREAM, None)?;
    let file = file_with(b"")?;
    let (start, len) = (address.as_ptr(), address.addr_len());
    let fd = Fd(socket.as_raw_fd());
    let refusals = [
        (Connect::new(fd, start, len), Errno::CONNREFUSED),
        (Connect::new(fd, start, 2), Errno::INVAL),
        (Connect::new(fd, ptr::null(), len), Errno::FAULT),
        (Connect::new(Fd(file.as_raw_fd()), start, len), Errno::NOTSOCK),
        (Connect::new(Fd(-1), start, len), Errno::BADF),
    ];
    ring.refuses(refusals.map(|(connect, errno)| (connect.build(), errno)))
}

fn shutdown(ring: &mut dyn Ring) -> Result {
    // SAFETY: the addresses and files are on this stack, and outlive each call.
    let ring = &mut unsafe { ring.runner() };
    let (mut one, mut other) = tcp()?;
    let end = |direction| Shutdown::new(Fixed(0), direction).build();
    ring.submitter().register_files(&[FileSlot::new(&one)])?;
    assert_eq!(ring.result(end(Direction::Write))?, Ok(0));
    assert_eq!(other.read(&mut [0])?, 0);
    other.write_all(b"hello")?;
    let mut said = [0; 5];
    one.read_exact(&mut said)?;
    assert_eq!(&said, b"hello");
    assert_eq!(ring.result(end(Direction::Read))?, Ok(0));
    assert_eq!(one.read(&mut [0])?, 0);
    other.shutdown(How::Both)?;
    assert_eq!(ring.result(end(Direction::Both))?, Err(Errno::NOTCONN));
    Ok(())
}

fn shutdown_refused(ring: &mut dyn Ring) -> Result {
    // SAFETY: the addresses and files are on this stack, and outlive each call.
    let ring = &mut unsafe { ring.runner() };
    let (one, _other) = tcp()?;
    let alone = rustix::net::socket(INET, STREAM, None)?;
    let file = file_with(b"")?;
    let mut unknown = Shutdown::new(one.as_fd(), Direction::Both).build();
    unknown.as_raw_mut().len = 7;
    assert_eq!(ring.result(unknown)?, Err(Errno::INVAL));
    let both = |fd: Fd| Shutdown::new(fd, Direction::Both).build();
    ring.refuses([
        (both(Fd(alone.as_raw_fd())), Errno::NOTCONN),
        (both(Fd(file.as_raw_fd())), Errno::NOTSOCK),
        (both(Fd(-1)), Errno::BADF),
    ])
}
