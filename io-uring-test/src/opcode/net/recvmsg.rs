//! Receiving messages: addresses, control messages, and truncation.

use std::fs::File;
use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, FromRawFd};
use std::os::unix::net::UnixDatagram;
use std::ptr;

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use rustix_uring::Errno;
use rustix_uring::opcode::{ProvideBuffers, RecvMsg, RecvMsgMulti};
use rustix_uring::squeue::Flags;
use rustix_uring::types::{
    ControlMessages, Fd, MsgFlags, MsgHdr, RecvMsgOut, SocketAddrBuf, iovec,
};

use super::{tcp, udp};
use crate::harness::Need::*;
use crate::harness::*;
use crate::opcode::{reap_to_the_last, taken};

const RECVMSG: Need = Opcode(RecvMsg::CODE);

pub(crate) const CASES: &[Case] = &[
    Case::kinds("recvmsg_once", &[RECVMSG], recvmsg_once),
    Case::kinds("recvmsg_control_messages", &[RECVMSG], recvmsg_control_messages),
    Case::kinds("recvmsg_cut_off", &[RECVMSG], recvmsg_cut_off),
    Case::kinds("recvmsg_into_group", &[RECVMSG], recvmsg_into_group),
    Case::kinds("recvmsg_refused", &[RECVMSG], recvmsg_refused),
    Case::kinds("recvmsg_multi", &[RECVMSG, MULTI], recvmsg_multi),
    Case::kinds("recvmsg_multi_empty", &[RECVMSG, MULTI], recvmsg_multi_empty),
    Case::kinds(
        "recvmsg_multi_control_messages",
        &[RECVMSG, MULTI],
        recvmsg_multi_control_messages,
    ),
    Case::kinds("recvmsg_multi_cut_off", &[RECVMSG, MULTI], recvmsg_multi_cut_off),
    Case::kinds("recvmsg_multi_refused", &[RECVMSG, MULTI], recvmsg_multi_refused),
];

const MULTI: Need = Trial {
    what: "multishot receive of messages",
    refusal: Errno::INVAL,
    call: || {
        let (one, other, _) = udp()?;
        one.send_to(b"hello", other.local_addr()?)?;
        let msghdr = MsgHdr::new();
        let recv = RecvMsgMulti::new(other.as_fd(), &msghdr, 9).build();
        // SAFETY: `msghdr` outlives the operation, which finds no provided buffer.
        unsafe { taken(recv, &[Errno::NOENT, Errno::NOBUFS]) }
    },
};

fn vector(bytes: &mut [u8]) -> iovec {
    iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() }
}

fn recvmsg_once(ring: &mut dyn Ring) -> Result {
    // SAFETY: entries point only to memory on this stack, which outlives each call.
    let ring = &mut unsafe { ring.runner() };
    let (one, other, _) = udp()?;
    for flags in [Flags::empty(), Flags::ASYNC] {
        one.send_to(b"hello world", other.local_addr()?)?;
        let (mut first, mut second) = ([0; 5], [0; 16]);
        let mut parts = [vector(&mut first), vector(&mut second)];
        let mut sender = SocketAddrBuf::new();
        let (msg_name, msg_namelen) = sender.as_mut_ptrs();
        let mut message = MsgHdr {
            msg_name,
            // SAFETY: the length is valid, and nothing else writes to it.
            msg_namelen: unsafe { msg_namelen.read() },
            msg_iov: parts.as_mut_ptr(),
            msg_iovlen: 2,
            ..MsgHdr::new()
        };
        let recv = RecvMsg::new(other.as_fd(), &raw mut message).build();
        assert_eq!(ring.result(recv.flags(flags))?, Ok(11));
        assert_eq!((&first, &second[..6]), (b"hello", &b" world"[..]));
        assert_eq!(message.msg_flags, MsgFlags::empty());
        assert_eq!(message.msg_namelen, 16);
        assert_eq!(sender.to_socket_addr(), Some(one.local_addr()?));
    }
    Ok(())
}

/// Sends a message that carries a file descriptor.
fn send_file(from: &UnixDatagram, file: &File) -> Result {
    let mut room = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut room);
    let files = [file.as_fd()];
    assert!(control.push(SendAncillaryMessage::ScmRights(&files)));
    sendmsg(from, &[IoSlice::new(b"a file")], &mut control, SendFlags::empty())?;
    Ok(())
}

/// The file that a message carries.
fn file_in(mut messages: ControlMessages<'_>) -> Result<File> {
    let message = messages.next().expect("the message carries no file");
    assert_eq!((message.level, message.kind), (libc::SOL_SOCKET, libc::SCM_RIGHTS));
    assert_eq!(messages.next(), None);
    let fd = i32::from_ne_bytes(message.data.try_into()?);
    // SAFETY: the kernel created the descriptor for this message, and this is its only owner.
    Ok(unsafe { File::from_raw_fd(fd) })
}

fn recvmsg_control_messages(ring: &mut dyn Ring) -> Result {
    // SAFETY: entries point only to memory on this stack, which outlives each call.
    let ring = &mut unsafe { ring.runner() };
    let (one, other) = UnixDatagram::pair()?;
    send_file(&one, &file_with(b"hello")?)?;
    let (mut text, mut control) = ([0; 16], [0; 64]);
    let mut parts = [vector(&mut text)];
    let mut message = MsgHdr {
        msg_iov: parts.as_mut_ptr(),
        msg_iovlen: 1,
        msg_control: control.as_mut_ptr().cast(),
        msg_controllen: control.len(),
        ..MsgHdr::new()
    };
    let recv = RecvMsg::new(other.as_fd(), &raw mut message).flags(MsgFlags::CMSG_CLOEXEC);
    assert_eq!(ring.result(recv.build())?, Ok(6));
    assert_eq!(message.msg_flags, MsgFlags::CMSG_CLOEXEC);
    let file = file_in(ControlMessages::new(&control[..message.msg_controllen]))?;
    assert_eq!(content(&file)?, b"hello");
    Ok(())
}

fn recvmsg_cut_off(ring: &mut dyn Ring) -> Result {
    // SAFETY: entries point only to memory on this stack, which outlives each call.
    let ring = &mut unsafe { ring.runner() };
    let (one, other) = UnixDatagram::pair()?;
    send_file(&one, &file_with(b"hello")?)?;
    let mut text = [0; 3];
    let mut parts = [vector(&mut text)];
    let mut message = MsgHdr { msg_iov: parts.as_mut_ptr(), msg_iovlen: 1, ..MsgHdr::new() };
    // With the flag, the result is the length before truncation.
    let recv = RecvMsg::new(other.as_fd(), &raw mut message).flags(MsgFlags::TRUNC).build();
    assert_eq!(ring.result(recv)?, Ok(6));
    assert_eq!(message.msg_flags, MsgFlags::TRUNC | MsgFlags::CTRUNC);
    assert_eq!(&text, b"a f");
    Ok(())
}

const GROUP: u16 = 4;
const SIZE: usize = 128;

/// Provides buffers with IDs from 0.
fn provide(ring: &mut dyn Ring, buffers: &mut [[u8; SIZE]]) -> Result {
    // SAFETY: entries point only to memory on this stack, which outlives each call.
    let ring = &mut unsafe { ring.runner() };
    let (start, n) = (buffers.as_mut_ptr().cast(), buffers.len() as u16);
    let provide = ProvideBuffers::new(start, SIZE as u32, n.into(), GROUP, 0).build();
    assert_eq!(ring.result(provide)?, Ok(0));
    Ok(())
}

fn recvmsg_into_group(ring: &mut dyn Ring) -> Result {
    let (one, other, _) = udp()?;
    let mut buffers = [[0; SIZE]; 1];
    provide(ring, &mut buffers)?;
    one.send_to(b"hello", other.local_addr()?)?;
    // The null pointer has no effect here, but the length limits the receive.
    let mut part = [iovec { iov_base: ptr::null_mut(), iov_len: SIZE }];
    let mut message = MsgHdr { msg_iov: part.as_mut_ptr(), msg_iovlen: 1, ..MsgHdr::new() };
    let recv = RecvMsg::new(other.as_fd(), &raw mut message).buf_group(GROUP).build();
    // SAFETY: message and buffers outlive the operation, for which `run` waits.
    let done = unsafe { ring.run(recv.flags(Flags::BUFFER_SELECT)) }?;
    assert_eq!((done.to_result(), done.buffer_select()), (Ok(5), Some(0)));
    assert_eq!(&buffers[0][..6], b"hello\0");
    Ok(())
}

fn recvmsg_refused(ring: &mut dyn Ring) -> Result {
    // SAFETY: entries point only to memory on this stack, which outlives each call.
    let ring = &mut unsafe { ring.runner() };
    let (one, _other, _) = udp()?;
    let file = file_with(b"")?;
    let mut message = MsgHdr::new();
    let fd = |fd: &dyn AsRawFd| Fd(fd.as_raw_fd());
    let refusals = [
        (RecvMsg::new(fd(&one), ptr::null_mut()), Errno::FAULT),
        (RecvMsg::new(fd(&one), &raw mut message).flags(MsgFlags::DONTWAIT), Errno::AGAIN),
        (RecvMsg::new(fd(&file), &raw mut message), Errno::NOTSOCK),
        (RecvMsg::new(Fd(-1), &raw mut message), Errno::BADF),
    ];
    ring.refuses(refusals.map(|(recv, errno)| (recv.build(), errno)))
}

/// Receives the available messages until the operation ends, and returns the filled part of each
/// buffer.
fn all<'b>(
    ring: &mut dyn Ring,
    recv: RecvMsgMulti,
    buffers: &'b [[u8; SIZE]],
) -> Result<(Vec<&'b [u8]>, Completion)> {
    // SAFETY: what the operation uses is on the caller's stack, and its completion is awaited.
    unsafe { ring.push(&[recv.build()]) }?;
    let done = reap_to_the_last(ring)?;
    let mut filled = Vec::new();
    for cqe in &done {
        if let Some(bid) = cqe.buffer_select() {
            filled.push(&buffers[usize::from(bid)][..cqe.to_result()? as usize]);
        }
    }
    Ok((filled, done[done.len() - 1]))
}

fn recvmsg_multi(ring: &mut dyn Ring) -> Result {
    let (one, other, _) = udp()?;
    let mut buffers = [[0; SIZE]; 2];
    provide(ring, &mut buffers)?;
    let msghdr = MsgHdr { msg_namelen: 28, ..MsgHdr::new() };
    let words = [&b"hello"[..], b"world"];
    for word in words.into_iter().chain([&b"too many"[..]]) {
        one.send_to(word, other.local_addr()?)?;
    }
    let recv = RecvMsgMulti::new(other.as_fd(), &msghdr, GROUP);
    let (filled, last) = all(ring, recv, &buffers)?;
    assert_eq!((filled.len(), last.to_result()), (2, Err(Errno::NOBUFS)));
    for (filled, word) in filled.into_iter().zip(words) {
        let message = RecvMsgOut::parse(filled, &msghdr)?;
        assert_eq!(message.socket_addr(), Some(one.local_addr()?));
        assert_eq!((message.incoming_name_len(), message.is_name_data_truncated()), (16, false));
        assert_eq!(message.payload_data(), word);
        assert_eq!(message.incoming_payload_len() as usize, word.len());
        assert_eq!(message.payload_range(), 44..44 + word.len());
        assert_eq!((message.flags(), message.control_messages().count()), (MsgFlags::empty(), 0));
        assert!(RecvMsgOut::parse(&filled[..43], &msghdr).is_err());
    }
    Ok(())
}

/// Receives a message without payload, and the message that ends the operation.
fn recvmsg_multi_empty(ring: &mut dyn Ring) -> Result {
    let (one, other, _) = udp()?;
    let mut buffers = [[0; SIZE]; 2];
    provide(ring, &mut buffers)?;
    let msghdr = MsgHdr { msg_namelen: 28, ..MsgHdr::new() };
    one.send_to(b"", other.local_addr()?)?;
    let recv = RecvMsgMulti::new(other.as_fd(), &msghdr, GROUP);
    let (filled, last) = all(ring, recv, &buffers)?;
    assert_eq!((filled.len(), last.to_result()), (1, Ok(44)));
    let message = RecvMsgOut::parse(filled[0], &msghdr)?;
    assert_eq!(message.socket_addr(), Some(one.local_addr()?));
    assert_eq!(message.payload_data(), b"");
    Ok(())
}

fn recvmsg_multi_control_messages(ring: &mut dyn Ring) -> Result {
    let (one, other) = UnixDatagram::pair()?;
    let mut buffers = [[0; SIZE]; 1];
    provide(ring, &mut buffers)?;
    let msghdr = MsgHdr { msg_controllen: 64, ..MsgHdr::new() };
    send_file(&one, &file_with(b"hello")?)?;
    one.send(b"too many")?;
    let recv = RecvMsgMulti::new(other.as_fd(), &msghdr, GROUP).flags(MsgFlags::CMSG_CLOEXEC);
    let (filled, last) = all(ring, recv, &buffers)?;
    assert_eq!((filled.len(), last.to_result()), (1, Err(Errno::NOBUFS)));
    let message = RecvMsgOut::parse(filled[0], &msghdr)?;
    assert_eq!(message.payload_data(), b"a file");
    let file = file_in(message.control_messages())?;
    assert_eq!(content(&file)?, b"hello");
    assert_eq!(message.incoming_control_len() as usize, message.control_data().len());
    assert!(!message.is_control_data_truncated() && !message.is_payload_truncated());
    Ok(())
}

fn recvmsg_multi_cut_off(ring: &mut dyn Ring) -> Result {
    let (one, other, _) = udp()?;
    let mut buffers = [[0; SIZE]; 1];
    provide(ring, &mut buffers)?;
    let msghdr = MsgHdr { msg_namelen: 4, ..MsgHdr::new() };
    one.send_to(&[7; 200], other.local_addr()?)?;
    one.send_to(b"too many", other.local_addr()?)?;
    let recv = RecvMsgMulti::new(other.as_fd(), &msghdr, GROUP).flags(MsgFlags::TRUNC);
    let (filled, last) = all(ring, recv, &buffers)?;
    assert_eq!((filled.len(), last.to_result()), (1, Err(Errno::NOBUFS)));
    assert_eq!(filled[0].len(), SIZE);
    let message = RecvMsgOut::parse(filled[0], &msghdr)?;
    assert_eq!((message.name_data().len(), message.is_name_data_truncated()), (4, true));
    assert_eq!(message.socket_addr(), None);
    assert_eq!(message.payload_data(), [7; SIZE - 16 - 4]);
    assert_eq!((message.incoming_payload_len(), message.is_payload_truncated()), (200, true));
    Ok(())
}

fn recvmsg_multi_refused(ring: &mut dyn Ring) -> Result {
    // SAFETY: entries point only to memory on this stack, which outlives each call.
    let ring = &mut unsafe { ring.runner() };
    let (one, _other) = tcp()?;
    let msghdr = MsgHdr::new();
    let recv = RecvMsgMulti::new(one.as_fd(), &msghdr, GROUP);
    // A buffer too small for the header makes the receive fail.
    let mut small = [0; SIZE];
    let provide = ProvideBuffers::new(small.as_mut_ptr(), 8, 1, GROUP, 0).build();
    assert_eq!(ring.result(provide)?, Ok(0));
    ring.refuses([
        (recv.flags(MsgFlags::WAITALL).build(), Errno::INVAL),
        (recv.build().clear_flags(), Errno::INVAL),
    ])?;
    let one_nothing = RecvMsgMulti::new(one.as_fd(), ptr::null(), GROUP).build();
    assert_eq!(ring.result(one_nothing)?, Err(Errno::FAULT));
    let (one, other, _) = udp()?;
    one.send_to(b"hello", other.local_addr()?)?;
    let recv = RecvMsgMulti::new(other.as_fd(), &msghdr, GROUP).build();
    assert_eq!(ring.result(recv)?, Err(Errno::FAULT));
    Ok(())
}
