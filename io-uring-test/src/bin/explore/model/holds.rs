//! What a ring holds of the process: descriptors, and mappings of kernel memory.
//!
//! - A ring has one descriptor, unless it was built without one or the program has closed it.
//! - Both queues are one mapping, and the entries of the submission queue are another one. A resize
//!   replaces both. A ring in the program's memory has no mappings, and a ring that was lost keeps
//!   only the address space.
//! - A group of provided buffers in kernel memory is one mapping.
//! - A registered eventfd, file or buffer takes no descriptor and no mapping.

use std::ops::Sub;

use super::ring::Ring;

/// Numbers of descriptors and mappings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Holds {
    pub(crate) descriptors: isize,
    pub(crate) mappings: isize,
}

impl Sub for Holds {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        Self {
            descriptors: self.descriptors - other.descriptors,
            mappings: self.mappings - other.mappings,
        }
    }
}

impl Ring {
    pub(crate) fn holds(&self) -> Holds {
        let mapped = |group: &&super::buffers::Group| group.is_mapped;
        let groups = self.groups.iter().flatten().filter(mapped).count();
        Holds {
            descriptors: isize::from(self.built.descriptor),
            mappings: groups as isize + if self.built.in_memory { 0 } else { 2 },
        }
    }
}
