//! Entries of 64 and of 128 bytes.

use core::fmt;

use crate::sqe::{Flags, Sqe};

/// A 64-byte submission (`struct io_uring_sqe`). The builders of [`opcode`](crate::opcode) create
/// it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct Entry(Sqe);

/// A 128-byte submission: an [`Entry`] and 64 more bytes, which only commands use.
///
/// A queue of such entries exists since Linux 5.19 (`IORING_SETUP_SQE128`), and a queue of both
/// sizes since Linux 6.19 ([`Mixed`](super::Mixed)).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct Entry128(Entry, [u8; 64]);

impl Entry {
    /// Creates an entry from its fields.
    #[inline]
    pub const fn from_raw(sqe: Sqe) -> Self {
        Self(sqe)
    }

    /// Returns the fields of the entry.
    #[inline]
    pub const fn into_raw(self) -> Sqe {
        self.0
    }
}

impl Entry128 {
    /// Creates an entry from its fields and the 64 bytes after them.
    ///
    /// The 80 bytes of a command start in the last 16 bytes of `sqe`.
    #[inline]
    pub const fn from_raw(sqe: Sqe, rest: [u8; 64]) -> Self {
        Self(Entry(sqe), rest)
    }

    /// Returns the fields of the entry and the 64 bytes after them.
    #[inline]
    pub const fn into_raw(self) -> (Sqe, [u8; 64]) {
        (self.0.0, self.1)
    }
}

impl From<Entry> for Entry128 {
    #[inline]
    fn from(entry: Entry) -> Self {
        Self(entry, [0; 64])
    }
}

impl Default for Entry128 {
    fn default() -> Self {
        Entry::default().into()
    }
}

impl fmt::Debug for Entry128 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut fields = f.debug_tuple("Entry128");
        fields.field(&self.0.0);
        if self.1 != [0; 64] {
            fields.field(&self.1);
        }
        fields.finish()
    }
}

/// Implements the methods that both sizes have in common.
macro_rules! common {
    ($($Entry:ident: $($sqe:tt).+;)*) => { $(
        impl $Entry {
            /// Returns the fields for reading.
            #[inline]
            pub const fn as_raw(&self) -> &Sqe {
                &self.$($sqe).+
            }

            /// Returns the fields for writing. Use this to set what no builder can express.
            #[inline]
            pub const fn as_raw_mut(&mut self) -> &mut Sqe {
                &mut self.$($sqe).+
            }

            /// Adds flags to those that are already set.
            #[must_use]
            #[inline]
            pub const fn flags(mut self, flags: Flags) -> Self {
                self.$($sqe).+.flags |= flags.bits();
                self
            }

            /// Clears all flags, including [`Flags::FIXED_FILE`].
            #[must_use]
            #[inline]
            pub const fn clear_flags(mut self) -> Self {
                self.$($sqe).+.flags = 0;
                self
            }

            /// Returns the flags.
            #[inline]
            pub const fn get_flags(&self) -> Flags {
                Flags::from_bits_retain(self.$($sqe).+.flags)
            }

            /// Sets the user data, which the completion returns.
            #[must_use]
            #[inline]
            pub const fn user_data(mut self, user_data: u64) -> Self {
                self.$($sqe).+.user_data = user_data;
                self
            }

            /// Sets the user data in place. The completion returns it.
            #[inline]
            pub const fn set_user_data(&mut self, user_data: u64) {
                self.$($sqe).+.user_data = user_data;
            }

            /// Returns the user data.
            #[inline]
            pub const fn get_user_data(&self) -> u64 {
                self.$($sqe).+.user_data
            }

            /// Returns the number of the operation.
            #[inline]
            pub const fn get_opcode(&self) -> u32 {
                self.$($sqe).+.opcode as u32
            }

            /// Sets the ID of the registered credentials to use. With 0, the operation uses those
            /// of the task.
            #[must_use]
            #[inline]
            pub const fn personality(mut self, personality: u16) -> Self {
                self.$($sqe).+.personality = personality;
                self
            }
        }
    )* };
}
common! {
    Entry: 0;
    Entry128: 0.0;
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::format;

    #[test]
    fn debug_shows_a_nonzero_second_half() {
        let plain = Entry128::default();
        assert!(format!("{plain:?}").starts_with("Entry128(Sqe { opcode: IORING_OP_NOP, "));
        assert!(format!("{plain:?}").ends_with("user_data: 0 })"));
        let full = Entry128::from_raw(Sqe::ZERO, [7; 64]);
        assert!(format!("{full:?}").contains("}, [7, 7, "));
    }
}
