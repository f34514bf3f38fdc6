//! Completions that do not tell the whole story: results that differ from the number of bytes in
//! the buffers, and buffers that were consumed for nothing.

use std::io::Read as _;
use std::net::{Shutdown, UdpSocket};
use std::os::unix::net::UnixStream;

use rustix_uring::opcode::{
    Recv, RecvBundle, RecvMsg, RecvMsgMulti, RecvMulti, RecvMultiBundle, SendBundle,
};
use rustix_uring::types::{MsgFlags, MsgHdr, iovec};

use super::*;
use crate::opcode::net::udp;

const RECV: Need = Opcode(IORING_OP_RECV as u8);
const RECVMSG: Need = Opcode(IORING_OP_RECVMSG as u8);
const SEND_BUNDLES: &[Need] = &[BUNDLES, STATUS, Opcode(SendBundle::CODE)];

pub(crate) const CASES: &[Case] = &[
    Case::kinds("truncated", &[STATUS, RECV, MULTISHOT_RECV], |ring| truncated(ring, NONE, ONE)),
    Case::kinds("truncated_incremental", &[INCREMENTAL, STATUS, SOUND, RECV], |ring| {
        truncated(ring, INC, ONE)
    }),
    Case::kinds("truncated_bundle", &[BUNDLES, STATUS, RECV], |ring| {
        truncated(ring, NONE, BUNDLES_OF)
    }),
    Case::kinds("truncated_bundle_incremental", &[BUNDLES, INCREMENTAL, STATUS, SOUND, RECV], {
        |ring| truncated(ring, INC, BUNDLES_OF)
    }),
    Case::kinds("truncated_bundle_of_several", &[BUNDLES, STATUS, RECV], |ring| {
        several(ring, NONE)
    }),
    Case::kinds(
        "truncated_bundle_of_several_incremental",
        &[BUNDLES, INCREMENTAL, STATUS, SOUND, RECV],
        |ring| several(ring, INC),
    ),
    Case::kinds("truncated_example", &[STATUS, RECV, MULTISHOT_RECV], each_in_its_own),
    Case::kinds("discarded", &[STATUS, RECV], discarded),
    Case::kinds("no_room_for_a_header", &[INCREMENTAL, STATUS, RECVMSG], no_room_for_a_header),
    Case::kinds("send_fails", SEND_BUNDLES, |ring| send_fails(ring, NONE)),
    Case::kinds("send_fails_incremental", &[BUNDLES, INCREMENTAL, STATUS], |ring| {
        send_fails(ring, INC)
    }),
    Case::kinds("send_falls_short", SEND_BUNDLES, |ring| send_falls_short(ring, NONE)),
    Case::kinds("send_falls_short_incremental", &[BUNDLES, INCREMENTAL, STATUS], |ring| {
        send_falls_short(ring, INC)
    }),
    Case::kinds("send_len", SEND_BUNDLES, send_len),
];

const MULTISHOT_RECV: Need = Trial {
    what: "multishot receives",
    refusal: Errno::INVAL,
    call: || {
        let mut ring = KINDS[0].build(&Setup::USUAL)?;
        let (one, _, _) = udp()?;
        // SAFETY: the group has no buffer that the kernel could fill, and the socket outlives the
        // operation.
        let done = unsafe { ring.run(RecvMulti::new(one.as_fd(), GROUP).build()) }?;
        Ok(done.to_result().map(drop).or_else(|errno| match errno {
            Errno::NOBUFS | Errno::NOENT => Ok(()),
            errno => Err(errno),
        })?)
    },
};

const BUFFERS: u16 = 6;
const LEN: usize = 200;
const HEADER: usize = 16;

/// A receive operation as these cases use it.
struct Receive {
    name: &'static str,
    build: fn(BorrowedFd<'_>, &mut MsgHdr, MsgFlags) -> Entry,
    bundle: bool,
    /// The length of the header before the payload.
    header: usize,
}

/// The operations that use one buffer.
const ONE: &[Receive] = &[
    Receive {
        name: "Recv",
        build: |fd, _, flags| {
            let recv = Recv::new(fd, std::ptr::null_mut(), 0).buf_group(GROUP).flags(flags);
            recv.build().flags(Flags::BUFFER_SELECT)
        },
        bundle: false,
        header: 0,
    },
    Receive {
        name: "RecvMulti",
        build: |fd, _, flags| RecvMulti::new(fd, GROUP).flags(flags).build(),
        bundle: false,
        header: 0,
    },
    Receive {
        name: "RecvMsg",
        build: |fd, msg, flags| {
            RecvMsg::new(fd, msg).buf_group(GROUP).flags(flags).build().flags(Flags::BUFFER_SELECT)
        },
        bundle: false,
        header: 0,
    },
    Receive {
        name: "RecvMsgMulti",
        build: |fd, msg, flags| RecvMsgMulti::new(fd, msg, GROUP).flags(flags).build(),
        bundle: false,
        header: HEADER,
    },
];

const BUNDLES_OF: &[Receive] = &[
    Receive {
        name: "RecvBundle",
        build: |fd, _, flags| RecvBundle::new(fd, GROUP).flags(flags).build(),
        bundle: true,
        header: 0,
    },
    Receive {
        name: "RecvMultiBundle",
        build: |fd, _, flags| RecvMultiBundle::new(fd, GROUP).flags(flags).build(),
        bundle: true,
        header: 0,
    },
];

/// Two sockets. The first sends to the second.
fn datagrams() -> Result<(UdpSocket, UdpSocket)> {
    let (one, other, _) = udp()?;
    one.connect(other.local_addr()?)?;
    Ok((one, other))
}

/// Waits for the single completion, and cancels a multishot operation.
fn receive(ring: &mut dyn Ring, entry: Entry) -> Result<Completion> {
    // SAFETY: the memory of the entry, the buffers and the socket outlive this call.
    unsafe { ring.push(&[entry.user_data(1)]) }?;
    let mut done = Vec::new();
    while done.is_empty() {
        ring.submit_and_wait(1)?;
        done = ring.reap();
    }
    let mut more = done.iter().all(|cqe| cqe.more());
    if more {
        let cancel = opcode::AsyncCancel::new(1).build().user_data(2);
        // SAFETY: the entry points to no memory.
        unsafe { ring.push(&[cancel]) }?;
        let (mut cancelled, mut rest) = (false, Vec::new());
        while more || !cancelled {
            ring.submit_and_wait(1)?;
            rest.extend(ring.reap());
            cancelled = rest.iter().any(|cqe| cqe.user_data() == 2);
            more = !rest.iter().any(|cqe| cqe.user_data() == 1 && !cqe.more());
        }
    }
    ensure!(done.iter().skip(1).all(|cqe| cqe.buffer_select().is_none()), "{done:?}");
    Ok(done[0])
}

/// Receives datagrams that are shorter than a buffer, exactly as long, longer, and longer than all
/// buffers together. Whatever the completions report, the kernel must still have exactly the
/// buffers that are not done, and the next datagram must be where the tracker reports it.
fn truncated(ring: &mut dyn Ring, flags: BufRingFlags, operations: &[Receive]) -> Result {
    let (sender, receiver) = datagrams()?;
    for operation in operations {
        for msg_flags in [MsgFlags::empty(), MsgFlags::TRUNC] {
            for size in [1, 60, LEN - operation.header, 350, 550, 1350] {
                let context = format!("{} {msg_flags:?}, {size} bytes", operation.name);
                one_truncated(ring, flags, operation, msg_flags, size, &sender, &receiver)
                    .context(context)?;
            }
        }
    }
    Ok(())
}

fn one_truncated(
    ring: &mut dyn Ring,
    flags: BufRingFlags,
    operation: &Receive,
    msg_flags: MsgFlags,
    size: usize,
    sender: &UdpSocket,
    receiver: &UdpSocket,
) -> Result {
    let mut group = Group::new(ring, 8, LEN, flags)?;
    group.add(0..BUFFERS);
    let mut tracker = BufTracker::new();
    let mut part = iovec { iov_base: std::ptr::null_mut(), iov_len: LEN };
    let mut msg = MsgHdr { msg_iov: &raw mut part, msg_iovlen: 1, ..MsgHdr::new() };
    if operation.header > 0 {
        msg = MsgHdr::new();
    }
    let mut ended = [false; BUFFERS as usize];
    for (byte, size) in [(b'a', size), (b'b', 30)] {
        sender.send(&vec![byte; size])?;
        let done = receive(ring, (operation.build)(receiver.as_fd(), &mut msg, msg_flags))?;
        let left = group.bufs.available(&ring.submitter())?;
        if left == 0 && done.buffer_select().is_none() {
            assert_eq!((done.to_result(), ended), (Err(Errno::NOBUFS), [true; 6]));
            receiver.recv(&mut [0; LEN])?;
            break;
        }
        let len = |_| LEN as u32;
        let mut segments = match (operation.bundle, msg_flags == MsgFlags::TRUNC) {
            (true, true) => tracker.taken_segments(&group.bufs, &done, len, left),
            (true, false) => tracker.bundle_segments(&group.bufs, &done, len),
            (false, _) => tracker.segments(&group.bufs, &done, len),
        };
        let mut stored = Vec::new();
        while let Some(segment) = segments.next(&group.bufs) {
            stored.extend_from_slice(group.bytes(segment));
            if segment.done {
                let ended = &mut ended[usize::from(segment.bid)];
                ensure!(!*ended, "a buffer is reported as done twice: {segment:?} of {done:?}");
                *ended = true;
            }
        }
        let payload =
            stored.get(operation.header..).context("the segment is shorter than the header")?;
        // In bundles, a kernel that consumes more than it fills counts the rest as filled.
        let payload = &payload[..payload.len().min(size).min(LEN - operation.header)];
        let fits = size.min(LEN - operation.header);
        ensure!(payload == vec![byte; fits], "{done:?}: {payload:?}");
        let done_with = ended.iter().filter(|ended| **ended).count();
        ensure!(
            usize::from(left) + done_with == 6,
            "the kernel has {left} buffers, done are {ended:?}: {done:?}"
        );
    }
    group.bufs.unregister(&ring.submitter())?;
    Ok(())
}

/// A bundle of up to three buffers, or two and a part, for a message that is longer than they are.
fn several(ring: &mut dyn Ring, flags: BufRingFlags) -> Result {
    let (sender, receiver) = datagrams()?;
    for len in [3 * LEN as u32, 2 * LEN as u32 + 40] {
        for size in [150, 350, 600, 750, 950, 1350] {
            let mut group = Group::new(ring, 8, LEN, flags)?;
            group.add(0..BUFFERS);
            let mut tracker = BufTracker::new();
            let mut ended = 0;
            for (byte, size) in [(b'a', size), (b'b', 30)] {
                sender.send(&vec![byte; size])?;
                let mut entry = recv(receiver.as_fd(), len, BUNDLE).into_raw();
                entry.op_flags = MsgFlags::TRUNC.bits();
                let done = receive(ring, Entry::from_raw(entry))?;
                let left = group.bufs.available(&ring.submitter())?;
                if left == 0 && done.buffer_select().is_none() {
                    assert_eq!((done.to_result(), ended), (Err(Errno::NOBUFS), 6));
                    receiver.recv(&mut [0; LEN])?;
                    break;
                }
                let segments = tracker
                    .taken_segments(&group.bufs, &done, |_| LEN as u32, left)
                    .iter(&group.bufs)
                    .collect::<Vec<_>>();
                ended += segments.iter().filter(|segment| segment.done).count();
                ensure!(
                    usize::from(left) + ended == 6,
                    "the kernel has {left} buffers: {segments:?} of {done:?}"
                );
                let stored: Vec<u8> =
                    segments.iter().flat_map(|one| group.bytes(*one)).copied().collect();
                // The kernel delivered as many bytes as there was room for.
                let room = if byte == b'b' { 30 } else { size.min(2 * LEN) };
                ensure!(stored.len() >= room, "{segments:?} of {done:?}");
                ensure!(stored[..room] == vec![byte; room], "{segments:?} of {done:?}");
            }
            group.bufs.unregister(&ring.submitter())?;
        }
    }
    Ok(())
}

/// Buffers are released as soon as they are done. So with as many datagrams as buffers, each
/// datagram gets a buffer of its own.
/// in one of its own.
fn each_in_its_own(ring: &mut dyn Ring) -> Result {
    let (sender, receiver) = datagrams()?;
    let mut group = Group::new(ring, 4, 100, NONE)?;
    group.add(0..4);
    let mut tracker = BufTracker::new();
    let recv = RecvMulti::new(receiver.as_fd(), GROUP).flags(MsgFlags::TRUNC).build();
    sender.send(&[b'x'; 150])?;
    let done = receive(ring, recv)?;
    assert_eq!(done.to_result(), Ok(150));
    let mut segments = tracker.segments(&group.bufs, &done, |_| 100);
    while let Some(segment) = segments.next(&group.bufs) {
        assert_eq!(tuple(segment), (0, 0, 100, true));
        group.add([segment.bid]);
    }
    assert_eq!(group.bufs.available(&ring.submitter())?, 4);
    let mut taken = [false; 4];
    for n in 0..4 {
        sender.send(&[n; 20])?;
        let done = receive(ring, recv)?;
        let bid = done.buffer_select().context("the completion names no buffer")?;
        assert!(
            !std::mem::replace(&mut taken[usize::from(bid)], true),
            "buffer {bid} is reported twice"
        );
        assert_eq!(group.memory[100 * usize::from(bid)..][..20], [n; 20]);
    }
    Ok(())
}

/// Data that TCP discards fills nothing, but still consumes buffers.
fn discarded(ring: &mut dyn Ring) -> Result {
    let (mut sender, receiver) = crate::opcode::net::tcp()?;
    let mut group = Group::new(ring, 2, 8, NONE)?;
    group.add([0, 1]);
    let mut tracker = BufTracker::new();
    sender.write_all(b"abcdef")?;
    let discard = Recv::new(receiver.as_fd(), std::ptr::null_mut(), 0).flags(MsgFlags::TRUNC);
    let discard = discard.buf_group(GROUP).build().flags(Flags::BUFFER_SELECT);
    let done = receive(ring, discard)?;
    assert_eq!(segments(&mut tracker, &group, &done), [(0, 0, 6, true)]);
    assert_eq!(group.bufs.available(&ring.submitter())?, 1);
    assert_eq!(group.memory, [b'.'; 16]);
    Ok(())
}

/// A rest too small for the header of a message blocks the receive, until the kernel leaves that
/// rest.
fn no_room_for_a_header(ring: &mut dyn Ring) -> Result {
    let (sender, receiver) = datagrams()?;
    let mut group = Group::new(ring, 2, 64, INC)?;
    group.add([0, 1]);
    let msg = MsgHdr::new();
    let recv = || RecvMsgMulti::new(receiver.as_fd(), &raw const msg, GROUP).build();
    sender.send(&[b'a'; 40])?;
    let done = receive(ring, recv())?;
    assert_eq!(done.to_result(), Ok(HEADER as u32 + 40));
    for _ in 0..2 {
        sender.send(b"b")?;
        assert_eq!(receive(ring, recv())?.to_result(), Err(Errno::FAULT));
        assert_eq!(group.bufs.available(&ring.submitter())?, 2);
    }
    Ok(())
}

/// A bundle of sends from the buffers of the group.
fn bundle_of(fd: BorrowedFd<'_>) -> SendBundle {
    SendBundle::new(fd, GROUP).flags(MsgFlags::NOSIGNAL)
}

/// A bundle whose send fails has consumed all of its buffers, and its completion names the first.
fn send_fails(ring: &mut dyn Ring, flags: BufRingFlags) -> Result {
    let (sender, _receiver) = UnixStream::pair()?;
    sender.shutdown(Shutdown::Write)?;
    let mut group = Group::new(ring, 4, 8, flags)?;
    group.add([2, 0, 1]);
    let done = receive(ring, bundle_of(sender.as_fd()).build())?;
    assert_eq!((done.to_result(), done.buffer_select()), (Err(Errno::PIPE), Some(2)));
    let left = group.bufs.available(&ring.submitter())?;
    assert_eq!(left, 0);
    let mut tracker = BufTracker::new();
    let segments = tracker.taken_segments(&group.bufs, &done, |_| 8, left);
    let segments: Vec<_> = segments.iter(&group.bufs).map(tuple).collect();
    assert_eq!(segments, [(2, 0, 0, true), (0, 0, 0, true), (1, 0, 0, true)]);
    Ok(())
}

/// A nonblocking bundle that exceeds the free space of the receiving end.
fn send_falls_short(ring: &mut dyn Ring, flags: BufRingFlags) -> Result {
    const SIZE: usize = 1 << 20;
    let (sender, mut receiver) = UnixStream::pair()?;
    let mut group = Group::new(ring, 4, SIZE, flags)?;
    group.add([2, 0, 1]);
    let done = receive(ring, bundle_of(sender.as_fd()).flags(MsgFlags::DONTWAIT).build())?;
    let sent = done.to_result()?;
    ensure!(sent > 0 && (sent as usize) < 2 * SIZE, "{done:?}");
    let left = group.bufs.available(&ring.submitter())?;
    assert_eq!(left, 0);
    let mut tracker = BufTracker::new();
    let segments = tracker.taken_segments(&group.bufs, &done, |_| SIZE as u32, left);
    let segments: Vec<_> = segments.iter(&group.bufs).collect();
    assert!(segments.iter().map(|one| one.bid).eq([2, 0, 1]), "{segments:?}");
    assert!(segments.iter().all(|one| one.done), "{segments:?}");
    assert_eq!(segments.iter().map(|one| one.len).sum::<u32>(), sent);
    drop(sender);
    let mut arrived = Vec::new();
    receiver.read_to_end(&mut arrived)?;
    assert_eq!(arrived.len(), sent as usize);
    Ok(())
}

/// The length limits the first send to whole buffers. The rest of the group is sent after it.
fn send_len(ring: &mut dyn Ring) -> Result {
    // Each row: the length, and the resulting results and buffers.
    let tries: [(u32, &[(u32, u16)]); 6] = [
        (0, &[(48, 0)]),
        (4, &[(4, 0), (40, 1)]),
        (8, &[(8, 0), (40, 1)]),
        (12, &[(8, 0), (40, 1)]),
        (16, &[(16, 0), (32, 2)]),
        (1000, &[(48, 0)]),
    ];
    for (len, expected) in tries {
        let (sender, mut receiver) = UnixStream::pair()?;
        let mut group = Group::new(ring, 8, 8, NONE)?;
        group.add(0..6);
        // SAFETY: the buffers stay allocated, and the socket outlives the operation.
        unsafe { ring.push(&[bundle_of(sender.as_fd()).len(len).build()]) }?;
        let done = crate::opcode::reap_to_the_last(ring)?;
        let results: Vec<_> = done
            .iter()
            .map(|cqe| {
                Ok((
                    cqe.to_result()?,
                    cqe.buffer_select().context("the completion names no buffer")?,
                ))
            })
            .collect::<Result<_>>()?;
        assert_eq!(results, expected, "{len}");
        drop(sender);
        let mut arrived = Vec::new();
        receiver.read_to_end(&mut arrived)?;
        assert_eq!(arrived.len() as u32, expected.iter().map(|(sent, _)| sent).sum());
        assert_eq!(group.bufs.available(&ring.submitter())?, 0);
        group.bufs.unregister(&ring.submitter())?;
    }
    Ok(())
}
