//! Differences between kernels.

use super::restrict::Restrictions;
use crate::known::Known;

/// What differs from kernel to kernel, as it was found by asking.
#[derive(Clone, Debug, Default)]
pub(crate) struct Kernel {
    /// The setup flags that it knows.
    pub(crate) setup: u32,
    pub(crate) ext_arg: bool,
    pub(crate) min_timeout: bool,
    pub(crate) cqe_skip: bool,
    /// Files are looked up when an operation is issued, and not when it is submitted.
    pub(crate) linked_file: bool,
    pub(crate) nop_result: bool,
    pub(crate) nop_task_work: bool,
    pub(crate) nop_big: bool,
    /// A NOP with an I/O priority is refused.
    pub(crate) nop_ioprio: bool,
    pub(crate) nop128: bool,
    /// The operations and calls that it knows, of those that restrictions may list.
    pub(crate) listable: Restrictions,
    pub(crate) messages: bool,
    pub(crate) message_flags: bool,
    /// A message to a ring that defers is posted by the work of that ring's task.
    pub(crate) messages_deferred: bool,
    pub(crate) poll_multi: bool,
    /// A poll that is removed completes with the removal, and not by the work of its task.
    pub(crate) poll_removed_at_once: bool,
    pub(crate) poll_update: bool,
    /// A timeout may run out several times.
    pub(crate) timeout_multi: bool,
    /// A timeout may say that to run out is no failure.
    pub(crate) timeout_success: bool,
    /// A timeout may be by another clock than the monotonic one.
    pub(crate) timeout_clocks: bool,
    pub(crate) timeout_update: bool,
    /// The time of what watches a request can be changed.
    pub(crate) link_timeout_update: bool,
    pub(crate) cancel_any: bool,
    /// What is refused completes in order, and not before what was submitted with it.
    pub(crate) refusals_in_order: bool,
    /// By file and user data at once.
    pub(crate) cancel_both: bool,
    pub(crate) sync_cancel: bool,
    pub(crate) sparse_files: bool,
    /// What comes behind a drain waits until that has completed, and not only until it has started.
    pub(crate) drain_holds: bool,
    /// A task does the newest work first, and the same for that of rings that defer.
    pub(crate) in_reverse: bool,
    pub(crate) deferred_in_reverse: bool,
    /// What a multishot request posts does not overtake what was done in the same round before.
    pub(crate) multishot_in_order: bool,
    /// A register call does the work of the task first.
    pub(crate) register_runs_work: bool,
    /// Pipes are read by the task itself, and not by a worker thread, which might have to wait.
    pub(crate) pipe_nowait: bool,
    /// It shows when worker threads have come to rest.
    pub(crate) workers_show: bool,
    pub(crate) resize: bool,
    /// A resize sets the flag that says that work waits, whether any does.
    pub(crate) resize_shows_taskrun: bool,
    pub(crate) ring_fds: bool,
    pub(crate) restrictions: bool,
    /// They hold before it is looked at whether an operation can do what the flags ask for.
    pub(crate) restricts_first: bool,
    /// Rings of provided buffers, and bundles.
    pub(crate) provided: bool,
    pub(crate) incremental: bool,
    /// A socket says how much is left in it.
    pub(crate) tells_rest: bool,
    /// It counts what was read of a write, until all of that is.
    pub(crate) counts_what_was_read: bool,
    /// Registered buffers are looked up when an operation is issued, and tags are posted at once.
    pub(crate) buffers: bool,
    /// Registered buffers can be taken over from another ring, some of them and in addition to others.
    pub(crate) clones: bool,
    /// A descriptor can be made of what is in a slot.
    pub(crate) installs: bool,
    /// Messages by a call without a ring.
    pub(crate) sends_by_call: bool,
    pub(crate) reg_reg_ring: bool,
    /// The model is made wrong, where two completions are ready.
    pub(crate) injected: bool,
    pub(crate) known: Known,
}
