//! Pages to read, in any order.

#[doc = include_str!("docs/linking.md")]
pub mod linking {}

#[doc = include_str!("docs/multishot.md")]
pub mod multishot {}

#[doc = include_str!("docs/provided_buffers.md")]
pub mod provided_buffers {}

#[doc = include_str!("docs/zero_copy.md")]
pub mod zero_copy {}

#[doc = include_str!("docs/registered.md")]
pub mod registered {}

#[doc = include_str!("docs/threads.md")]
pub mod threads {}

#[doc = include_str!("docs/restrictions.md")]
pub mod restrictions {}

#[doc = include_str!("docs/kernels.md")]
pub mod kernels {}

#[doc = include_str!("docs/fast.md")]
pub mod fast {}

#[doc = include_str!("docs/mistakes.md")]
pub mod mistakes {}

#[doc = include_str!("docs/from_io_uring.md")]
pub mod from_io_uring {}

#[doc = include_str!("docs/from_liburing.md")]
pub mod from_liburing {}

#[doc = include_str!("docs/from_0_6.md")]
pub mod from_0_6 {}
