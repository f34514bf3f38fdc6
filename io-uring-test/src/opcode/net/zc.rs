//! Zero-copy send and receive.

use std::io::Read as _;
use std::net::TcpStream;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::net::UnixStream;
use std::ptr::{self, NonNull};

use rustix_uring::opcode::{RecvZc, SendMsgZc, SendZc};
use rustix_uring::squeue::{Entry, Flags};
use rustix_uring::types::{Fd, FileSlot, Fixed, MsgFlags, MsgHdr, RecvSendFlags, iovec};
use rustix_uring::{Errno, sys};

use super::send::{message, vector};
use super::{tcp, udp};
use crate::harness::Need::*;
use crate::harness::*;
use crate::opcode::reap_to_the_last;

const ZC: Need = Opcode(SendZc::CODE);
const MSG_ZC: Need = Opcode(SendMsgZc::CODE);

pub(crate) const CASES: &[Case] = &[
    Case::kinds("send_zc", &[ZC], send_zc),
    Case::kinds("send_zc_usage", &[ZC, USAGE], send_zc_usage),
    Case::kinds("send_zc_to", &[ZC], send_zc_to),
    Case::kinds("send_zc_registered", &[ZC], send_zc_registered),
    Case::kinds("send_zc_vectorized", &[ZC, VECTORIZED], send_zc_vectorized),
    Case::kinds("send_zc_notif_user_data", &[ZC, NOTIF_USER_DATA], send_zc_notif_user_data),
    Case::kinds("send_zc_refused", &[ZC], send_zc_refused),
    Case::kinds("sendmsg_zc", &[MSG_ZC], sendmsg_zc),
    Case::kinds("sendmsg_zc_registered", &[MSG_ZC, MSG_REGISTERED], sendmsg_zc_registered),
    Case::kinds(
        "sendmsg_zc_notif_user_data",
        &[MSG_ZC, MSG_NOTIF_USER_DATA],
        sendmsg_zc_notif_user_data,
    ),
    Case::kinds("sendmsg_zc_refused", &[MSG_ZC], sendmsg_zc_refused),
    Case::kinds("recv_zc_refused", &[Opcode(RecvZc::CODE)], recv_zc_refused),
];

const HELLO: &[u8] = b"hello";

fn hello(fd: Fd) -> SendZc {
    SendZc::new(fd, HELLO.as_ptr(), HELLO.len() as u32)
}

/// Sends, and waits for both the result and the notification, if there is one.
fn sent(ring: &mut dyn Ring, entry: Entry) -> Result<(Completion, Option<Completion>)> {
    // SAFETY: every caller in this file sends constants or data on its own stack, and its files
    // outlive the call.
    unsafe { ring.push(&[entry.user_data(1)]) }?;
    let done = reap_to_the_last(ring)?;
    let (result, notification) = (done[0], done.get(1).copied());
    assert!(!result.notif() && done.len() <= 2, "{done:?}");
    assert_eq!(result.more(), notification.is_some());
    assert!(notification.is_none_or(|cqe| cqe.notif()), "{done:?}");
    Ok((result, notification))
}

/// Sends from a connected socket, on a ring of its own.
fn works(build: impl FnOnce(Fd) -> Entry) -> Result {
    let (one, _other) = tcp()?;
    let mut ring = KINDS[0].build(&Setup::USUAL)?;
    sent(&mut *ring, build(Fd(one.as_raw_fd())))?.0.to_result()?;
    Ok(())
}

const USAGE: Need = Trial {
    what: "usage reports of zero-copy sends",
    refusal: Errno::INVAL,
    call: || works(|fd| hello(fd).recvsend_flags(RecvSendFlags::ZC_REPORT_USAGE).build()),
};
const VECTORIZED: Need = Trial {
    what: "zero-copy send of several buffers",
    refusal: Errno::INVAL,
    call: || {
        let vectors = [vector(HELLO)];
        works(|fd| SendZc::new(fd, ptr::null(), 1).vectorized(vectors.as_ptr()).build())
    },
};
const NOTIF_USER_DATA: Need = Trial {
    what: "user data of zero-copy notifications",
    refusal: Errno::INVAL,
    call: || works(|fd| hello(fd).notif_user_data(7).build()),
};
const MSG_REGISTERED: Need = Trial {
    what: "zero-copy send of parts of a registered buffer",
    refusal: Errno::INVAL,
    call: || {
        let (one, _other) = tcp()?;
        let mut ring = KINDS[0].build(&Setup::USUAL)?;
        let (_memory, start) = registered(&*ring)?;
        let mut parts = [iovec { iov_base: start.as_ptr().cast(), iov_len: 5 }];
        let message = message(&mut parts);
        let send = SendMsgZc::new(one.as_fd(), &message).buf_index(Some(0)).build();
        sent(&mut *ring, send)?.0.to_result()?;
        Ok(())
    },
};
const MSG_NOTIF_USER_DATA: Need = Trial {
    what: "user data of zero-copy notifications",
    refusal: Errno::INVAL,
    call: || {
        let mut parts = [vector(HELLO)];
        let message = message(&mut parts);
        works(|fd| SendMsgZc::new(fd, &message).notif_user_data(7).build())
    },
};

/// Checks that this data arrives next.
fn hears(other: &mut TcpStream, expected: &[u8]) -> Result {
    let mut said = vec![0; expected.len()];
    other.read_exact(&mut said)?;
    assert_eq!(said, expected);
    Ok(())
}

fn send_zc(ring: &mut dyn Ring) -> Result {
    let (one, mut other) = tcp()?;
    ring.submitter().register_files(&[FileSlot::new(&one)])?;
    for flags in [Flags::empty(), Flags::ASYNC] {
        let send = SendZc::new(Fixed(0), HELLO.as_ptr(), 5).flags(MsgFlags::WAITALL).build();
        let (done, notification) = sent(ring, send.flags(flags))?;
        assert_eq!((done.to_result(), done.user_data()), (Ok(5), 1));
        let notification = notification.expect("there is no notification");
        assert_eq!((notification.to_result(), notification.user_data()), (Ok(0), 1));
        assert!(!notification.zc_copied());
        hears(&mut other, HELLO)?;
    }
    Ok(())
}

/// The loopback device copies the data, and reports that in a bit that no errno uses.
fn send_zc_usage(ring: &mut dyn Ring) -> Result {
    let (one, mut other) = tcp()?;
    let send = hello(Fd(one.as_raw_fd())).recvsend_flags(RecvSendFlags::ZC_REPORT_USAGE).build();
    let (done, notification) = sent(ring, send)?;
    assert_eq!((done.to_result(), done.zc_copied()), (Ok(5), false));
    let notification = notification.expect("there is no notification");
    assert!(notification.zc_copied(), "{notification:?}");
    assert_eq!(notification.to_result(), Ok(sys::IORING_NOTIF_USAGE_ZC_COPIED));
    hears(&mut other, HELLO)
}

fn send_zc_to(ring: &mut dyn Ring) -> Result {
    let (one, other, address) = udp()?;
    let to = hello(Fd(one.as_raw_fd())).dest_addr(address.as_ptr());
    let (done, _) = sent(ring, to.dest_addr_len(address.addr_len()).build())?;
    assert_eq!(done.to_result(), Ok(5));
    let mut said = [0; 8];
    assert_eq!(other.recv_from(&mut said)?, (5, one.local_addr()?));
    assert_eq!(&said[..5], HELLO);
    Ok(())
}

/// Memory that is registered as the only buffer, and that begins with the test data.
fn registered(ring: &dyn Ring) -> Result<(Pages, NonNull<u8>)> {
    let memory = Pages::new(4096)?;
    let start = memory.all().cast::<u8>();
    // SAFETY: the pointer stays within the memory, which nothing else uses.
    unsafe { start.copy_from_nonoverlapping(NonNull::from(HELLO).cast(), 5) };
    let all = iovec { iov_base: start.as_ptr().cast(), iov_len: 4096 };
    // SAFETY: the kernel itself keeps the pages alive.
    unsafe { ring.submitter().register_buffers(&[all]) }?;
    Ok((memory, start))
}

fn send_zc_registered(ring: &mut dyn Ring) -> Result {
    let (one, mut other) = tcp()?;
    let (_memory, start) = registered(ring)?;
    let send =
        |from: *const u8, index| SendZc::new(one.as_fd(), from, 5).buf_index(Some(index)).build();
    let (done, notification) = sent(ring, send(start.as_ptr(), 0))?;
    assert_eq!((done.to_result(), notification.is_some()), (Ok(5), true));
    hears(&mut other, HELLO)?;
    let (done, _) = sent(ring, send(start.as_ptr(), 1))?;
    assert_eq!(done.to_result(), Err(Errno::FAULT));
    let (done, _) = sent(ring, send(HELLO.as_ptr(), 0))?;
    assert_eq!(done.to_result(), Err(Errno::FAULT));
    Ok(())
}

fn send_zc_vectorized(ring: &mut dyn Ring) -> Result {
    let (one, mut other) = tcp()?;
    let vectors = [vector(HELLO), vector(b" world")];
    let send = SendZc::new(one.as_fd(), ptr::null(), 2).vectorized(vectors.as_ptr()).build();
    let (done, notification) = sent(ring, send)?;
    assert_eq!((done.to_result(), notification.is_some()), (Ok(11), true));
    hears(&mut other, b"hello world")
}

fn send_zc_notif_user_data(ring: &mut dyn Ring) -> Result {
    let (one, mut other) = tcp()?;
    let send = hello(Fd(one.as_raw_fd())).notif_user_data(7).build();
    let (done, notification) = sent(ring, send)?;
    assert_eq!((done.to_result(), done.user_data()), (Ok(5), 1));
    assert_eq!(notification.map(|cqe| cqe.user_data()), Some(7));
    hears(&mut other, HELLO)
}

fn send_zc_refused(ring: &mut dyn Ring) -> Result {
    let (one, _other) = tcp()?;
    let (local, _end) = UnixStream::pair()?;
    let file = file_with(b"")?;
    let fd = |fd: &dyn AsRawFd| Fd(fd.as_raw_fd());
    let silent = hello(fd(&one)).build().flags(Flags::SKIP_SUCCESS);
    let refusals = [
        (silent, Errno::INVAL),
        (hello(fd(&local)).build(), Errno::OPNOTSUPP),
        (hello(fd(&file)).build(), Errno::NOTSOCK),
        (hello(Fd(-1)).build(), Errno::BADF),
        (hello(fd(&one)).recvsend_flags(RecvSendFlags::BUNDLE).build(), Errno::INVAL),
    ];
    for (n, (send, errno)) in refusals.into_iter().enumerate() {
        let (done, notification) = sent(ring, send)?;
        assert_eq!(done.to_result(), Err(errno), "{n}");
        // Some failures are not followed by a notification.
        if let Some(notification) = notification {
            assert_eq!(notification.to_result(), Ok(0), "{n}");
        }
    }
    Ok(())
}

fn sendmsg_zc(ring: &mut dyn Ring) -> Result {
    let (one, mut other) = tcp()?;
    let mut parts = [vector(HELLO), vector(b" world")];
    let message = message(&mut parts);
    for flags in [Flags::empty(), Flags::ASYNC] {
        let send = SendMsgZc::new(one.as_fd(), &message).recvsend_flags(RecvSendFlags::POLL_FIRST);
        let (done, notification) = sent(ring, send.build().flags(flags))?;
        assert_eq!((done.to_result(), notification.is_some()), (Ok(11), true));
        hears(&mut other, b"hello world")?;
    }
    Ok(())
}

fn sendmsg_zc_registered(ring: &mut dyn Ring) -> Result {
    let (one, mut other) = tcp()?;
    let (_memory, start) = registered(ring)?;
    let part = |offset: usize, len| iovec {
        iov_base: start.as_ptr().wrapping_add(offset).cast(),
        iov_len: len,
    };
    let mut parts = [part(1, 3), part(0, 2)];
    let within = message(&mut parts);
    let send = |message| SendMsgZc::new(one.as_fd(), message).buf_index(Some(0)).build();
    let (done, notification) = sent(ring, send(&within))?;
    assert_eq!((done.to_result(), notification.is_some()), (Ok(5), true));
    hears(&mut other, b"ellhe")?;
    let mut parts = [part(4094, 3)];
    let beyond = message(&mut parts);
    assert_eq!(sent(ring, send(&beyond))?.0.to_result(), Err(Errno::FAULT));
    Ok(())
}

fn sendmsg_zc_notif_user_data(ring: &mut dyn Ring) -> Result {
    let (one, mut other) = tcp()?;
    let mut parts = [vector(HELLO)];
    let message = message(&mut parts);
    let send = SendMsgZc::new(one.as_fd(), &message).notif_user_data(7).build();
    let (_, notification) = sent(ring, send)?;
    assert_eq!(notification.map(|cqe| cqe.user_data()), Some(7));
    hears(&mut other, HELLO)
}

fn sendmsg_zc_refused(ring: &mut dyn Ring) -> Result {
    let (one, _other) = tcp()?;
    let (local, _end) = UnixStream::pair()?;
    let mut parts = [vector(HELLO)];
    let message = message(&mut parts);
    let no_parts = MsgHdr { msg_iov: ptr::null_mut(), ..message };
    let fd = |fd: &dyn AsRawFd| Fd(fd.as_raw_fd());
    let refusals = [
        (SendMsgZc::new(fd(&local), &message), Errno::OPNOTSUPP),
        (SendMsgZc::new(fd(&one), &no_parts), Errno::FAULT),
        (SendMsgZc::new(fd(&one), ptr::null()), Errno::FAULT),
        (SendMsgZc::new(Fd(-1), &message), Errno::BADF),
    ];
    for (n, (send, errno)) in refusals.into_iter().enumerate() {
        assert_eq!(sent(ring, send.build())?.0.to_result(), Err(errno), "{n}");
    }
    Ok(())
}

/// The ring has no queue of a network device.
fn recv_zc_refused(ring: &mut dyn Ring) -> Result {
    let (one, _other) = tcp()?;
    for ifq in [0, 9] {
        let recv = RecvZc::new(one.as_fd(), 0).ifq(ifq).build();
        // SAFETY: the entry points to no memory.
        assert_eq!(unsafe { ring.run(recv) }?.to_result(), Err(Errno::INVAL));
    }
    Ok(())
}
