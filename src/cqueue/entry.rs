//! Completions of 16 bytes, of 32 bytes, and of either size.

use core::fmt;
use core::ops::{Deref, DerefMut};

use rustix::io::Errno;

use crate::sqe::{PAD_USER_DATA, QUIESCE_USER_DATA};
use crate::sys;

/// A 16-byte completion (`struct io_uring_cqe`): the user data and the result of a request.
///
/// The other two kinds, [`Entry32`] and [`Mixed`], have all of its methods. If the result is an
/// error, `Debug` prints the name of the errno.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct Entry {
    pub(crate) user_data: u64,
    pub(crate) res: i32,
    pub(crate) flags: u32,
}

/// A 32-byte completion: an [`Entry`] and 16 bytes whose meaning the operation defines. Since Linux
/// 5.19 (`IORING_SETUP_CQE32`).
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct Entry32 {
    pub(crate) entry: Entry,
    pub(crate) big: [u64; 2],
}

/// A completion of a ring with both sizes. Since Linux 6.18 (`IORING_SETUP_CQE_MIXED`).
///
/// **Do not let such a queue fill up.** Two kernel bugs affect a full queue:
///
/// - Linux 6.18 to 7.3 deliver one completion twice when the queue overflows. If a 32-byte
///   completion finds only the last slot free, the kernel puts filler there. The next small
///   completion overwrites the filler, and an older completion appears again behind it. If you
///   count completions, or free what their user data refers to, you do so twice.
/// - A wait for as many completions as the queue has slots may spin in the kernel forever, and no
///   signal ends it (seen on 6.18 and 7.2). This crate waits for one completion fewer.
///
/// Give the queue ([`setup_cqsize`](crate::Builder::setup_cqsize)) more than two slots for each
/// completion that you may have to reap, or keep fewer operations in flight.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct Mixed(pub(crate) Entry32);

impl Entry {
    /// Returns the user data, which is that of the submission.
    #[inline]
    pub const fn user_data(&self) -> u64 {
        self.user_data
    }

    /// Replaces the user data in this completion. Use this in a layer that submits with user data
    /// of its own.
    #[inline]
    pub const fn set_user_data(&mut self, user_data: u64) {
        self.user_data = user_data;
    }

    /// Returns the result as the kernel wrote it: the result of the operation, or a negated errno.
    #[inline]
    pub const fn result(&self) -> i32 {
        self.res
    }

    /// Returns the result, or an error if it is a negated errno.
    ///
    /// # Errors
    ///
    /// Returns the errno if the result is between -4095 and -1. Other negative numbers are not
    /// errors. For example, the usage report of a zero-copy send has the top bit set.
    #[inline]
    pub const fn to_result(&self) -> Result<u32, Errno> {
        match self.res {
            errno @ -4095..=-1 => Err(Errno::from_raw_os_error(-errno)),
            res => Ok(res as u32),
        }
    }

    /// Returns the flags as the kernel wrote them. The upper 16 bits are the buffer ID of
    /// [`buffer_select`](Self::buffer_select).
    #[inline]
    pub const fn flags(&self) -> u32 {
        self.flags
    }

    /// Returns whether the request will post more completions. See [`more`].
    #[inline]
    pub const fn more(&self) -> bool {
        more(self.flags)
    }

    /// Returns whether this is the notification that the kernel no longer uses the memory of a
    /// zero-copy send. See [`notif`].
    #[inline]
    pub const fn notif(&self) -> bool {
        notif(self.flags)
    }

    /// Returns the ID of the provided buffer that was used. See [`buffer_select`].
    #[inline]
    pub const fn buffer_select(&self) -> Option<u16> {
        buffer_select(self.flags)
    }

    /// Returns whether the kernel continues to use the provided buffer. See [`buffer_more`].
    #[inline]
    pub const fn buffer_more(&self) -> bool {
        buffer_more(self.flags)
    }

    /// Returns whether the socket has more data to read. See [`sock_nonempty`].
    #[inline]
    pub const fn sock_nonempty(&self) -> bool {
        sock_nonempty(self.flags)
    }

    /// Returns whether this completion belongs to a pad that the [`Mixed`](crate::squeue::Mixed)
    /// submission queue has inserted, and not to an entry of yours. Such a completion is posted if
    /// a chain breaks, or with [`post_pad_cqes`](crate::Builder::post_pad_cqes).
    #[inline]
    pub const fn is_pad(&self) -> bool {
        self.user_data == PAD_USER_DATA
    }

    /// Returns whether this is the completion of a cancellation that
    /// [`quiesce`](crate::IoUring::quiesce) has pushed. You may see one after `quiesce` has failed.
    /// Ignore it.
    #[inline]
    pub const fn is_quiesce(&self) -> bool {
        self.user_data == QUIESCE_USER_DATA
    }
}

impl Entry32 {
    /// Returns the 16 bytes whose meaning the operation defines. They are zero if it defines none.
    #[inline]
    pub const fn big_cqe(&self) -> &[u64; 2] {
        &self.big
    }
}

impl Mixed {
    /// Returns the 16 bytes whose meaning the operation defines, or `None` if this completion does
    /// not have them.
    #[inline]
    pub const fn big_cqe(&self) -> Option<&[u64; 2]> {
        if self.0.entry.flags & sys::IORING_CQE_F_32 != 0 { Some(&self.0.big) } else { None }
    }
}

/// Makes the larger kinds dereference to their [`Entry`].
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

/// Returns whether the request will post more completions (`IORING_CQE_F_MORE`). Since Linux 5.13.
///
/// This is the case if the request is multishot and still active, or if it is a zero-copy send
/// whose notification is still to come. Otherwise this is the last completion of the request. A
/// multishot request may stop even after a success: to continue, submit it again.
#[inline]
pub const fn more(flags: u32) -> bool {
    flags & sys::IORING_CQE_F_MORE != 0
}

/// Returns whether this is the second completion of a zero-copy send (`IORING_CQE_F_NOTIF`). It
/// says that the kernel no longer uses the memory. Since Linux 6.0.
#[inline]
pub const fn notif(flags: u32) -> bool {
    flags & sys::IORING_CQE_F_NOTIF != 0
}

/// Returns the ID of the provided buffer that was used, if any (`IORING_CQE_F_BUFFER`). Since Linux
/// 5.7.
///
/// Whatever the result is, the kernel has returned the buffer to you (but see [`buffer_more`]).
#[inline]
pub const fn buffer_select(flags: u32) -> Option<u16> {
    if flags & sys::IORING_CQE_F_BUFFER != 0 {
        Some((flags >> sys::IORING_CQE_BUFFER_SHIFT) as u16)
    } else {
        None
    }
}

/// Returns whether the kernel continues to fill the provided buffer after the part that this
/// completion reports (`IORING_CQE_F_BUF_MORE`). This happens in groups whose buffers are consumed
/// incrementally. Since Linux 6.12.
#[inline]
pub const fn buffer_more(flags: u32) -> bool {
    flags & sys::IORING_CQE_F_BUF_MORE != 0
}

/// Returns whether the socket has more data than this receive has read
/// (`IORING_CQE_F_SOCK_NONEMPTY`). Since Linux 5.19.
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

    /// In a zero-copy usage report, bit 31 is a flag and not the sign of an errno.
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
    fn layout_is_that_of_the_kernel() {
        assert_eq!(size_of::<Entry>(), size_of::<io_uring_cqe>());
        assert_eq!(size_of::<Entry32>(), 32);
        assert_eq!(core::mem::offset_of!(Entry, res), core::mem::offset_of!(io_uring_cqe, res));
        assert_eq!(core::mem::offset_of!(Entry, flags), core::mem::offset_of!(io_uring_cqe, flags));
        assert_eq!(core::mem::offset_of!(Entry32, big), 16);
    }

    #[test]
    fn flags_are_distinguished() {
        assert_eq!(buffer_select(0x1234_0001), Some(0x1234));
        assert_eq!(buffer_select(0x1234_0000), None);
        assert!(more(2) && !more(!2));
        assert!(sock_nonempty(4) && !sock_nonempty(!4));
        assert!(notif(8) && !notif(!8));
        assert!(buffer_more(16) && !buffer_more(!16));
    }

    #[test]
    fn unknown_bits_print() {
        let ones = Entry32 { entry: Entry { user_data: !0, res: -1, flags: !0 }, big: [!0; 2] };
        assert!(format!("{:?} {:?} {:?}", *ones, ones, Mixed(ones)).contains("0xffffffff"));
    }

    #[test]
    fn debug_names_the_errno() {
        let text = |res| format!("{:?}", Entry { user_data: 7, res, flags: 2 });
        assert_eq!(text(-2), "Entry { user_data: 7, result: -2 (ENOENT), flags: 0x2 }");
        assert_eq!(text(5), "Entry { user_data: 7, result: 5, flags: 0x2 }");
        // An errno that is newer than this crate, and a number that is not an errno.
        assert_eq!(text(-4095), "Entry { user_data: 7, result: -4095, flags: 0x2 }");
        assert_eq!(text(-4096), "Entry { user_data: 7, result: -4096, flags: 0x2 }");
    }
}
