//! The completions: 16 bytes, 32 bytes, or either.

use core::fmt;
use core::ops::{Deref, DerefMut};

use rustix::io::Errno;

use crate::sqe::{PAD_USER_DATA, QUIESCE_USER_DATA};
use crate::sys;

/// A completion of 16 bytes, `struct io_uring_cqe`: which request, with what result.
///
/// The other two kinds, [`Entry32`] and [`Mixed`], have all of its methods. `Debug` names the errno of
/// a result that is one.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct Entry {
    pub(crate) user_data: u64,
    pub(crate) res: i32,
    pub(crate) flags: u32,
}

/// A completion of 32 bytes: an [`Entry`], and 16 bytes that the operation gives a meaning. Since
/// Linux 5.19 (`IORING_SETUP_CQE32`).
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct Entry32 {
    pub(crate) entry: Entry,
    pub(crate) big: [u64; 2],
}

/// A completion of a ring that has both sizes. Since Linux 6.18 (`IORING_SETUP_CQE_MIXED`).
///
/// **Do not let such a queue fill up.** Linux 6.18 to 7.3 deliver one completion twice when it
/// overflows: a completion of 32 bytes finds only the last slot free, so the kernel puts filler there;
/// the next small completion overwrites the filler, and an older one appears once more behind it. If
/// you count completions, or free what their user data names, you do that twice. Also, a wait for as many
/// completions as the queue has slots may spin in the kernel forever, which no signal ends (seen on 6.18
/// and 7.2); this crate waits for one fewer. Set the queue up
/// ([`setup_cqsize`](crate::Builder::setup_cqsize)) with more than two slots for each completion that
/// you may have to reap, or keep fewer operations in flight.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct Mixed(pub(crate) Entry32);

impl Entry {
    /// The number that the submission was given.
    #[inline]
    pub const fn user_data(&self) -> u64 {
        self.user_data
    }

    /// Replaces the number that the submission was given, for layers that keep one of their own
    /// there.
    #[inline]
    pub const fn set_user_data(&mut self, user_data: u64) {
        self.user_data = user_data;
    }

    /// The result as the kernel wrote it: what the operation documents, or a negated errno.
    #[inline]
    pub const fn result(&self) -> i32 {
        self.res
    }

    /// The result, with errors told apart.
    ///
    /// # Errors
    ///
    /// The errno, where the result is one: -4095 to -1. Other negative numbers are not errors; the
    /// usage report of a zero-copy send has the top bit set, for one.
    #[inline]
    pub const fn to_result(&self) -> Result<u32, Errno> {
        match self.res {
            errno @ -4095..=-1 => Err(Errno::from_raw_os_error(-errno)),
            res => Ok(res as u32),
        }
    }

    /// The flags as the kernel wrote them. The upper 16 bits are the buffer of
    /// [`buffer_select`](Self::buffer_select).
    #[inline]
    pub const fn flags(&self) -> u32 {
        self.flags
    }

    /// Whether the request will post more completions. See [`more`].
    #[inline]
    pub const fn more(&self) -> bool {
        more(self.flags)
    }

    /// Whether this says that the kernel is done with a zero-copy send's memory. See [`notif`].
    #[inline]
    pub const fn notif(&self) -> bool {
        notif(self.flags)
    }

    /// The provided buffer that was used. See [`buffer_select`].
    #[inline]
    pub const fn buffer_select(&self) -> Option<u16> {
        buffer_select(self.flags)
    }

    /// Whether the provided buffer goes on being used. See [`buffer_more`].
    #[inline]
    pub const fn buffer_more(&self) -> bool {
        buffer_more(self.flags)
    }

    /// Whether the socket has more to read. See [`sock_nonempty`].
    #[inline]
    pub const fn sock_nonempty(&self) -> bool {
        sock_nonempty(self.flags)
    }

    /// Whether this is not the program's at all, but a pad of its
    /// [`Mixed`](crate::squeue::Mixed) submission queue, which a broken chain has cancelled.
    #[inline]
    pub const fn is_pad(&self) -> bool {
        self.user_data == PAD_USER_DATA
    }

    /// Whether this is the completion of a cancellation that
    /// [`quiesce`](crate::IoUring::quiesce) pushed. You may see one after it failed. Ignore it.
    #[inline]
    pub const fn is_quiesce(&self) -> bool {
        self.user_data == QUIESCE_USER_DATA
    }
}

impl Entry32 {
    /// The 16 bytes that the operation gives a meaning; zero where it has none.
    #[inline]
    pub const fn big_cqe(&self) -> &[u64; 2] {
        &self.big
    }
}

impl Mixed {
    /// The 16 bytes that the operation gives a meaning, where this completion has them.
    #[inline]
    pub const fn big_cqe(&self) -> Option<&[u64; 2]> {
        if self.0.entry.flags & sys::IORING_CQE_F_32 != 0 { Some(&self.0.big) } else { None }
    }
}

/// The larger kinds are an [`Entry`] with something behind it.
macro_rules! entry_and_more {
    ($($Larger:ident: $($entry:tt).+;)*) => { $(
        impl Deref for $Larger {
            type Target = Entry;

            #[inline]
            fn deref(&self) -> &Entry {
                &self.$($entry).+
            }
        }

        impl DerefMut for $Larger {
            #[inline]
            fn deref_mut(&mut self) -> &mut Entry {
                &mut self.$($entry).+
            }
        }

        impl From<$Larger> for Entry {
            #[inline]
            fn from(larger: $Larger) -> Self {
                *larger
            }
        }
    )* };
}
entry_and_more! {
    Entry32: entry;
    Mixed: 0.entry;
}

/// Whether the request will post more completions: it is multishot and goes on, or a zero-copy send
/// whose notification is to come. `IORING_CQE_F_MORE`, since Linux 5.13.
///
/// Without it, this is the request's last completion, also where it is a multishot request's and a
/// success: it has stopped, and wants to be submitted again.
#[inline]
pub const fn more(flags: u32) -> bool {
    flags & sys::IORING_CQE_F_MORE != 0
}

/// Whether this is the second completion of a zero-copy send, which says that the kernel is done
/// with its memory. `IORING_CQE_F_NOTIF`, since Linux 6.0.
#[inline]
pub const fn notif(flags: u32) -> bool {
    flags & sys::IORING_CQE_F_NOTIF != 0
}

/// The provided buffer that was used, if one was: whatever the result, it is the program's again
/// (but see [`buffer_more`]). `IORING_CQE_F_BUFFER`, since Linux 5.7.
#[inline]
pub const fn buffer_select(flags: u32) -> Option<u16> {
    if flags & sys::IORING_CQE_F_BUFFER != 0 {
        Some((flags >> sys::IORING_CQE_BUFFER_SHIFT) as u16)
    } else {
        None
    }
}

/// Whether the kernel goes on filling the provided buffer behind what this completion reports, in a
/// group whose buffers are used up bit by bit. `IORING_CQE_F_BUF_MORE`, since Linux 6.12.
#[inline]
pub const fn buffer_more(flags: u32) -> bool {
    flags & sys::IORING_CQE_F_BUF_MORE != 0
}

/// Whether the socket has more to read than this receive has taken.
/// `IORING_CQE_F_SOCK_NONEMPTY`, since Linux 5.19.
#[inline]
pub const fn sock_nonempty(flags: u32) -> bool {
    flags & sys::IORING_CQE_F_SOCK_NONEMPTY != 0
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        debug(self, "Entry", f).finish()
    }
}

impl fmt::Debug for Entry32 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        debug(self, "Entry32", f).field("big_cqe", &self.big).finish()
    }
}

impl fmt::Debug for Mixed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        debug(self, "Mixed", f).field("big_cqe", &self.big_cqe()).finish()
    }
}

fn debug<'a, 'b>(
    entry: &Entry,
    name: &str,
    f: &'a mut fmt::Formatter<'b>,
) -> fmt::DebugStruct<'a, 'b> {
    let mut fields = f.debug_struct(name);
    fields.field("user_data", &entry.user_data);
    match entry.to_result().map_err(sys::errno_name) {
        Err(Some(name)) => fields.field("result", &format_args!("{} ({name})", entry.res)),
        _ => fields.field("result", &entry.res),
    };
    fields.field("flags", &format_args!("{:#x}", entry.flags));
    fields
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::io_uring_cqe;
    use std::format;

    fn result(res: i32) -> Result<u32, Errno> {
        Entry { res, ..Entry::default() }.to_result()
    }

    /// USERS.md D2: bit 31 is a flag in a zero-copy usage report, not the sign of an errno.
    #[test]
    fn only_errnos_are_errors() {
        assert_eq!(result(0), Ok(0));
        assert_eq!(result(i32::MAX), Ok(i32::MAX as u32));
        assert_eq!(result(-1), Err(Errno::PERM));
        assert_eq!(result(-4095).map_err(|e| e.raw_os_error()), Err(4095));
        assert_eq!(result(-4096), Ok(-4096i32 as u32));
        assert_eq!(result(i32::MIN), Ok(1 << 31));
    }

    #[test]
    fn layout_is_the_kernels() {
        assert_eq!(size_of::<Entry>(), size_of::<io_uring_cqe>());
        assert_eq!(size_of::<Entry32>(), 32);
        assert_eq!(core::mem::offset_of!(Entry, res), core::mem::offset_of!(io_uring_cqe, res));
        assert_eq!(core::mem::offset_of!(Entry, flags), core::mem::offset_of!(io_uring_cqe, flags));
        assert_eq!(core::mem::offset_of!(Entry32, big), 16);
    }

    #[test]
    fn flags_are_told_apart() {
        assert_eq!(buffer_select(0x1234_0001), Some(0x1234));
        assert_eq!(buffer_select(0x1234_0000), None);
        assert!(more(2) && !more(!2));
        assert!(sock_nonempty(4) && !sock_nonempty(!4));
        assert!(notif(8) && !notif(!8));
        assert!(buffer_more(16) && !buffer_more(!16));
    }

    #[test]
    fn all_ones_print() {
        let ones = Entry32 { entry: Entry { user_data: !0, res: -1, flags: !0 }, big: [!0; 2] };
        assert!(format!("{:?} {:?} {:?}", *ones, ones, Mixed(ones)).contains("0xffffffff"));
    }

    #[test]
    fn debug_names_the_errno() {
        let text = |res| format!("{:?}", Entry { user_data: 7, res, flags: 2 });
        assert_eq!(text(-2), "Entry { user_data: 7, result: -2 (ENOENT), flags: 0x2 }");
        assert_eq!(text(5), "Entry { user_data: 7, result: 5, flags: 0x2 }");
        // One that is newer than this crate, and one that is none.
        assert_eq!(text(-4095), "Entry { user_data: 7, result: -4095, flags: 0x2 }");
        assert_eq!(text(-4096), "Entry { user_data: 7, result: -4096, flags: 0x2 }");
    }
}
