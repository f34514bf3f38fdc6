//! Registered files.

use anyhow::{bail, ensure};
use rustix::io::write;
use rustix::pipe::pipe;
use rustix::process::{Resource, getrlimit};
use rustix_uring::opcode::{Close, OpenAt, Read};
use rustix_uring::sys::io_uring_register_op::*;
use rustix_uring::types::{DestinationSlot, Fd, FileSlot, Fixed, SubmitArgs, Timespec};
use rustix_uring::{Errno, IoUring};

use crate::harness::Need::*;
use crate::harness::*;

const FILES: Need = Register(IORING_REGISTER_FILES as u32);
const UNREGISTER: Need = Register(IORING_UNREGISTER_FILES as u32);
const UPDATE: Need = Register(IORING_REGISTER_FILES_UPDATE as u32);
const TAGS: Need = Register(IORING_REGISTER_FILES2 as u32);
const UPDATE_TAGS: Need = Register(IORING_REGISTER_FILES_UPDATE2 as u32);
const RANGE: Need = Register(IORING_REGISTER_FILE_ALLOC_RANGE as u32);
const READ: Need = Opcode(Read::CODE);
const SPARSE: Need = Trial {
    what: "empty slots in the file table",
    refusal: Errno::INVAL,
    call: || Ok(IoUring::new(1)?.submitter().register_files_sparse(1)?),
};

pub(crate) const CASES: &[Case] = &[
    Case::kinds("register_files", &[FILES, UNREGISTER, READ], register_files),
    Case::kinds("register_files_refused", &[FILES, UNREGISTER], register_files_refused),
    Case::kinds("update", &[UPDATE, READ], update),
    Case::kinds("update_refused", &[UPDATE], update_refused),
    Case::kinds("sparse", &[TAGS, SPARSE, READ], sparse),
    Case::kinds("tags", &[TAGS, UPDATE_TAGS], tags),
    Case::kinds("untagged", &[TAGS, UPDATE_TAGS], untagged),
    Case::kinds("tag_waits_for_the_last_user", &[TAGS, UPDATE_TAGS, READ], tag_waits),
    Case::kinds("alloc_range", &[RANGE, Opcode(OpenAt::CODE), Opcode(Close::CODE)], alloc_range),
    Case::kinds("alloc_range_refused", &[RANGE], alloc_range_refused),
];

/// The first byte of the file in a slot.
fn byte_in(ring: &mut dyn Ring, slot: u32) -> Result<Result<u8, Errno>> {
    let mut byte = 0;
    // SAFETY: `byte` outlives the read, for which `run` waits.
    let done = unsafe { ring.run(Read::new(Fixed(slot), &mut byte, 1).build()) }?;
    Ok(done.to_result().map(|_| byte))
}

fn completed(ring: &mut dyn Ring) -> Vec<u64> {
    ring.submitter().get_events().unwrap();
    ring.reap().iter().map(|cqe| cqe.user_data()).collect()
}

/// The tags that are posted, of which `n` are expected. On some kernels, they arrive up to a second
/// late.
fn tags_posted(ring: &mut dyn Ring, n: usize) -> Result<Vec<u64>> {
    let (mut tags, long) = (Vec::new(), Timespec::new().sec(5));
    while tags.len() < n {
        match ring.submit_with_args(n - tags.len(), &SubmitArgs::new().timespec(&long)) {
            Ok(_) => {}
            Err(Errno::TIME) => break,
            Err(e) => bail!(e),
        }
        for cqe in ring.reap() {
            ensure!(cqe.result() == 0 && cqe.flags() == 0, "{cqe:?}");
            tags.push(cqe.user_data());
        }
    }
    tags.sort();
    Ok(tags)
}

fn register_files(ring: &mut dyn Ring) -> Result {
    let (a, b) = (file_with(b"a")?, file_with(b"b")?);
    ring.submitter().register_files(&[FileSlot::new(&a), FileSlot::EMPTY, FileSlot::new(&b)])?;
    // A slot keeps its file open.
    drop(b);
    assert_eq!(byte_in(ring, 0)?, Ok(b'a'));
    assert_eq!(byte_in(ring, 1)?, Err(Errno::BADF));
    assert_eq!(byte_in(ring, 2)?, Ok(b'b'));
    assert_eq!(byte_in(ring, 3)?, Err(Errno::BADF));
    ring.submitter().unregister_files()?;
    assert_eq!(byte_in(ring, 0)?, Err(Errno::BADF));
    assert_eq!(ring.submitter().unregister_files(), Err(Errno::NXIO));
    Ok(())
}

fn register_files_refused(ring: &mut dyn Ring) -> Result {
    let other = IoUring::new(1)?;
    let limit = getrlimit(Resource::Nofile).current.unwrap_or(0) as usize;
    let ring = ring.submitter();
    assert_eq!(ring.register_files(&[]), Err(Errno::INVAL));
    assert_eq!(ring.register_files(&[FileSlot::KEEP]), Err(Errno::BADF));
    assert_eq!(ring.register_files(&[FileSlot::EMPTY, FileSlot::new(&other)]), Err(Errno::BADF));
    // More slots than the maximum, and more than the resource limit allows.
    let many = vec![FileSlot::EMPTY; limit + 1];
    assert_eq!(ring.register_files(&many), Err(Errno::MFILE));
    ring.register_files(&[FileSlot::EMPTY])?;
    assert_eq!(ring.register_files(&[FileSlot::EMPTY]), Err(Errno::BUSY));
    ring.unregister_files()?;
    assert_eq!(ring.unregister_files(), Err(Errno::NXIO));
    Ok(())
}

fn update(ring: &mut dyn Ring) -> Result {
    let (a, b, other) = (file_with(b"a")?, file_with(b"b")?, IoUring::new(1)?);
    let [a, b, other] = [FileSlot::new(&a), FileSlot::new(&b), FileSlot::new(&other)];
    ring.submitter().register_files(&[a, a, a, FileSlot::EMPTY])?;
    assert_eq!(ring.submitter().register_files_update(1, &[b, FileSlot::EMPTY, b])?, 3);
    let expected = [Ok(b'a'), Ok(b'b'), Err(Errno::BADF), Ok(b'b')];
    for (slot, expected) in (0..).zip(expected) {
        assert_eq!(byte_in(ring, slot)?, expected, "slot {slot}");
    }
    // If an update fails, the call stops there and leaves that slot empty.
    assert_eq!(ring.submitter().register_files_update(0, &[b, other, a])?, 1);
    let held = [byte_in(ring, 0)?, byte_in(ring, 1)?, byte_in(ring, 3)?];
    assert_eq!(held, [Ok(b'b'), Err(Errno::BADF), Ok(b'b')]);
    match ring.submitter().register_files_update(0, &[FileSlot::KEEP, a]) {
        Ok(n) => assert_eq!((n, byte_in(ring, 0)?, byte_in(ring, 1)?), (2, Ok(b'b'), Ok(b'a'))),
        // Kernels before 5.12 answer differently.
        Err(e) => assert_eq!(e, Errno::BADF),
    }
    Ok(ring.submitter().unregister_files()?)
}

fn update_refused(ring: &mut dyn Ring) -> Result {
    let other = IoUring::new(1)?;
    let ring = ring.submitter();
    assert_eq!(ring.register_files_update(0, &[FileSlot::EMPTY]), Err(Errno::NXIO));
    ring.register_files(&[FileSlot::EMPTY, FileSlot::EMPTY])?;
    assert_eq!(ring.register_files_update(2, &[FileSlot::EMPTY]), Err(Errno::INVAL));
    assert_eq!(
        ring.register_files_update(1, &[FileSlot::EMPTY, FileSlot::EMPTY]),
        Err(Errno::INVAL)
    );
    assert_eq!(ring.register_files_update(u32::MAX, &[FileSlot::EMPTY]), Err(Errno::OVERFLOW));
    assert_eq!(ring.register_files_update(0, &[]), Err(Errno::INVAL));
    assert_eq!(ring.register_files_update(0, &[FileSlot::new(&other)]), Err(Errno::BADF));
    Ok(ring.unregister_files()?)
}

fn sparse(ring: &mut dyn Ring) -> Result {
    let file = file_with(b"a")?;
    let limit = getrlimit(Resource::Nofile).current.unwrap_or(0) as u32;
    assert_eq!(ring.submitter().register_files_sparse(0), Err(Errno::INVAL));
    assert_eq!(ring.submitter().register_files_sparse(limit + 1), Err(Errno::MFILE));
    ring.submitter().register_files_sparse(3)?;
    assert_eq!(ring.submitter().register_files_sparse(3), Err(Errno::BUSY));
    assert_eq!(byte_in(ring, 2)?, Err(Errno::BADF));
    assert_eq!(ring.submitter().register_files_update(2, &[FileSlot::new(&file)])?, 1);
    assert_eq!(byte_in(ring, 2)?, Ok(b'a'));
    Ok(ring.submitter().unregister_files()?)
}

fn tags(ring: &mut dyn Ring) -> Result {
    let (file, other) = (file_with(b"a")?, IoUring::new(1)?);
    let (fd, other) = (FileSlot::new(&file), FileSlot::new(&other));
    assert_eq!(ring.submitter().register_files_tags(&[fd], &[1, 2]), Err(Errno::INVAL));
    assert_eq!(ring.submitter().register_files_update_tag(0, &[fd], &[1]), Err(Errno::NXIO));
    ring.submitter().register_files_tags(&[fd; 4], &[11, 12, 0, 13])?;
    let update = |offset, fds: &[FileSlot], tags: &[u64]| {
        ring.submitter().register_files_update_tag(offset, fds, tags)
    };
    assert_eq!(update(0, &[fd], &[1, 2]), Err(Errno::INVAL));
    assert_eq!(update(4, &[fd], &[1]), Err(Errno::INVAL));
    assert_eq!(update(0, &[other], &[1]), Err(Errno::BADF));
    // A slot that is kept or emptied cannot get a tag.
    assert_eq!(update(0, &[FileSlot::KEEP], &[1]), Err(Errno::INVAL));
    assert_eq!(update(0, &[FileSlot::EMPTY], &[1]), Err(Errno::INVAL));
    assert_eq!(update(0, &[fd, FileSlot::KEEP, fd], &[21, 0, 22])?, 3);
    assert_eq!(tags_posted(ring, 1)?, [11]);
    ring.submitter().unregister_files()?;
    // Before 6.13, unregistering the whole table posts no tags.
    let posts = Register(IORING_REGISTER_SEND_MSG_RING as u32).missing()?.is_none();
    let tags = if posts { &[12, 13, 21, 22][..] } else { &[] };
    assert_eq!(tags_posted(ring, tags.len())?, tags);
    Ok(())
}

/// The calls that support tags, without tags: nothing is posted.
fn untagged(ring: &mut dyn Ring) -> Result {
    let file = file_with(b"a")?;
    let fd = FileSlot::new(&file);
    ring.submitter().register_files_tags(&[fd; 4], &[])?;
    assert_eq!(ring.submitter().register_files_update_tag(1, &[fd, FileSlot::EMPTY], &[])?, 2);
    ring.submitter().unregister_files()?;
    ring.works(3)?;
    assert_eq!(completed(ring), []);
    Ok(())
}

fn tag_waits(ring: &mut dyn Ring) -> Result {
    let (reader, writer) = pipe()?;
    ring.submitter().register_files_tags(&[FileSlot::new(&reader)], &[7])?;
    let mut byte = 0;
    // SAFETY: `byte` outlives the read, whose completion is awaited.
    unsafe { ring.push(&[Read::new(Fixed(0), &mut byte, 1).build().user_data(1)]) }?;
    assert_eq!(ring.submit()?, 1);
    assert_eq!(ring.submitter().register_files_update(0, &[FileSlot::EMPTY])?, 1);
    assert_eq!(completed(ring), []);
    write(&writer, b"a")?;
    let mut done = Vec::new();
    while done.len() < 2 {
        ring.submit_and_wait(1)?;
        done.extend(ring.reap().iter().map(|cqe| (cqe.user_data(), cqe.result())));
    }
    done.sort();
    assert_eq!(done, [(1, 1), (7, 0)]);
    assert_eq!(byte, b'a');
    Ok(())
}

fn alloc_range(ring: &mut dyn Ring) -> Result {
    ring.submitter().register_files_sparse(8)?;
    ring.submitter().register_file_alloc_range(5, 2)?;
    let open = || {
        let open = OpenAt::new(Fd::CWD, c"/dev/zero".as_ptr());
        open.file_index(Some(DestinationSlot::auto_target())).build()
    };
    let mut slots = Vec::new();
    for _ in 0..3 {
        // SAFETY: the path is a constant.
        slots.push(unsafe { ring.run(open()) }?.to_result());
    }
    slots[..2].sort_by_key(|slot| slot.unwrap_or(0));
    assert_eq!(slots, [Ok(5), Ok(6), Err(Errno::NFILE)]);
    assert_eq!(byte_in(ring, 5)?, Ok(0));
    // SAFETY: the entry names only a slot.
    unsafe {
        assert_eq!(ring.run(Close::new(Fixed(5)).build())?.to_result(), Ok(0));
        assert_eq!(ring.run(open())?.to_result(), Ok(5));
    }
    Ok(ring.submitter().unregister_files()?)
}

fn alloc_range_refused(ring: &mut dyn Ring) -> Result {
    let ring = ring.submitter();
    assert_eq!(ring.register_file_alloc_range(0, 1), Err(Errno::INVAL));
    ring.register_files_sparse(8)?;
    assert_eq!(ring.register_file_alloc_range(7, 2), Err(Errno::INVAL));
    assert_eq!(ring.register_file_alloc_range(9, 0), Err(Errno::INVAL));
    assert_eq!(ring.register_file_alloc_range(u32::MAX, 1), Err(Errno::OVERFLOW));
    ring.register_file_alloc_range(8, 0)?;
    Ok(ring.unregister_files()?)
}
