//! Receiving data.

use std::io::Write as _;
use std::net::Shutdown;
use std::os::fd::{AsFd, AsRawFd};
use std::ptr;

use rustix_uring::Errno;
use rustix_uring::opcode::{
    AsyncCancel, ProvideBuffers, Recv, RecvBundle, RecvMulti, RecvMultiBundle,
};
use rustix_uring::squeue::Entry;
use rustix_uring::types::{Fd, FileSlot, Fixed, MsgFlags, RecvSendFlags, iovec};

use super::tcp;
use crate::harness::Need::*;
use crate::harness::*;
use crate::opcode::{reap, reap_to_the_last, taken};

const RECV: Need = Opcode(Recv::CODE);

pub(crate) const CASES: &[Case] = &[
    Case::kinds("recv", &[RECV], recv),
    Case::kinds("recv_into_group", &[RECV], recv_into_group),
    Case::kinds("recv_registered", &[RECV, REGISTERED], recv_registered),
    Case::kinds("recv_poll_first", &[RECV, POLL_FIRST], recv_poll_first),
    Case::kinds("recv_nonempty", &[RECV, POLL_FIRST], recv_nonempty),
    Case::kinds("recv_refused", &[RECV], recv_refused),
    Case::kinds("recv_multi", &[RECV, MULTI], recv_multi),
    Case::kinds("recv_multi_to_the_end", &[RECV, MULTI], recv_multi_to_the_end),
    Case::kinds("recv_multi_limited", &[RECV, LIMITS], recv_multi_limited),
    Case::kinds("recv_multi_refused", &[RECV, MULTI], recv_multi_refused),
    Case::kinds("recv_bundle", &[RECV, BUNDLE], recv_bundle),
    Case::kinds("recv_multi_bundle", &[RECV, BUNDLE], recv_multi_bundle),
];

/// Receives five bytes that are available, with the entry from `build`, on a ring of its own.
fn works(build: impl FnOnce(Fd, *mut u8) -> Entry, fine: &[Errno]) -> Result {
    let (mut one, other) = tcp()?;
    one.write_all(b"hello")?;
    let mut buf = [0; 5];
    // SAFETY: `buf` outlives the operation, for which `taken` waits.
    unsafe { taken(build(Fd(other.as_raw_fd()), buf.as_mut_ptr()), fine) }
}

const NO_GROUP: &[Errno] = &[Errno::NOENT, Errno::NOBUFS];

const REGISTERED: Need = Trial {
    what: "receive into a registered buffer",
    refusal: Errno::INVAL,
    call: || works(|fd, buf| Recv::new(fd, buf, 5).buf_index(Some(0)).build(), &[Errno::FAULT]),
};
const POLL_FIRST: Need = Trial {
    what: "receive with RECVSEND_POLL_FIRST",
    refusal: Errno::INVAL,
    call: || {
        let poll_first = RecvSendFlags::POLL_FIRST;
        works(|fd, buf| Recv::new(fd, buf, 5).recvsend_flags(poll_first).build(), &[])
    },
};
const MULTI: Need = Trial {
    what: "multishot receive",
    refusal: Errno::INVAL,
    call: || works(|fd, _| RecvMulti::new(fd, 9).build(), NO_GROUP),
};
const LIMITS: Need = Trial {
    what: "multishot receive with a length limit",
    refusal: Errno::INVAL,
    call: || works(|fd, _| RecvMulti::new(fd, 9).len(5).total_len(9).build(), NO_GROUP),
};
const BUNDLE: Need = Trial {
    what: "receive into a bundle of provided buffers",
    refusal: Errno::INVAL,
    call: || works(|fd, _| RecvBundle::new(fd, 9).build(), NO_GROUP),
};

/// Receives, and returns the received bytes.
fn received(
    ring: &mut dyn Ring,
    build: impl FnOnce(*mut u8, u32) -> Recv,
) -> Result<Result<Vec<u8>, Errno>> {
    let mut buf = [0; 16];
    let recv = build(buf.as_mut_ptr(), 16).build();
    // SAFETY: `buf` outlives the operation, for which `run` waits.
    let done = unsafe { ring.run(recv) }?;
    Ok(done.to_result().map(|n| buf[..n as usize].to_vec()))
}

fn recv(ring: &mut dyn Ring) -> Result {
    let (mut one, other) = tcp()?;
    ring.submitter().register_files(&[FileSlot::new(&other)])?;
    let nothing =
        received(ring, |buf, len| Recv::new(other.as_fd(), buf, len).flags(MsgFlags::DONTWAIT))?;
    assert_eq!(nothing, Err(Errno::AGAIN));
    one.write_all(b"hello world")?;
    let look = received(ring, |buf, len| Recv::new(Fixed(0), buf, len).flags(MsgFlags::PEEK))?;
    assert_eq!(look.as_deref(), Ok(&b"hello world"[..]));
    let first = received(ring, |buf, _| Recv::new(other.as_fd(), buf, 5))?;
    assert_eq!(first.as_deref(), Ok(&b"hello"[..]));
    let rest = received(ring, |buf, len| Recv::new(Fixed(0), buf, len))?;
    assert_eq!(rest.as_deref(), Ok(&b" world"[..]));

    // With `WAITALL`, the receive completes only with the whole length.
    let mut buf = [0; 10];
    let all = Recv::new(other.as_fd(), buf.as_mut_ptr(), 10).flags(MsgFlags::WAITALL).build();
    // SAFETY: `buf` outlives the operation, whose completion is awaited.
    unsafe { ring.push(&[all]) }?;
    ring.submit()?;
    for part in [b"first", b"secon"] {
        assert!(ring.reap().is_empty());
        one.write_all(part)?;
    }
    assert_eq!(ring.complete(1)?[0].to_result(), Ok(10));
    assert_eq!(&buf, b"firstsecon");

    one.shutdown(Shutdown::Write)?;
    let end = received(ring, |buf, len| Recv::new(other.as_fd(), buf, len))?;
    assert_eq!(end.as_deref(), Ok(&b""[..]));
    Ok(())
}

const GROUP: u16 = 4;
const SIZE: usize = 8;

/// The buffers of a group, with IDs from 10.
struct Group {
    memory: Pages,
}

impl Group {
    fn provided(ring: &mut dyn Ring, n: u16) -> Result<Self> {
        let group = Self { memory: Pages::new(SIZE * usize::from(n))? };
        let start = group.memory.all().cast::<u8>().as_ptr();
        let provide = ProvideBuffers::new(start, SIZE as u32, n.into(), GROUP, 10).build();
        // SAFETY: the memory outlives the ring's operations, all of which are awaited.
        assert_eq!(unsafe { ring.run(provide) }?.to_result(), Ok(0));
        Ok(group)
    }

    /// The data in the buffer that a completion names. For a bundle, also the data in the following
    /// buffers.
    fn content(&self, cqe: &Completion) -> Result<Vec<u8>> {
        let len = cqe.to_result()? as usize;
        let bid = cqe.buffer_select().expect("the completion names no buffer");
        assert!(bid >= 10, "{cqe:?}");
        // SAFETY: the memory is initialized, and the kernel has finished with this buffer.
        let all = unsafe { self.memory.all().as_ref() };
        Ok(all[usize::from(bid - 10) * SIZE..][..len].to_vec())
    }
}

fn recv_into_group(ring: &mut dyn Ring) -> Result {
    let (mut one, other) = tcp()?;
    let group = Group::provided(ring, 2)?;
    one.write_all(b"hello")?;
    let recv = Recv::provided(&other, GROUP, 100).build();
    // SAFETY: the operation uses only the provided memory.
    let done = unsafe { ring.run(recv) }?;
    assert_eq!(group.content(&done)?, b"hello");
    Ok(())
}

fn recv_registered(ring: &mut dyn Ring) -> Result {
    let (mut one, other) = tcp()?;
    one.write_all(b"hello")?;
    let memory = Pages::new(4096)?;
    let start = memory.all().cast::<u8>();
    let all = iovec { iov_base: start.as_ptr().cast(), iov_len: 4096 };
    // SAFETY: the memory outlives the ring's operations.
    unsafe { ring.submitter().register_buffers(&[all]) }?;
    let recv = |index| Recv::new(other.as_fd(), start.as_ptr(), 8).buf_index(Some(index)).build();
    // SAFETY: the memory outlives the receives, for which `run` waits.
    let (wrong, right) = unsafe { (ring.run(recv(1))?, ring.run(recv(0))?) };
    assert_eq!((wrong.to_result(), right.to_result()), (Err(Errno::FAULT), Ok(5)));
    // SAFETY: the memory is initialized, and the operation has completed.
    assert_eq!(unsafe { &memory.all().as_ref()[..6] }, b"hello\0");
    Ok(())
}

fn recv_poll_first(ring: &mut dyn Ring) -> Result {
    let (mut one, other) = tcp()?;
    one.write_all(b"hello")?;
    let first =
        |buf, len| Recv::new(other.as_fd(), buf, len).recvsend_flags(RecvSendFlags::POLL_FIRST);
    assert_eq!(received(ring, first)?.as_deref(), Ok(&b"hello"[..]));
    Ok(())
}

/// The completion tells whether more data is available.
fn recv_nonempty(ring: &mut dyn Ring) -> Result {
    let (mut one, other) = tcp()?;
    one.write_all(b"hello world")?;
    for (len, more) in [(5, true), (6, false)] {
        let mut buf = [0; 8];
        let recv = Recv::new(other.as_fd(), buf.as_mut_ptr(), len).build();
        // SAFETY: `buf` outlives the operation, for which `run` waits.
        let done = unsafe { ring.run(recv) }?;
        assert_eq!((done.to_result(), done.sock_nonempty()), (Ok(len), more));
    }
    Ok(())
}

fn recv_refused(ring: &mut dyn Ring) -> Result {
    let (mut one, other) = tcp()?;
    one.write_all(b"hello")?;
    let alone = rustix::net::socket(super::INET, super::STREAM, None)?;
    let file = file_with(b"")?;
    let fd = |fd: &dyn AsRawFd| Fd(fd.as_raw_fd());
    let refusals =
        [(fd(&alone), Errno::NOTCONN), (fd(&file), Errno::NOTSOCK), (Fd(-1), Errno::BADF)];
    for (fd, errno) in refusals {
        assert_eq!(received(ring, |buf, len| Recv::new(fd, buf, len))?, Err(errno));
    }
    let nowhere = received(ring, |_, len| Recv::new(other.as_fd(), ptr::null_mut(), len))?;
    assert_eq!(nowhere, Err(Errno::FAULT));
    let unknown = RecvSendFlags::from_bits_retain(1 << 12);
    let recv = |buf, len| Recv::new(other.as_fd(), buf, len).recvsend_flags(unknown);
    assert_eq!(received(ring, recv)?, Err(Errno::INVAL));
    Ok(())
}

/// Starts an operation that uses only the provided memory.
fn start(ring: &mut dyn Ring, entry: Entry) -> Result {
    // SAFETY: the group's memory outlives the operation, whose completion every caller awaits.
    unsafe { ring.push(&[entry.user_data(1)]) }?;
    ring.submit()?;
    Ok(())
}

/// Each message goes into a buffer of its own, until no buffer is left or the receive is canceled.
fn recv_multi(ring: &mut dyn Ring) -> Result {
    let (mut one, other) = tcp()?;
    let group = Group::provided(ring, 3)?;
    let recv = RecvMulti::new(other.as_fd(), GROUP).build();
    start(ring, recv)?;
    for word in [b"one", b"two"] {
        one.write_all(word)?;
        let done = reap(ring, 1)?;
        assert!(done[0].more(), "{done:?}");
        assert_eq!(group.content(&done[0])?, word);
    }
    one.write_all(b"six")?;
    ring.submit_and_wait(1)?;
    let mut done = ring.reap();
    assert_eq!(group.content(&done[0])?, b"six");
    // The kernel reports the lack of buffers at once, or when it needs one.
    one.write_all(b"ten")?;
    if done[done.len() - 1].more() {
        done.extend(reap(ring, 1)?);
    }
    assert_eq!((done[1].to_result(), done[1].more()), (Err(Errno::NOBUFS), false));
    assert_eq!(done[1].buffer_select(), None);

    let group = Group::provided(ring, 2)?;
    start(ring, recv)?;
    assert_eq!(group.content(&reap(ring, 1)?[0])?, b"ten");
    // SAFETY: a cancellation uses no memory.
    unsafe { ring.push(&[AsyncCancel::new(1).build().user_data(2)]) }?;
    let done = reap(ring, 2)?;
    assert_eq!((done[0].to_result(), done[0].more()), (Err(Errno::CANCELED), false));
    assert_eq!(done[1].to_result(), Ok(0));
    Ok(())
}

/// At the end of the stream, the multishot receive ends with a success.
fn recv_multi_to_the_end(ring: &mut dyn Ring) -> Result {
    let (mut one, other) = tcp()?;
    let group = Group::provided(ring, 3)?;
    start(ring, RecvMulti::new(other.as_fd(), GROUP).build())?;
    one.write_all(b"hello")?;
    let done = reap(ring, 1)?;
    assert_eq!(group.content(&done[0])?, b"hello");
    drop(one);
    let done = reap(ring, 1)?;
    assert_eq!((done[0].to_result(), done[0].more()), (Ok(0), false));
    Ok(())
}

/// Both the length of each receive and the total length are limited.
fn recv_multi_limited(ring: &mut dyn Ring) -> Result {
    let (mut one, other) = tcp()?;
    let group = Group::provided(ring, 8)?;
    one.write_all(b"one two six ten")?;
    let recv = RecvMulti::new(other.as_fd(), GROUP).len(4).total_len(10).build();
    start(ring, recv)?;
    let done = reap_to_the_last(ring)?;
    let parts = done.iter().map(|cqe| group.content(cqe)).collect::<Result<Vec<_>>>()?;
    // The receive stops at the limit, after completing the current part.
    assert_eq!(parts, [&b"one "[..], b"two ", b"six "]);
    Ok(())
}

fn recv_multi_refused(ring: &mut dyn Ring) -> Result {
    let (one, _other) = tcp()?;
    let recv = RecvMulti::new(one.as_fd(), GROUP);
    let mut no_group = recv.build().clear_flags();
    no_group.as_raw_mut().addr = 0;
    let all = recv.flags(MsgFlags::WAITALL).build();
    // SAFETY: the entries use no memory.
    let mut ring = unsafe { ring.runner() };
    ring.refuses([(no_group, Errno::INVAL), (all, Errno::INVAL)])
}

/// The received data of a stream, in the order of the completions.
fn said(group: &Group, done: &[Completion]) -> Result<Vec<u8>> {
    let data = done.iter().filter(|cqe| cqe.buffer_select().is_some());
    Ok(data.map(|cqe| group.content(cqe)).collect::<Result<Vec<_>>>()?.concat())
}

const TEXT: &[u8] = b"a text of more than eight bytes";

/// The kernel chooses how many buffers to use.
fn recv_bundle(ring: &mut dyn Ring) -> Result {
    let (mut one, other) = tcp()?;
    let group = Group::provided(ring, 4)?;
    one.write_all(TEXT)?;
    start(ring, RecvBundle::new(other.as_fd(), GROUP).build())?;
    let first = said(&group, &reap_to_the_last(ring)?)?;
    assert!(first.len() >= SIZE && TEXT.starts_with(&first), "{first:?}");
    let nothing = RecvBundle::new(other.as_fd(), GROUP + 1).build();
    start(ring, nothing)?;
    let done = reap_to_the_last(ring)?;
    assert!(matches!(done[0].to_result(), Err(Errno::NOENT | Errno::NOBUFS)), "{done:?}");
    Ok(())
}

fn recv_multi_bundle(ring: &mut dyn Ring) -> Result {
    let (mut one, other) = tcp()?;
    let group = Group::provided(ring, 3)?;
    one.write_all(TEXT)?;
    start(ring, RecvMultiBundle::new(other.as_fd(), GROUP).build())?;
    // The buffers run out before the text ends. The kernel may or may not report that with an
    // error.
    let done = reap_to_the_last(ring)?;
    assert_eq!(said(&group, &done)?, TEXT[..3 * SIZE]);
    let last = done[done.len() - 1];
    assert!(matches!(last.to_result(), Ok(1..) | Err(Errno::NOBUFS)), "{done:?}");
    Ok(())
}
