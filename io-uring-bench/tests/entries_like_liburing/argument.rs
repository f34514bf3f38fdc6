//! The arguments with which the functions are called.

use std::ffi::c_void;
use std::fmt::Debug;
use std::ptr;
use std::sync::LazyLock;

use proptest::prelude::*;

/// The maximum number of extremes of a type: five for each bit and sign.
pub(crate) const EXTREMES: usize = 5 * 2 * 64;

/// The type of an argument.
pub(crate) trait Argument: Copy + Debug + 'static {
    /// The extreme with this number. The extremes are the powers of two, their negatives, and two
    /// neighbors on either side, which include 0 and both ends of the type. After the last one,
    /// they start again.
    fn extreme(n: usize) -> Self;

    /// Generates extremes, small numbers, and any other values.
    fn strategy() -> BoxedStrategy<Self>;
}

macro_rules! integers {
    ($($Integer:ident)*) => { $(
        impl Argument for $Integer {
            fn extreme(n: usize) -> Self {
                static ALL: LazyLock<Vec<$Integer>> = LazyLock::new(|| {
                    let powers = (0..$Integer::BITS).map(|bit| (1 as $Integer) << bit);
                    let signed = powers.flat_map(|power| [power, power.wrapping_neg()]);
                    let mut all: Vec<_> = signed
                        .flat_map(|n| (0..5).map(move |up| n.wrapping_sub(2).wrapping_add(up)))
                        .collect();
                    all.sort();
                    all.dedup();
                    all
                });
                ALL[n % ALL.len()]
            }

            fn strategy() -> BoxedStrategy<Self> {
                let extremes = (0..EXTREMES).prop_map(Self::extreme);
                prop_oneof![0 as Self..64, extremes, any::<Self>()].boxed()
            }
        }
    )* };
}
integers!(u16 i32 u32 i64 u64 usize);

macro_rules! pointers {
    ($($Pointer:ty: $make:path;)*) => { $(
        impl Argument for $Pointer {
            fn extreme(n: usize) -> Self {
                $make(usize::extreme(n))
            }

            fn strategy() -> BoxedStrategy<Self> {
                usize::strategy().prop_map($make).boxed()
            }
        }
    )* };
}
pointers! {
    *const c_void: ptr::without_provenance;
    *mut c_void: ptr::without_provenance_mut;
}

#[test]
fn extremes_are_among_them() {
    let all: Vec<_> = (0..EXTREMES).map(i32::extreme).collect();
    for extreme in [0, 1, -1, i32::MIN, i32::MIN + 1, i32::MAX, i32::MAX - 1, 65_535, -65_537] {
        assert!(all.contains(&extreme), "{extreme}");
    }
}
