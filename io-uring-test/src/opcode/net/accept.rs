//! Accepting connections.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd};
use std::ptr;
use std::thread;
use std::time::Duration;

use rustix::fs::{OFlags, fcntl_getfl};
use rustix::io::{FdFlags, fcntl_getfd};
use rustix_uring::Errno;
use rustix_uring::opcode::{Accept, AcceptMulti, AsyncCancel, Read};
use rustix_uring::squeue::Entry;
use rustix_uring::types::{
    AcceptFlags, DestinationSlot, Fd, FileSlot, Fixed, SocketAddrBuf, SocketFlags,
};

use super::{LOCAL, tcp};
use crate::harness::Need::*;
use crate::harness::*;
use crate::opcode::reap;

pub(crate) const CASES: &[Case] = &[
    Case::kinds("accept_once", &[Opcode(Accept::CODE)], accept_once),
    Case::kinds("accept_into_slots", &[Opcode(Accept::CODE), INTO_SLOTS], accept_into_slots),
    Case::kinds("accept_at_once_or_later", &[Opcode(Accept::CODE), FLAGS], accept_at_once_or_later),
    Case::kinds("accept_nonblocking", &[Opcode(Accept::CODE)], accept_nonblocking),
    Case::kinds("accept_refused", &[Opcode(Accept::CODE)], accept_refused),
    Case::kinds("accept_multi", &[Opcode(Accept::CODE), MULTI], accept_multi),
    Case::kinds("accept_multi_into_slots", &[Opcode(Accept::CODE), MULTI], accept_multi_into_slots),
    Case::kinds("accept_multi_refused", &[Opcode(Accept::CODE), MULTI], accept_multi_refused),
];

/// Accepts one connection on a ring with a file slot.
fn one_caller(accept: impl FnOnce(Fd) -> Entry) -> Result {
    let (listener, _caller) = called()?;
    let mut ring = KINDS[0].build(&Setup::USUAL)?;
    ring.submitter().register_files(&[FileSlot::EMPTY])?;
    let accept = accept(Fd(listener.as_raw_fd()));
    // SAFETY: the entry points to no memory, and the listener outlives the ring.
    unsafe { ring.push(&[accept]) }?;
    let done = reap(&mut *ring, 1)?;
    if accept.as_raw().file_index == 0 {
        // SAFETY: the operation's result is a descriptor, and this is its only owner.
        drop(unsafe { done[0].to_fd() }?);
    } else {
        done[0].to_fixed()?;
    }
    Ok(())
}

/// Accepts without requesting the peer's address.
fn accept(fd: Fd) -> Accept {
    Accept::new(fd, ptr::null_mut(), ptr::null_mut())
}

const INTO_SLOTS: Need = Trial {
    what: "accepting into an automatically chosen slot",
    refusal: Errno::INVAL,
    call: || {
        let any = Some(DestinationSlot::auto_target());
        one_caller(|fd| accept(fd).file_index(any).build())
    },
};
const FLAGS: Need = Trial {
    what: "nonblocking accept",
    refusal: Errno::INVAL,
    call: || one_caller(|fd| accept(fd).accept_flags(AcceptFlags::DONTWAIT).build()),
};
const MULTI: Need = Trial {
    what: "multishot accept",
    refusal: Errno::INVAL,
    call: || one_caller(|fd| AcceptMulti::new(fd).build()),
};

/// A listener, and a connection to it from this address.
fn called() -> Result<(TcpListener, TcpStream)> {
    let listener = TcpListener::bind(LOCAL)?;
    let caller = TcpStream::connect(listener.local_addr()?)?;
    Ok((listener, caller))
}

/// Sends data from one end, and checks that the other end receives it.
fn talks(mut one: &TcpStream, mut other: &TcpStream) -> Result {
    one.write_all(b"hello")?;
    let mut heard = [0; 5];
    other.read_exact(&mut heard)?;
    assert_eq!(&heard, b"hello");
    Ok(())
}

fn accept_once(ring: &mut dyn Ring) -> Result {
    for flags in [SocketFlags::empty(), SocketFlags::CLOEXEC | SocketFlags::NONBLOCK] {
        let (listener, caller) = called()?;
        let mut peer = SocketAddrBuf::new();
        let (addr, addrlen) = peer.as_mut_ptrs();
        let accept = Accept::new(listener.as_fd(), addr, addrlen).flags(flags).build();
        // SAFETY: `peer` outlives the operation, for which `run` waits.
        let done = unsafe { ring.run(accept) }?;
        // SAFETY: the operation's result is a descriptor, and this is its only owner.
        let connection = TcpStream::from(unsafe { done.to_fd() }?);
        assert_eq!(peer.to_socket_addr(), Some(caller.local_addr()?));
        assert_eq!(connection.peer_addr()?, caller.local_addr()?);
        let (closes, waits) = (fcntl_getfd(&connection)?, fcntl_getfl(&connection)?);
        assert_eq!(closes.contains(FdFlags::CLOEXEC), flags.contains(SocketFlags::CLOEXEC));
        assert_eq!(waits.contains(OFlags::NONBLOCK), flags.contains(SocketFlags::NONBLOCK));
        talks(&connection, &caller)?;
    }
    Ok(())
}

/// Reads five bytes from a slot.
fn read(ring: &mut dyn Ring, slot: Fixed) -> Result<[u8; 5]> {
    let mut heard = [0; 5];
    // SAFETY: `heard` outlives the read, for which `run` waits.
    let done = unsafe { ring.run(Read::new(slot, heard.as_mut_ptr(), 5).build()) }?;
    assert_eq!(done.to_result(), Ok(5));
    Ok(heard)
}

fn accept_into_slots(ring: &mut dyn Ring) -> Result {
    let (listener, mut first) = called()?;
    let mut second = TcpStream::connect(listener.local_addr()?)?;
    ring.submitter().register_files(&[FileSlot::EMPTY; 3])?;
    let accept = accept(Fd(listener.as_raw_fd()));
    let chosen = accept.file_index(DestinationSlot::try_from_slot_target(2).ok()).build();
    let any = accept.file_index(Some(DestinationSlot::auto_target())).build();
    // SAFETY: the entries point to no memory.
    let (chosen, any) = unsafe { (ring.run(chosen)?, ring.run(any)?) };
    assert_eq!(chosen.to_result(), Ok(0));
    first.write_all(b"first")?;
    second.write_all(b"secon")?;
    assert_eq!(&read(ring, Fixed(2))?, b"first");
    let any = any.to_fixed()?;
    assert!(any.0 < 2, "{any:?}");
    assert_eq!(&read(ring, any)?, b"secon");

    let target = DestinationSlot::try_from_slot_target(0).ok();
    let inherited = accept.file_index(target).flags(SocketFlags::CLOEXEC).build();
    // SAFETY: the entry points to no memory.
    assert_eq!(unsafe { ring.run(inherited) }?.to_result(), Err(Errno::INVAL));
    Ok(())
}

fn accept_at_once_or_later(ring: &mut dyn Ring) -> Result {
    let listener = TcpListener::bind(LOCAL)?;
    let accept = accept(Fd(listener.as_raw_fd()));
    // SAFETY: the entry points to no memory, and the listener outlives the operation.
    let nobody = unsafe { ring.run(accept.accept_flags(AcceptFlags::DONTWAIT).build()) }?;
    assert_eq!(nobody.to_result(), Err(Errno::AGAIN));
    let callers = [0; 2].map(|_| TcpStream::connect(listener.local_addr()?));
    for (n, caller) in callers.into_iter().enumerate() {
        let (caller, later) = (caller?, accept.accept_flags(AcceptFlags::POLL_FIRST).build());
        // SAFETY: the entry points to no memory, and the listener outlives the operation.
        let done = unsafe { ring.run(later) }?;
        // SAFETY: the operation's result is a descriptor, and this is its only owner.
        talks(&TcpStream::from(unsafe { done.to_fd() }?), &caller)?;
        // The flag tells whether more connections are waiting.
        assert_eq!(done.sock_nonempty(), n == 0, "{done:?}");
    }
    Ok(())
}

/// The accept waits even though the listener is nonblocking.
fn accept_nonblocking(ring: &mut dyn Ring) -> Result {
    let listener = TcpListener::bind(LOCAL)?;
    let address = listener.local_addr()?;
    listener.set_nonblocking(true)?;
    thread::scope(|scope| {
        let caller = scope.spawn(move || {
            thread::sleep(Duration::from_millis(20));
            TcpStream::connect(address)
        });
        // SAFETY: the entry points to no memory, and the listener outlives the operation.
        let done = unsafe { ring.run(accept(Fd(listener.as_raw_fd())).build()) }?;
        // SAFETY: the operation's result is a descriptor, and this is its only owner.
        drop(unsafe { done.to_fd() }?);
        caller.join().expect("the connecting thread panicked")?;
        Ok(())
    })
}

fn accept_refused(ring: &mut dyn Ring) -> Result {
    // SAFETY: the entries point to no memory.
    let ring = &mut unsafe { ring.runner() };
    let (one, _other) = tcp()?;
    let listener = TcpListener::bind(LOCAL)?;
    let file = file_with(b"")?;
    let fd = |fd: &dyn AsRawFd| accept(Fd(fd.as_raw_fd()));
    let refusals = [
        (fd(&one), Errno::INVAL),
        (fd(&listener).flags(SocketFlags::from_bits_retain(1 << 4)), Errno::INVAL),
        (fd(&file), Errno::NOTSOCK),
        (accept(Fd(-1)), Errno::BADF),
    ];
    ring.refuses(refusals.map(|(accept, errno)| (accept.build(), errno)))
}

/// Cancels the accept with user data 1.
fn cancel(ring: &mut dyn Ring) -> Result {
    // SAFETY: a cancellation uses no memory.
    unsafe { ring.push(&[AsyncCancel::new(1).build().user_data(2)]) }?;
    let done = reap(ring, 2)?;
    assert_eq!(done[0].to_result(), Err(Errno::CANCELED));
    assert!(!done[0].more());
    assert_eq!(done[1].to_result(), Ok(0));
    Ok(())
}

fn accept_multi(ring: &mut dyn Ring) -> Result {
    let listener = TcpListener::bind(LOCAL)?;
    let accept = AcceptMulti::new(listener.as_fd()).flags(SocketFlags::CLOEXEC);
    // SAFETY: the entry points to no memory, and the listener outlives the operation.
    unsafe { ring.push(&[accept.build().user_data(1)]) }?;
    ring.submit()?;
    for _ in 0..3 {
        let caller = TcpStream::connect(listener.local_addr()?)?;
        let done = reap(ring, 1)?;
        assert!(done[0].more(), "{done:?}");
        // SAFETY: the operation's result is a descriptor, and this is its only owner.
        let connection = TcpStream::from(unsafe { done[0].to_fd() }?);
        assert!(fcntl_getfd(&connection)?.contains(FdFlags::CLOEXEC));
        talks(&connection, &caller)?;
    }
    cancel(ring)
}

/// Accepts until no slot is free.
fn accept_multi_into_slots(ring: &mut dyn Ring) -> Result {
    let listener = TcpListener::bind(LOCAL)?;
    ring.submitter().register_files(&[FileSlot::EMPTY; 2])?;
    let accept = AcceptMulti::new(listener.as_fd()).allocate_file_index(true);
    // SAFETY: the entry points to no memory, and the listener outlives the operation.
    unsafe { ring.push(&[accept.build().user_data(1)]) }?;
    ring.submit()?;
    let mut slots = Vec::new();
    for _ in 0..2 {
        let mut caller = TcpStream::connect(listener.local_addr()?)?;
        let done = reap(ring, 1)?;
        assert!(done[0].more(), "{done:?}");
        caller.write_all(b"hello")?;
        let slot = done[0].to_fixed()?;
        assert_eq!(&read(ring, slot)?, b"hello");
        slots.push(slot.0);
    }
    slots.sort_unstable();
    assert_eq!(slots, [0, 1]);
    let _caller = TcpStream::connect(listener.local_addr()?)?;
    let done = reap(ring, 1)?;
    assert_eq!((done[0].to_fixed(), done[0].more()), (Err(Errno::NFILE), false));
    Ok(())
}

fn accept_multi_refused(ring: &mut dyn Ring) -> Result {
    // SAFETY: the entries point to no memory.
    let ring = &mut unsafe { ring.runner() };
    let (one, _other) = tcp()?;
    let listener = TcpListener::bind(LOCAL)?;
    ring.submitter().register_files(&[FileSlot::EMPTY; 2])?;
    // Multishot accept cannot use a fixed slot.
    let mut chosen = AcceptMulti::new(listener.as_fd()).build();
    chosen.as_raw_mut().file_index = 1;
    let refusals = [(AcceptMulti::new(one.as_fd()).build(), Errno::INVAL), (chosen, Errno::INVAL)];
    ring.refuses(refusals)
}
