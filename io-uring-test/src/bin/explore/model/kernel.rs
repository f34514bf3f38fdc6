//! Differences between kernels.

use super::operation::Transfer;
use super::restrict::Restrictions;
use crate::known::Known;

/// The differences between kernels, as the running kernel answered when it was queried.
#[derive(Clone, Debug, Default)]
pub(crate) struct Kernel {
    /// The setup flags that the kernel knows.
    pub(crate) setup: u32,
    pub(crate) ext_arg: bool,
    pub(crate) min_timeout: bool,
    pub(crate) cqe_skip: bool,
    /// The kernel looks up files when it issues an operation, not when the operation is submitted.
    pub(crate) linked_file: bool,
    pub(crate) nop_result: bool,
    pub(crate) nop_task_work: bool,
    pub(crate) nop_big: bool,
    /// The kernel rejects a NOP with an I/O priority.
    pub(crate) nop_ioprio: bool,
    pub(crate) nop128: bool,
    /// NOPs succeed on an IOPOLL ring.
    pub(crate) nop_iopoll: bool,
    /// Of the operations and calls that restrictions may list: those that the kernel knows.
    pub(crate) listable: Restrictions,
    pub(crate) messages: bool,
    pub(crate) message_flags: bool,
    /// A message to a ring with DEFER_TASKRUN is posted by the work of that ring's task.
    pub(crate) messages_deferred: bool,
    pub(crate) poll_multi: bool,
    /// A multishot request ends if its completion finds no room in the queue.
    pub(crate) multishot_needs_room: bool,
    /// A removed poll completes at once, not by the work of its task.
    pub(crate) poll_removed_at_once: bool,
    pub(crate) poll_update: bool,
    /// A timeout may expire several times.
    pub(crate) timeout_multi: bool,
    /// A timeout may have a flag that makes its expiry a success.
    pub(crate) timeout_success: bool,
    /// A timeout may use another clock than the monotonic one.
    pub(crate) timeout_clocks: bool,
    pub(crate) timeout_update: bool,
    /// The time of a linked timeout can be updated.
    pub(crate) link_timeout_update: bool,
    pub(crate) cancel_any: bool,
    /// Rejected entries complete in order, not before entries that were submitted with them.
    pub(crate) refusals_in_order: bool,
    /// A cancellation is posted, and the next request of its chain queued, with the other requests
    /// of the submission, and not before them.
    pub(crate) cancels_in_order: bool,
    /// An enter call for an SQPOLL ring moves completions that wait for room, although it asks for
    /// no events.
    pub(crate) sqpoll_enter_flushes: bool,
    /// A completion does not overtake those that wait for room in the queue.
    pub(crate) overflow_in_order: bool,
    /// A cancellation can match both the file and the user data.
    pub(crate) cancel_both: bool,
    pub(crate) sync_cancel: bool,
    pub(crate) sparse_files: bool,
    /// Entries after a drain wait until the drain has completed, not only until it has started.
    pub(crate) drain_holds: bool,
    /// A task does the newest work first. The second field is the same for rings with
    /// DEFER_TASKRUN.
    pub(crate) in_reverse: bool,
    pub(crate) deferred_in_reverse: bool,
    /// The completions of a multishot request do not overtake those of requests that ended earlier
    /// in the same round of work.
    pub(crate) multishot_in_order: bool,
    /// A register call first does the work of the task.
    pub(crate) register_runs_work: bool,
    /// The task itself reads pipes. Otherwise, a worker thread reads them, because the read might
    /// block.
    pub(crate) pipe_nowait: bool,
    /// The task itself reads and writes regular files.
    pub(crate) file_reads_at_once: bool,
    pub(crate) file_writes_at_once: bool,
    /// The operations that transfer to or from parts of a registered buffer.
    pub(crate) fixed_vectors: bool,
    /// After a read of a regular file, the completion says whether more of the buffer follows.
    pub(crate) file_buf_more: bool,
    /// The test can see when worker threads are idle.
    pub(crate) workers_show: bool,
    pub(crate) resize: bool,
    /// A resize sets the flag for waiting work (TASKRUN), whether or not any work waits.
    pub(crate) resize_shows_taskrun: bool,
    pub(crate) ring_fds: bool,
    pub(crate) restrictions: bool,
    /// The kernel applies restrictions before it checks whether the operation supports the flags of
    /// the entry.
    pub(crate) restricts_first: bool,
    /// Provided buffer rings, and bundles.
    pub(crate) provided: bool,
    pub(crate) incremental: bool,
    /// The completion of a receive says whether the socket has more data.
    pub(crate) tells_rest: bool,
    /// The amount left in a socket includes what was already read of a write, until the whole write
    /// is read.
    pub(crate) counts_what_was_read: bool,
    /// The kernel looks up registered buffers when it issues an operation, and posts tags at once.
    pub(crate) buffers: bool,
    /// Registered buffers can be cloned from another ring: some of them, and in addition to
    /// existing ones.
    pub(crate) clones: bool,
    /// A descriptor can be made for the file in a slot.
    pub(crate) installs: bool,
    /// Messages can be sent by a register call without a ring.
    pub(crate) sends_by_call: bool,
    pub(crate) reg_reg_ring: bool,
    /// The model is made wrong on purpose when two completions are ready.
    pub(crate) injected: bool,
    pub(crate) known: Known,
}

impl Kernel {
    /// Whether the task itself makes a transfer. Otherwise, a worker thread makes it.
    pub(crate) fn transfers_at_once(&self, what: &Transfer) -> bool {
        if what.writes() { self.file_writes_at_once } else { self.file_reads_at_once }
    }
}
