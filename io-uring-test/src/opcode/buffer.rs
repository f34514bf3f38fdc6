//! Provided buffers, without a ring of buffers.

use std::ptr;

use rustix::io::write;
use rustix::pipe::pipe;
use rustix_uring::Errno;
use rustix_uring::opcode::{ProvideBuffers, Read, RemoveBuffers};

use crate::harness::Need::*;
use crate::harness::*;

const BOTH: &[Need] = &[Opcode(ProvideBuffers::CODE), Opcode(RemoveBuffers::CODE)];

pub(crate) const CASES: &[Case] = &[
    Case::kinds("provide_buffers", &[Opcode(ProvideBuffers::CODE)], provide),
    Case::kinds("provide_buffers_refused", &[Opcode(ProvideBuffers::CODE)], provide_refused),
    Case::kinds("provide_buffers_all", BOTH, provide_all),
    Case::kinds("remove_buffers", BOTH, remove),
];

const GROUP: u16 = 3;

/// The kernel takes each buffer once, and reports its ID.
fn provide(ring: &mut dyn Ring) -> Result {
    const SIZE: usize = 8;
    let (out, to) = pipe()?;
    let mut buffers = [[0; SIZE]; 4];
    let start = buffers.as_mut_ptr();
    let provide = |from: *mut [u8; SIZE], n, bid| {
        ProvideBuffers::new(from.cast(), SIZE as u32, n, GROUP, bid).build()
    };
    let read = Read::provided(&out, GROUP, 100).build();

    // SAFETY: `buffers` outlives the ring's operations, which use no other memory.
    let mut ring = unsafe { ring.runner() };
    assert_eq!(ring.result(provide(start, 4, 10))?, Ok(0));
    let mut seen = Vec::new();
    for text in [b"one", b"two", b"six", b"ten"] {
        write(&to, text)?;
        let done = ring.completion(read)?;
        assert_eq!(done.to_result(), Ok(3));
        assert!(!done.buffer_more());
        let bid = done.buffer_select().expect("the completion names no buffer");
        // SAFETY: the pointer stays within `buffers`, and the kernel has finished with this buffer.
        let buffer = unsafe { start.add(usize::from(bid - 10)).read() };
        assert_eq!(&buffer[..3], text);
        seen.push(bid);
    }
    seen.sort_unstable();
    assert_eq!(seen, [10, 11, 12, 13]);

    write(&to, b"a text of more than eight bytes")?;
    let done = ring.completion(read)?;
    assert_eq!((done.to_result(), done.buffer_select()), (Err(Errno::NOBUFS), None));
    // One buffer is provided again. Its size limits the read.
    assert_eq!(ring.result(provide(start.wrapping_add(2), 1, 12))?, Ok(0));
    let done = ring.completion(read)?;
    assert_eq!((done.to_result(), done.buffer_select()), (Ok(8), Some(12)));
    assert_eq!(&buffers[2], b"a text o");
    Ok(())
}

fn provide_refused(ring: &mut dyn Ring) -> Result {
    let mut buffers = [0; 64];
    let start = buffers.as_mut_ptr();
    let none = ProvideBuffers::new(start, 8, 0, GROUP, 0).build();
    let end = ptr::without_provenance_mut(usize::MAX << 14);
    let nowhere = ProvideBuffers::new(end, 4096, 2, GROUP, 0).build();
    // SAFETY: the group is empty, so the operations use no memory.
    let mut ring = unsafe { ring.runner() };
    ring.refuses([(none, Errno::TOOBIG)])?;
    if any_address() { Ok(()) } else { ring.refuses([(nowhere, Errno::FAULT)]) }
}

/// A group has 65,536 buffer IDs. Some kernels refuse to provide that many at once, others silently
/// provide one fewer.
fn provide_all(ring: &mut dyn Ring) -> Result {
    const ALL: u32 = 1 << 16;
    let mut buffers = vec![0; ALL as usize];
    let start: *mut u8 = buffers.as_mut_ptr();
    let provide = |n, bid| ProvideBuffers::new(start, 1, n, GROUP, bid).build();
    // SAFETY: `buffers` outlives the ring's operations.
    let mut ring = unsafe { ring.runner() };
    ring.refuses([(provide(ALL + 1, 0), Errno::TOOBIG), (provide(u32::MAX, 0), Errno::TOOBIG)])?;
    match ring.result(provide(ALL, 0))? {
        Err(Errno::TOOBIG) => {
            assert_eq!(ring.result(provide(ALL - 1, 0))?, Ok(0));
        }
        done => assert_eq!(done, Ok(0)),
    }
    let removed = ring.result(RemoveBuffers::new(ALL - 1, GROUP).build())?;
    assert_eq!(removed, Ok(ALL - 1));
    let left = ring.result(RemoveBuffers::new(ALL, GROUP).build())?;
    assert!(matches!(left, Ok(0 | 1) | Err(Errno::NOENT | Errno::INVAL)), "{left:?}");
    Ok(())
}

/// Whether the kernel accepts any address until it uses it. On s390x, programs have a separate
/// address space. A 64-bit kernel checks against its own address limit, not that of a 32-bit
/// program.
fn any_address() -> bool {
    cfg!(target_arch = "s390x") || (cfg!(target_pointer_width = "32") && !kernel_is_32_bit())
}

fn remove(ring: &mut dyn Ring) -> Result {
    let mut buffers = [0; 64];
    let provide = ProvideBuffers::new(buffers.as_mut_ptr(), 8, 8, GROUP, 0).build();
    // SAFETY: `buffers` outlives the ring's operations.
    let mut ring = unsafe { ring.runner() };
    assert_eq!(ring.result(provide)?, Ok(0));
    assert_eq!(ring.result(RemoveBuffers::new(3, GROUP).build())?, Ok(3));
    assert_eq!(ring.result(RemoveBuffers::new(9, GROUP).build())?, Ok(5));
    assert_eq!(ring.result(RemoveBuffers::new(0, GROUP).build())?, Err(Errno::INVAL));
    // Kernels differ in whether a group without buffers exists.
    let none = ring.result(RemoveBuffers::new(1, GROUP + 1).build())?;
    assert!(matches!(none, Ok(0) | Err(Errno::NOENT)), "{none:?}");
    Ok(())
}
