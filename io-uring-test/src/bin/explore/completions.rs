//! The operations in which the kinds of completion queue differ.

use rustix_uring::{CompletionQueue, cqueue};

use crate::model::cqueue::Cqe;

/// A completion as the model represents it.
pub(crate) trait Completed: Copy {
    fn cqe(self) -> Cqe;
}

fn cqe(entry: cqueue::Entry, big: Option<[u64; 2]>) -> Cqe {
    Cqe { user_data: entry.user_data(), result: entry.result(), flags: entry.flags(), big }
}

impl Completed for cqueue::Entry {
    fn cqe(self) -> Cqe {
        cqe(self, None)
    }
}

impl Completed for cqueue::Entry32 {
    fn cqe(self) -> Cqe {
        cqe(self.into(), Some(*self.big_cqe()))
    }
}

impl Completed for cqueue::Mixed {
    fn cqe(self) -> Cqe {
        cqe(self.into(), self.big_cqe().copied())
    }
}

/// The operations in which the kinds of completion queue differ.
pub(crate) trait CKind: cqueue::Kind + Completed {
    /// Takes completions as slices, if the queue supports that.
    fn by_slices(queue: &mut CompletionQueue<'_, Self>, n: usize, into: &mut Vec<Cqe>);
}

macro_rules! uniform {
    ($($C:ty)*) => { $(
        impl CKind for $C {
            fn by_slices(queue: &mut CompletionQueue<'_, Self>, n: usize, into: &mut Vec<Cqe>) {
                let (older, newer) = queue.as_slices();
                into.extend(older.iter().chain(newer).take(n).map(|cqe| cqe.cqe()));
                queue.consume(n);
            }
        }
    )* };
}
uniform! { cqueue::Entry cqueue::Entry32 }

impl CKind for cqueue::Mixed {
    fn by_slices(queue: &mut CompletionQueue<'_, Self>, n: usize, into: &mut Vec<Cqe>) {
        into.extend(queue.by_ref().take(n).map(Completed::cqe));
    }
}
