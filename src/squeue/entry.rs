//! The entries: 64 and 128 bytes.

use core::fmt;

use crate::sqe::{Flags, Sqe};

/// A submission of 64 bytes, `struct io_uring_sqe`, as the builders of [`opcode`](crate::opcode) make it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct Entry(Sqe);

/// A submission of 128 bytes: an [`Entry`] and 64 more bytes, which only commands use. Since Linux
/// 5.19 (`IORING_SETUP_SQE128`), beside entries of 64 bytes since 6.19
/// ([`Mixed`](super::Mixed)).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct Entry128(Entry, [u8; 64]);

impl Entry {
    /// The entry with these bytes.
    #[inline]
    pub const fn from_raw(sqe: Sqe) -> Self {
        Self(sqe)
    }

    /// The entry's bytes.
    #[inline]
    pub const fn into_raw(self) -> Sqe {
        self.0
    }
}

impl Entry128 {
    /// The entry with these bytes: the fields, and what follows them.
    ///
    /// The 80 bytes of a command begin in the last 16 bytes of `sqe`.
    #[inline]
    pub const fn from_raw(sqe: Sqe, rest: [u8; 64]) -> Self {
        Self(Entry(sqe), rest)
    }

    /// The entry's bytes: the fields, and what follows them.
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

/// What both sizes have in common.
macro_rules! common {
    ($($Entry:ident: $($sqe:tt).+;)*) => { $(
        impl $Entry {
            /// The fields, to read.
            #[inline]
            pub const fn as_raw(&self) -> &Sqe {
                &self.$($sqe).+
            }

            /// The fields, to write what no builder can express.
            #[inline]
            pub const fn as_raw_mut(&mut self) -> &mut Sqe {
                &mut self.$($sqe).+
            }

            /// Sets flags, beside those that are set already.
            #[must_use]
            #[inline]
            pub const fn flags(mut self, flags: Flags) -> Self {
                self.$($sqe).+.flags |= flags.bits();
                self
            }

            /// Clears all flags, [`Flags::FIXED_FILE`] included.
            #[must_use]
            #[inline]
            pub const fn clear_flags(mut self) -> Self {
                self.$($sqe).+.flags = 0;
                self
            }

            /// The flags that are set.
            #[inline]
            pub const fn get_flags(&self) -> Flags {
                Flags::from_bits_retain(self.$($sqe).+.flags)
            }

            /// Sets the number that comes back in the completion.
            #[must_use]
            #[inline]
            pub const fn user_data(mut self, user_data: u64) -> Self {
                self.$($sqe).+.user_data = user_data;
                self
            }

            /// Sets the number that comes back in the completion, in place.
            #[inline]
            pub const fn set_user_data(&mut self, user_data: u64) {
                self.$($sqe).+.user_data = user_data;
            }

            /// The number that comes back in the completion.
            #[inline]
            pub const fn get_user_data(&self) -> u64 {
                self.$($sqe).+.user_data
            }

            /// The operation's number.
            #[inline]
            pub const fn get_opcode(&self) -> u32 {
                self.$($sqe).+.opcode as u32
            }

            /// Sets the registered credentials to act with; 0 stands for the task's own.
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
    fn debug_shows_the_second_half_where_there_is_one() {
        let plain = Entry128::default();
        assert!(format!("{plain:?}").starts_with("Entry128(Sqe { opcode: IORING_OP_NOP, "));
        assert!(format!("{plain:?}").ends_with("user_data: 0 })"));
        let full = Entry128::from_raw(Sqe::ZERO, [7; 64]);
        assert!(format!("{full:?}").contains("}, [7, 7, "));
    }
}
