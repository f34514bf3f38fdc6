//! Pages to read.

#[doc = include_str!("docs/fast.md")]
pub mod fast {}
