//! Rings with other settings.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use rustix_uring::Errno;
use rustix_uring::types::OFlags;

use super::{A_WHILE, errno, file_of, poll_once};
use crate::operation::*;
use crate::ring::Ring;

fn sq_polled(operations: u32) -> Ring {
    Ring::options().sq_poll(Duration::from_millis(1)).build(operations).unwrap()
}

fn io_polled(operations: u32) -> Ring {
    Ring::options().io_poll().build(operations).unwrap()
}

/// Operations also run after the kernel thread has fallen asleep.
#[test]
fn a_thread_of_the_kernel_submits() {
    let (ring, file) = (sq_polled(8), file_of(b"text"));
    for pause in [0, 0, 20, 0, 20] {
        thread::sleep(Duration::from_millis(pause));
        ring.scope(|scope| {
            let (read, buf) = scope.start(read_at(&file, [0; 4], 0)).wait();
            assert_eq!((read.unwrap(), &buf), (4, b"text"));
        });
    }
}

/// Many threads start chains, with more operations in total than the queue holds.
#[test]
fn a_flood_is_submitted() {
    let (ring, file) = (sq_polled(4), file_of(b"text"));
    let ended = AtomicUsize::new(0);
    ring.scope(|scope| {
        thread::scope(|threads| {
            for _ in 0..16 {
                threads.spawn(|| {
                    for _ in 0..100 {
                        let chain = scope.chain([0, 1, 2, 3].map(|at| read_at(&file, [0; 1], at)));
                        chain.into_iter().for_each(|it| assert_eq!(it.wait().0.unwrap(), 1));
                        ended.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
        });
    });
    assert_eq!(ended.into_inner(), 1600);
    assert!(!ring.overflowed());
}

#[test]
fn a_cancellation_finds_what_the_kernels_thread_submitted() {
    let ring = sq_polled(4);
    let (ours, _theirs) = UnixStream::pair().unwrap();
    ring.scope(|scope| {
        let mut reading = scope.start(recv(&ours, [0; 4]));
        assert!(poll_once(&mut reading).is_pending());
        thread::sleep(A_WHILE);
        reading.cancel();
        assert_eq!(errno(reading.wait().0), Some(Errno::CANCELED));
    });
}

/// Few devices can be polled. On all others, each operation must still end.
#[test]
fn a_ring_that_polls_ends_all_operations() {
    let (ring, file) = (io_polled(4), file_of(b"text"));
    let (ours, _theirs) = UnixStream::pair().unwrap();
    for _ in 0..100 {
        ring.scope(|scope| {
            let mut ends = Vec::new();
            for _ in 0..8 {
                ends.push(errno(scope.start(read_at(&file, [0; 4], 0)).wait().0));
                drop(scope.start(read_at(&file, [0; 4], 0)));
                std::mem::forget(scope.start(read_at(&file, [0; 4], 0)));
                scope.start(read_at(&file, [0; 4], 0)).cancel();
            }
            // This file system is in memory and cannot be polled.
            assert_eq!(ends, [Some(Errno::OPNOTSUPP); 8]);
        });
    }
    assert!(!ring.overflowed());
    // Kernels up to 7.1 do not even try.
    ring.scope(|scope| {
        let receiving = scope.start(recv(&ours, [0; 4]));
        receiving.cancel();
        assert!(errno(receiving.wait().0).is_some());
    });
}

/// With nothing in flight, the ring's thread sleeps as that of other rings does, although the kernel's call
/// would not wait.
#[test]
fn a_ring_that_polls_sleeps() {
    let (ring, file) = (io_polled(4), file_of(b"text"));
    for _ in 0..3 {
        ring.scope(|scope| drop(scope.start(read_at(&file, [0; 4], 0))));
        thread::sleep(A_WHILE);
        let turns = ring.turns();
        thread::sleep(A_WHILE);
        assert_eq!(ring.turns(), turns);
    }
}

/// Returns a file that is open for direct I/O, if the file system supports it.
fn direct() -> Option<File> {
    let mut file = tempfile::NamedTempFile::new_in(".").unwrap();
    file.write_all(&[7; 8 * 4096]).unwrap();
    file.as_file().sync_all().unwrap();
    let direct = OFlags::DIRECT.bits() as i32;
    OpenOptions::new().read(true).custom_flags(direct).open(file.path()).ok()
}

/// Reads from a disk. If the disk cannot be polled, the reads fail.
#[test]
fn a_ring_that_polls_reads_from_a_disk() {
    #[repr(align(4096))]
    struct Block([u8; 4096]);
    impl AsMut<[u8]> for Block {
        fn as_mut(&mut self) -> &mut [u8] {
            &mut self.0
        }
    }
    let Some(file) = direct() else { return };
    let ring = io_polled(8);
    ring.scope(|scope| {
        let start = |n: u64| scope.start(read_at(file.as_fd(), Block([0; 4096]), n * 4096));
        let reading: Vec<_> = (0..8).map(start).collect();
        for reading in reading {
            match reading.wait() {
                (Ok(4096), block) => assert_eq!(block.0, [7; 4096]),
                (read, _) => assert_eq!(errno(read), Some(Errno::OPNOTSUPP)),
            }
        }
    });
}
