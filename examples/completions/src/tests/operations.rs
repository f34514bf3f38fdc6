//! Each operation, alone and in chains.

use std::io::{IoSlice, IoSliceMut, Read as _, Write as _};
use std::net::TcpListener;
use std::os::unix::net::UnixStream;
use std::thread;

use rustix_uring::Errno;

use super::{A_WHILE, errno, file_of, poll_once, ring};
use crate::operation::*;
use crate::part::Part;

#[test]
fn a_file_is_written_and_read() {
    let (ring, file) = (ring(8), file_of(b""));
    let mut buf = [b'.'; 8];
    ring.scope(|scope| {
        let (written, text) = scope.start(write_at(&file, "seven bytes", 0)).wait();
        assert_eq!((written.unwrap(), text), (11, "seven bytes"));
        // The read is short at the end of the file, and empty after it. Each returns the borrowed buffer.
        let (read, back) = scope.start(read_at(&file, &mut buf, 6)).wait();
        assert_eq!((read.unwrap(), &back[..]), (5, &b"bytes..."[..]));
        let (read, back) = scope.start(read_at(&file, back, 11)).wait();
        assert_eq!(read.unwrap(), 0);
        let (read, _) = scope.start(read_at(&file, Part::new(back, 0..2), 0)).wait();
        assert_eq!(read.unwrap(), 2);
    });
    assert_eq!(&buf, b"setes...");
}

#[test]
fn errors_bring_the_buffer_back() {
    let (ring, nul) = (ring(8), std::fs::File::open("/dev/null").unwrap());
    ring.scope(|scope| {
        let (written, buf) = scope.start(write_at(&nul, vec![1, 2, 3], 0)).wait();
        assert_eq!((errno(written), &buf[..]), (Some(Errno::BADF), &[1, 2, 3][..]));
        let (ours, theirs) = UnixStream::pair().unwrap();
        drop(theirs);
        let (sent, _) = scope.start(send(&nul, "text")).wait();
        assert_eq!(errno(sent), Some(Errno::NOTSOCK));
        let (sent, text) = scope.start(send(ours, "text")).wait();
        assert_eq!((errno(sent), text), (Some(Errno::PIPE), "text"));
        assert_eq!(errno(scope.start(accept(&nul)).wait()), Some(Errno::NOTSOCK));
    });
}

#[test]
fn buffers_in_a_row() {
    let (ring, file) = (ring(8), file_of(b""));
    let (ours, theirs) = UnixStream::pair().unwrap();
    let (mut left, mut right) = ([0; 4], [0; 8]);
    let parts = [IoSlice::new(b"abc"), IoSlice::new(b""), IoSlice::new(b"defgh")];
    ring.scope(|scope| {
        assert_eq!(scope.start(write_vectored_at(&file, parts, 2)).wait().0.unwrap(), 8);
        assert_eq!(scope.start(write_vectored_at(&ours, &parts[..], 0)).wait().0.unwrap(), 8);
        let parts = [IoSliceMut::new(&mut left), IoSliceMut::new(&mut right)];
        let (read, parts) = scope.start(read_vectored_at(&file, parts, 0)).wait();
        assert_eq!(
            (read.unwrap(), &*parts[0], &*parts[1]),
            (10, &b"\0\0ab"[..], &b"cdefgh\0\0"[..])
        );
        let (read, parts) = scope.start(read_vectored_at(&theirs, parts, 0)).wait();
        assert_eq!((read.unwrap(), &*parts[0], &*parts[1]), (8, &b"abcd"[..], &b"efghgh\0\0"[..]));
    });
    assert_eq!((&left, &right), (b"abcd", b"efghgh\0\0"));
}

#[test]
fn a_chain_keeps_its_order() {
    let (ring, file) = (ring(16), file_of(b""));
    let mut back = vec![0; 1 << 16];
    let texts: Vec<Vec<u8>> = (0..15).map(|n| vec![n; 1 << 16]).collect();
    for _ in 0..20 {
        ring.scope(|scope| {
            // All writes go to one offset, while another thread starts operations in between.
            thread::scope(|threads| {
                threads.spawn(|| scope.start(read_at(&file, [0; 1], 0)).wait());
                let writing = scope.chain(texts.iter().map(|text| write_at(&file, text, 0)));
                writing.into_iter().for_each(|it| assert_eq!(it.wait().0.unwrap(), 1 << 16));
            });
            let (read, back) = scope.start(read_at(&file, &mut back, 0)).wait();
            assert_eq!(read.unwrap(), 1 << 16);
            assert!(back.iter().all(|byte| *byte == 14));
        });
    }
}

#[test]
fn a_chain_ends_where_it_breaks() {
    let (ring, file) = (ring(4), file_of(b"four"));
    let nul = std::fs::File::open("/dev/null").unwrap();
    ring.scope(|scope| {
        let (first, second) = scope.link(write_at(&nul, "text", 0), write_at(&file, [7; 4], 0));
        assert_eq!(errno(first.wait().0), Some(Errno::BADF));
        assert_eq!(errno(second.wait().0), Some(Errno::CANCELED));
        // A short read breaks the chain as well.
        let reading = scope.chain([0, 2, 3].map(|offset| read_at(&file, [0; 2], offset)));
        let read: Vec<_> = reading.into_iter().map(|it| it.wait().0.ok()).collect();
        assert_eq!(read, [Some(2), Some(2), Some(1)]);
        let reading = scope.chain([0, 3, 0].map(|offset| read_at(&file, [0; 2], offset)));
        let read: Vec<_> = reading.into_iter().map(|it| errno(it.wait().0)).collect();
        assert_eq!(read, [None, None, Some(Errno::CANCELED)]);
        // This chain is longer than the ring has room for.
        let reading = scope.chain([0; 5].map(|offset| read_at(&file, [0; 2], offset)));
        assert!(reading.into_iter().all(|it| errno(it.wait().0) == Some(Errno::INVAL)));
        assert!(scope.chain::<Counted<[u8; 2]>>([]).is_empty());
    });
}

#[test]
fn a_drained_read_waits_for_all_before() {
    let (ring, file) = (ring(8), file_of(b"text"));
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    ring.scope(|scope| {
        let mut before = scope.start(recv(&ours, [0; 4]));
        let mut drained = scope.start(read_at(&file, [0; 4], 0).drained());
        assert!(poll_once(&mut before).is_pending());
        thread::sleep(A_WHILE);
        assert!(poll_once(&mut drained).is_pending());
        theirs.write_all(b"four").unwrap();
        let (read, text) = drained.wait();
        assert_eq!((read.unwrap(), &text), (4, b"text"));
        assert_eq!(before.wait().0.unwrap(), 4);
    });
}

#[test]
fn a_file_is_brought_to_the_device() {
    let (ring, file) = (ring(8), file_of(b""));
    let (_one_end, other_end) = UnixStream::pair().unwrap();
    ring.scope(|scope| {
        let (written, synced) = scope.link(write_at(&file, "text", 0), fsync(&file));
        assert_eq!((written.wait().0.unwrap(), synced.wait().unwrap()), (4, ()));
        scope.start(fdatasync(&file)).wait().unwrap();
        assert_eq!(errno(scope.start(fsync(&other_end)).wait()), Some(Errno::INVAL));
    });
}

#[test]
fn a_connection_is_made() {
    let (ring, listener) = (ring(8), TcpListener::bind("127.0.0.1:0").unwrap());
    let address = listener.local_addr().unwrap();
    let ours = ring.scope(|scope| {
        let accepting = scope.start(accept(&listener));
        let ours = scope.start(socket(address)).wait().unwrap();
        let (connected, ours) = scope.start(connect(ours, address)).wait();
        connected.unwrap();
        let (mut theirs, peer) = accepting.wait().unwrap();
        assert_eq!(peer, ours.local_addr().unwrap());
        (&ours).write_all(b"text").unwrap();
        let mut buf = [0; 4];
        theirs.read_exact(&mut buf).unwrap();
        assert_eq!(&buf, b"text");
        ours
    });
    drop(listener);
    ring.scope(|scope| {
        let (again, _) = scope.start(connect(&ours, address)).wait();
        assert_eq!(errno(again), Some(Errno::ISCONN));
        let refused = scope.start(socket(address)).wait().unwrap();
        let (refused, _) = scope.start(connect(refused, address)).wait();
        assert_eq!(errno(refused), Some(Errno::CONNREFUSED));
        let v6 = scope.start(socket("[::1]:1".parse().unwrap())).wait().unwrap();
        let (other, _) = scope.start(connect(v6, address)).wait();
        assert_eq!(errno(other), Some(Errno::INVAL));
    });
}
