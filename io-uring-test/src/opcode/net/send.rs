//! Sending data with copies.

use std::io::Read as _;
use std::net::TcpStream;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::net::UnixStream;
use std::ptr;
use std::thread;
use std::time::Duration;

use rustix_uring::opcode::{ProvideBuffers, Send, SendBundle, SendMsg};
use rustix_uring::squeue::{Entry, Flags};
use rustix_uring::types::{
    Fd, FileSlot, Fixed, MsgFlags, MsgHdr, RecvSendFlags, SocketAddrAny, iovec,
};
use rustix_uring::{BufRing, BufRingFlags, Errno};

use super::{tcp, udp};
use crate::harness::Need::*;
use crate::harness::*;
use crate::opcode::{reap, reap_to_the_last, taken};

pub(crate) const CASES: &[Case] = &[
    Case::kinds("send", &[Opcode(Send::CODE)], send),
    Case::kinds("send_to", &[Opcode(Send::CODE), TO], send_to),
    Case::kinds("send_vectorized", &[Opcode(Send::CODE), VECTORIZED], send_vectorized),
    Case::kinds("send_from_group", &[Opcode(Send::CODE), FROM_GROUP], send_from_group),
    Case::kinds("send_registered", &[Opcode(Send::CODE), REGISTERED], send_registered),
    Case::kinds("send_poll_first", &[Opcode(Send::CODE), POLL_FIRST], send_poll_first),
    Case::kinds("send_refused", &[Opcode(Send::CODE)], send_refused),
    Case::kinds("send_bundle", &[Opcode(Send::CODE), BUNDLE], send_bundle),
    Case::kinds("send_bundle_of_ring", &[Opcode(Send::CODE), BUNDLE], send_bundle_of_ring),
    Case::kinds("sendmsg", &[Opcode(SendMsg::CODE)], sendmsg),
    Case::kinds("sendmsg_poll_first", &[Opcode(SendMsg::CODE), POLL_FIRST], sendmsg_poll_first),
    Case::kinds("sendmsg_refused", &[Opcode(SendMsg::CODE)], sendmsg_refused),
];

const HELLO: &[u8] = b"hello";

/// Sends a constant from this socket.
fn hello(fd: Fd) -> Send {
    Send::new(fd, HELLO.as_ptr(), HELLO.len() as u32)
}

pub(crate) fn vector(bytes: &[u8]) -> iovec {
    iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() }
}

/// Runs the entry from `build` on a connected socket.
fn sent(build: impl FnOnce(Fd) -> Entry, fine: &[Errno]) -> Result {
    let (one, _other) = tcp()?;
    // SAFETY: the cases below point to constants, or to memory that the closure owns.
    unsafe { taken(build(Fd(one.as_raw_fd())), fine) }
}

const TO: Need = Trial {
    what: "send to an address",
    refusal: Errno::INVAL,
    call: || {
        let (one, _other, address) = udp()?;
        // SAFETY: the data is a constant, and the address outlives the operation.
        unsafe { taken(to(Fd(one.as_raw_fd()), &address), &[]) }
    },
};
const VECTORIZED: Need = Trial {
    what: "send of several buffers",
    refusal: Errno::INVAL,
    call: || {
        let vectors = [vector(HELLO)];
        sent(|fd| Send::new(fd, ptr::null(), 1).vectorized(vectors.as_ptr()).build(), &[])
    },
};
const FROM_GROUP: Need = Trial {
    what: "send from a provided buffer",
    refusal: Errno::OPNOTSUPP,
    call: || {
        let send = |fd| Send::new(fd, ptr::null(), 5).buf_group(9).build();
        sent(|fd| send(fd).flags(Flags::BUFFER_SELECT), &[Errno::NOENT, Errno::NOBUFS])
    },
};
const REGISTERED: Need = Trial {
    what: "send from a registered buffer",
    refusal: Errno::INVAL,
    call: || sent(|fd| hello(fd).buf_index(Some(0)).build(), &[Errno::FAULT]),
};
const POLL_FIRST: Need = Trial {
    what: "send with RECVSEND_POLL_FIRST",
    refusal: Errno::INVAL,
    call: || sent(|fd| hello(fd).recvsend_flags(RecvSendFlags::POLL_FIRST).build(), &[]),
};
const BUNDLE: Need = Trial {
    what: "send of a bundle of provided buffers",
    refusal: Errno::OPNOTSUPP,
    call: || sent(|fd| SendBundle::new(fd, 9).build(), &[Errno::NOENT, Errno::NOBUFS]),
};

/// The data that arrived.
fn heard(other: &mut TcpStream) -> Result<Vec<u8>> {
    let mut said = vec![0; 100];
    let n = other.read(&mut said)?;
    said.truncate(n);
    Ok(said)
}

fn send(ring: &mut dyn Ring) -> Result {
    // SAFETY: entries point only to constants and to this stack, which outlive each call.
    let ring = &mut unsafe { ring.runner() };
    let (one, mut other) = tcp()?;
    ring.submitter().register_files(&[FileSlot::new(&one)])?;
    for flags in [Flags::empty(), Flags::ASYNC] {
        let more = hello(Fd(one.as_raw_fd())).flags(MsgFlags::MORE).build().flags(flags);
        assert_eq!(ring.result(more)?, Ok(5));
        let last = Send::new(Fixed(0), b" world".as_ptr(), 6).build().flags(flags);
        assert_eq!(ring.result(last)?, Ok(6));
        assert_eq!(heard(&mut other)?, b"hello world");
    }
    Ok(())
}

fn to(fd: Fd, address: &SocketAddrAny) -> Entry {
    hello(fd).dest_addr(address.as_ptr()).dest_addr_len(address.addr_len()).build()
}

fn send_to(ring: &mut dyn Ring) -> Result {
    // SAFETY: entries point only to constants and to this stack, which outlive each call.
    let ring = &mut unsafe { ring.runner() };
    let (one, other, address) = udp()?;
    let fd = Fd(one.as_raw_fd());
    assert_eq!(ring.result(hello(fd).build())?, Err(Errno::DESTADDRREQ));
    assert_eq!(ring.result(to(fd, &address))?, Ok(5));
    let mut said = [0; 8];
    assert_eq!(other.recv_from(&mut said)?, (5, one.local_addr()?));
    assert_eq!(&said[..5], HELLO);
    let short = hello(fd).dest_addr(address.as_ptr()).dest_addr_len(2).build();
    assert_eq!(ring.result(short)?, Err(Errno::INVAL));
    let long = hello(fd).dest_addr(address.as_ptr()).dest_addr_len(1 << 16 | 16).build();
    assert_eq!(ring.result(long)?, Err(Errno::INVAL));
    Ok(())
}

fn send_vectorized(ring: &mut dyn Ring) -> Result {
    // SAFETY: entries point only to constants and to this stack, which outlive each call.
    let ring = &mut unsafe { ring.runner() };
    let (one, mut other) = tcp()?;
    let vectors = [vector(HELLO), vector(b" "), vector(b"world")];
    let send = Send::new(one.as_fd(), ptr::null(), 3).vectorized(vectors.as_ptr()).build();
    assert_eq!(ring.result(send)?, Ok(11));
    assert_eq!(heard(&mut other)?, b"hello world");
    let nothing = Send::new(one.as_fd(), ptr::null(), 3).vectorized(ptr::null()).build();
    assert_eq!(ring.result(nothing)?, Err(Errno::FAULT));
    Ok(())
}

const GROUP: u16 = 4;

/// Provides these bytes as the buffers of a group.
fn provide(ring: &mut dyn Ring, words: &'static [u8], size: u32) -> Result {
    // SAFETY: entries point only to constants and to this stack, which outlive each call.
    let ring = &mut unsafe { ring.runner() };
    let (start, n) = (words.as_ptr().cast_mut(), words.len() as u32 / size);
    let provide = ProvideBuffers::new(start, size, n, GROUP, 10).build();
    assert_eq!(ring.result(provide)?, Ok(0));
    Ok(())
}

fn send_from_group(ring: &mut dyn Ring) -> Result {
    let (one, mut other) = tcp()?;
    provide(ring, HELLO, 5)?;
    let send = Send::provided(&one, GROUP, 0).build();
    // SAFETY: the provided memory is constant.
    let done = unsafe { ring.run(send) }?;
    assert_eq!((done.to_result(), done.buffer_select()), (Ok(5), Some(10)));
    assert_eq!(heard(&mut other)?, HELLO);
    // SAFETY: the provided memory is constant.
    let done = unsafe { ring.run(send) }?;
    assert_eq!((done.to_result(), done.buffer_select()), (Err(Errno::NOBUFS), None));
    Ok(())
}

fn send_registered(ring: &mut dyn Ring) -> Result {
    // SAFETY: entries point only to constants and to this stack, which outlive each call.
    let ring = &mut unsafe { ring.runner() };
    let (one, mut other) = tcp()?;
    let memory = Pages::new(4096)?;
    let start = memory.all().cast::<u8>();
    // SAFETY: the pointer stays within the memory, which nothing else uses.
    unsafe { start.copy_from_nonoverlapping(std::ptr::NonNull::from(HELLO).cast(), 5) };
    let all = iovec { iov_base: start.as_ptr().cast(), iov_len: 4096 };
    // SAFETY: the memory outlives the ring's operations.
    unsafe { ring.submitter().register_buffers(&[all]) }?;
    let send = |from, index| Send::new(one.as_fd(), from, 5).buf_index(Some(index)).build();
    assert_eq!(ring.result(send(start.as_ptr().cast_const(), 0))?, Ok(5));
    assert_eq!(heard(&mut other)?, HELLO);
    assert_eq!(ring.result(send(start.as_ptr(), 1))?, Err(Errno::FAULT));
    assert_eq!(ring.result(send(HELLO.as_ptr(), 0))?, Err(Errno::FAULT));
    Ok(())
}

/// A connection whose sending end is full, and the number of queued bytes.
fn full() -> Result<(UnixStream, UnixStream, usize)> {
    let (one, other) = UnixStream::pair()?;
    let mut filled = 0;
    while let Ok(n) = rustix::net::send(&one, &[7; 4096], rustix::net::SendFlags::DONTWAIT) {
        filled += n;
    }
    Ok((one, other, filled))
}

/// Makes a send wait until the socket has space.
fn waits_for_room(ring: &mut dyn Ring, send: impl FnOnce(Fd) -> Entry) -> Result {
    let (one, mut other, filled) = full()?;
    // SAFETY: the data outlives the operation, whose completion is awaited.
    unsafe { ring.push(&[send(Fd(one.as_raw_fd()))]) }?;
    ring.submit()?;
    assert!(ring.reap().is_empty());
    other.read_exact(&mut vec![0; filled])?;
    assert_eq!(reap(ring, 1)?[0].to_result(), Ok(5));
    let mut said = [0; 5];
    other.read_exact(&mut said)?;
    assert_eq!(said, HELLO);
    Ok(())
}

fn send_poll_first(ring: &mut dyn Ring) -> Result {
    // SAFETY: entries point only to constants and to this stack, which outlive each call.
    let ring = &mut unsafe { ring.runner() };
    waits_for_room(&mut **ring, |fd| hello(fd).recvsend_flags(RecvSendFlags::POLL_FIRST).build())
}

fn send_refused(ring: &mut dyn Ring) -> Result {
    // SAFETY: entries point only to constants and to this stack, which outlive each call.
    let ring = &mut unsafe { ring.runner() };
    let (one, other) = tcp()?;
    let (full, _other, _) = full()?;
    let file = file_with(b"")?;
    let fd = |fd: &dyn AsRawFd| Fd(fd.as_raw_fd());
    let refusals = [
        (Send::new(fd(&one), ptr::null(), 5), Errno::FAULT),
        (hello(fd(&file)), Errno::NOTSOCK),
        (hello(Fd(-1)), Errno::BADF),
        (hello(fd(&full)).flags(MsgFlags::DONTWAIT), Errno::AGAIN),
        (hello(fd(&one)).recvsend_flags(RecvSendFlags::MULTISHOT), Errno::INVAL),
    ];
    ring.refuses(refusals.map(|(send, errno)| (send.build(), errno)))?;
    // The send fails with EPIPE because the other end is closed, but raises no signal.
    drop(other);
    let gone = (0..1000).find_map(|_| {
        thread::sleep(Duration::from_millis(1));
        ring.result(hello(fd(&one)).build()).ok()?.err()
    });
    assert!(matches!(gone, Some(Errno::PIPE | Errno::CONNRESET)), "{gone:?}");
    assert_eq!(ring.result(hello(fd(&one)).build())?, Err(Errno::PIPE));
    Ok(())
}

/// Buffers that were provided individually result in one completion each.
fn send_bundle(ring: &mut dyn Ring) -> Result {
    let (one, mut other) = tcp()?;
    provide(ring, b"onetwo", 3)?;
    let send = SendBundle::new(one.as_fd(), GROUP).flags(MsgFlags::WAITALL).build();
    // SAFETY: the provided data is constant, and the socket outlives the operation.
    unsafe { ring.push(&[send]) }?;
    let done = reap_to_the_last(ring)?;
    let mut words = String::new();
    for cqe in &done {
        if let Some(bid) = cqe.buffer_select() {
            assert_eq!(cqe.to_result(), Ok(3), "{done:?}");
            words += ["one", "two"][usize::from(bid - 10)];
        } else {
            assert_eq!(cqe.to_result(), Err(Errno::NOBUFS), "{done:?}");
        }
    }
    assert!(!words.is_empty(), "{done:?}");
    let mut said = vec![0; words.len()];
    other.read_exact(&mut said)?;
    assert_eq!(said, words.as_bytes());
    Ok(())
}

/// A single completion covers all buffers.
fn send_bundle_of_ring(ring: &mut dyn Ring) -> Result {
    let (one, mut other) = tcp()?;
    let memory = Pages::new(BufRing::memory_size(4))?;
    let none = BufRingFlags::empty();
    // SAFETY: the memory outlives the buffer ring, which is unregistered below.
    let mut buffers = unsafe { ring.submitter().register_buf_ring(memory.all(), 4, GROUP, none) }?;
    for (bid, word) in [&b"one "[..], b"two ", b"six"].into_iter().enumerate() {
        // SAFETY: the words are constant, and only read.
        unsafe { buffers.add(word.as_ptr().cast_mut(), word.len() as u32, bid as u16) };
    }
    buffers.publish();
    // SAFETY: the provided data is constant, and the socket outlives the operation.
    unsafe { ring.push(&[SendBundle::new(one.as_fd(), GROUP).build()]) }?;
    let done = reap_to_the_last(ring)?;
    assert_eq!((done[0].to_result(), done[0].buffer_select()), (Ok(11), Some(0)));
    assert_eq!(heard(&mut other)?, b"one two six");
    buffers.unregister(&ring.submitter())?;
    Ok(())
}

/// A message that consists of these parts.
pub(crate) fn message(parts: &mut [iovec]) -> MsgHdr {
    MsgHdr { msg_iov: parts.as_mut_ptr(), msg_iovlen: parts.len(), ..MsgHdr::new() }
}

fn sendmsg(ring: &mut dyn Ring) -> Result {
    // SAFETY: entries point only to constants and to this stack, which outlive each call.
    let ring = &mut unsafe { ring.runner() };
    let (one, other, address) = udp()?;
    ring.submitter().register_files(&[FileSlot::new(&one)])?;
    let mut parts = [vector(HELLO), vector(b" world")];
    let message = MsgHdr {
        msg_name: address.as_ptr().cast_mut(),
        msg_namelen: address.addr_len(),
        ..message(&mut parts)
    };
    for flags in [Flags::empty(), Flags::ASYNC] {
        let send = SendMsg::new(Fixed(0), &message).flags(MsgFlags::CONFIRM).build();
        assert_eq!(ring.result(send.flags(flags))?, Ok(11));
        let mut said = [0; 16];
        assert_eq!(other.recv_from(&mut said)?, (11, one.local_addr()?));
        assert_eq!(&said[..11], b"hello world");
    }
    Ok(())
}

fn sendmsg_poll_first(ring: &mut dyn Ring) -> Result {
    // SAFETY: entries point only to constants and to this stack, which outlive each call.
    let ring = &mut unsafe { ring.runner() };
    let mut parts = [vector(HELLO)];
    let message = message(&mut parts);
    let poll_first = RecvSendFlags::POLL_FIRST;
    waits_for_room(&mut **ring, |fd| SendMsg::new(fd, &message).recvsend_flags(poll_first).build())
}

fn sendmsg_refused(ring: &mut dyn Ring) -> Result {
    // SAFETY: entries point only to constants and to this stack, which outlive each call.
    let ring = &mut unsafe { ring.runner() };
    let (one, _other, _) = udp()?;
    let file = file_with(b"")?;
    let mut parts = [vector(HELLO)];
    let message = message(&mut parts);
    let no_parts = MsgHdr { msg_iov: ptr::null_mut(), ..message };
    let fd = |fd: &dyn AsRawFd| Fd(fd.as_raw_fd());
    let refusals = [
        (SendMsg::new(fd(&one), &message), Errno::DESTADDRREQ),
        (SendMsg::new(fd(&one), ptr::null()), Errno::FAULT),
        (SendMsg::new(fd(&one), &no_parts), Errno::FAULT),
        (SendMsg::new(fd(&file), &message), Errno::NOTSOCK),
        (SendMsg::new(Fd(-1), &message), Errno::BADF),
    ];
    ring.refuses(refusals.map(|(send, errno)| (send.build(), errno)))
}
