//! Syncing open files.

pub(crate) mod range;

use std::fs::File;
use std::os::fd::AsFd;

use rustix_uring::Errno;
use rustix_uring::opcode::Fsync;
use rustix_uring::types::{Fd, FsyncFlags};

use crate::harness::Need::*;
use crate::harness::*;

const FSYNC: &[Need] = &[Opcode(Fsync::CODE)];

pub(crate) const CASES: &[Case] =
    &[Case::kinds("fsync", FSYNC, fsync), Case::kinds("fsync_refused", FSYNC, fsync_refused)];

fn fsync(ring: &mut dyn Ring) -> Result {
    let file = file_with(b"hello world")?;
    let fsync = Fsync::new(file.as_fd());
    for fsync in [
        fsync,
        fsync.flags(FsyncFlags::DATASYNC),
        fsync.offset(4096).len(4096),
        fsync.flags(FsyncFlags::DATASYNC).offset(6).len(5),
    ] {
        // SAFETY: `file` outlives the sync.
        assert_eq!(unsafe { ring.run(fsync.build()) }?.to_result(), Ok(0), "{fsync:?}");
    }
    Ok(())
}

fn fsync_refused(ring: &mut dyn Ring) -> Result {
    // SAFETY: the files outlive each call.
    let ring = &mut unsafe { ring.runner() };
    let file = file_with(b"hello world")?;
    let nothing_to_sync = File::open("/dev/null")?;
    let no_such_flag = FsyncFlags::from_bits_retain(1 << 30);
    ring.refuses([
        (Fsync::new(Fd(-1)).build(), Errno::BADF),
        (Fsync::new(nothing_to_sync.as_fd()).build(), Errno::INVAL),
        (Fsync::new(file.as_fd()).flags(no_such_flag).build(), Errno::INVAL),
    ])
}
