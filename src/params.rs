//! What was asked of the kernel for a ring, and what it answered.

use core::fmt;

use bitflags::bitflags;

use crate::sys::{self, io_uring_params};

bitflags! {
    /// The `IORING_SETUP_*` flags of a ring.
    ///
    /// [`Builder`](crate::Builder) sets them; this type is for reading them back.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    #[repr(transparent)]
    pub struct SetupFlags: u32 {
        /// Completions are polled for. Since Linux 5.1.
        const IOPOLL = sys::IORING_SETUP_IOPOLL;
        /// A kernel thread takes the submissions. Since Linux 5.1.
        const SQPOLL = sys::IORING_SETUP_SQPOLL;
        /// That thread is bound to a processor. Since Linux 5.1.
        const SQ_AFF = sys::IORING_SETUP_SQ_AFF;
        /// The size of the completion queue was given. Since Linux 5.5.
        const CQSIZE = sys::IORING_SETUP_CQSIZE;
        /// Sizes above the limits are brought down to them. Since Linux 5.6.
        const CLAMP = sys::IORING_SETUP_CLAMP;
        /// Workers (and the SQPOLL thread) are another ring's. Since Linux 5.6.
        const ATTACH_WQ = sys::IORING_SETUP_ATTACH_WQ;
        /// The ring starts disabled. Since Linux 5.10.
        const R_DISABLED = sys::IORING_SETUP_R_DISABLED;
        /// A submission goes on after an entry that fails. Since Linux 5.18.
        const SUBMIT_ALL = sys::IORING_SETUP_SUBMIT_ALL;
        /// Completions do not interrupt the task. Since Linux 5.19.
        const COOP_TASKRUN = sys::IORING_SETUP_COOP_TASKRUN;
        /// A flag says that completions wait to be run. Since Linux 5.19.
        const TASKRUN_FLAG = sys::IORING_SETUP_TASKRUN_FLAG;
        /// Submissions have 128 bytes. Since Linux 5.19.
        const SQE128 = sys::IORING_SETUP_SQE128;
        /// Completions have 32 bytes. Since Linux 5.19.
        const CQE32 = sys::IORING_SETUP_CQE32;
        /// Only one task submits. Since Linux 6.0.
        const SINGLE_ISSUER = sys::IORING_SETUP_SINGLE_ISSUER;
        /// Completions are posted only when that task asks for events. Since Linux 6.1.
        const DEFER_TASKRUN = sys::IORING_SETUP_DEFER_TASKRUN;
        /// The memory is the program's. Since Linux 6.5.
        const NO_MMAP = sys::IORING_SETUP_NO_MMAP;
        /// The ring has a registered index and no descriptor. Since Linux 6.5.
        const REGISTERED_FD_ONLY = sys::IORING_SETUP_REGISTERED_FD_ONLY;
        /// There is no index array between tail and entries. Since Linux 6.6.
        const NO_SQARRAY = sys::IORING_SETUP_NO_SQARRAY;
        /// Polling for completions sleeps first. Since Linux 6.13.
        const HYBRID_IOPOLL = sys::IORING_SETUP_HYBRID_IOPOLL;
        /// Completions have 16 or 32 bytes each. Since Linux 6.18.
        const CQE_MIXED = sys::IORING_SETUP_CQE_MIXED;
        /// Submissions have 64 or 128 bytes each. Since Linux 6.19.
        const SQE_MIXED = sys::IORING_SETUP_SQE_MIXED;
        /// Every submission starts at the first slot. Since Linux 7.0.
        const SQ_REWIND = sys::IORING_SETUP_SQ_REWIND;

        const _ = !0;
    }
}

impl SetupFlags {
    /// What [`Submitter`](crate::Submitter) takes for a ring that is lost: no kernel makes a ring with
    /// both.
    pub(crate) const LOST: Self = Self::SQPOLL.union(Self::DEFER_TASKRUN);
}

/// The features that a kernel answers with, from one list: a flag, a method, a kernel.
macro_rules! features {
    ($($(#[doc = $doc:literal])+ $FLAG:ident = $value:ident, $method:ident, $since:literal;)*) => {
        bitflags! {
            /// The `IORING_FEAT_*` that the kernel has, as it said when the ring was set up.
            #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
            #[repr(transparent)]
            pub struct Features: u32 {
                $(
                    $(#[doc = $doc])+
                    ///
                    #[doc = concat!("Since Linux ", $since, ".")]
                    const $FLAG = sys::$value;
                )*
                const _ = !0;
            }
        }

        impl Parameters {
            $(
                $(#[doc = $doc])+
                ///
                #[doc = concat!("[`Features::", stringify!($FLAG), "`], since Linux ", $since, ".")]
                #[inline]
                pub fn $method(&self) -> bool {
                    self.features().contains(Features::$FLAG)
                }
            )*
        }

        bitflags! {
    /// The `IORING_ENTER_*` flags of a raw [`enter`](Submitter::enter).
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    #[repr(transparent)]
    pub struct EnterFlags: u32 {
        /// Wait for completions, and do what only a waiter does: deferred task work, polled
        /// I/O, completions that found the queue full.
        const GETEVENTS = sys::IORING_ENTER_GETEVENTS;
        /// Wake the SQPOLL thread.
        const SQ_WAKEUP = sys::IORING_ENTER_SQ_WAKEUP;
        /// Wait until the SQPOLL thread has made room in the submission queue. Since Linux 5.10.
        const SQ_WAIT = sys::IORING_ENTER_SQ_WAIT;
        /// There is an extended argument. Set by itself. Since Linux 5.11.
        const EXT_ARG = sys::IORING_ENTER_EXT_ARG;
        /// The ring is named by its registered index. Set by itself, and refused if you set it:
        /// as an index, a ring's descriptor names another ring. Since Linux 5.18.
        const REGISTERED_RING = sys::IORING_ENTER_REGISTERED_RING;
        /// The timeout is a point on the ring's clock. Since Linux 6.12.
        const ABS_TIMER = sys::IORING_ENTER_ABS_TIMER;
        /// The extended argument lies in a registered region. Since Linux 6.13.
        const EXT_ARG_REG = sys::IORING_ENTER_EXT_ARG_REG;
        /// The wait does not count as waiting for I/O. Since Linux 6.15.
        const NO_IOWAIT = sys::IORING_ENTER_NO_IOWAIT;

        const _ = !0;
    }
}

#[cfg(test)]
        const FEATURES: &[(Features, fn(&Parameters) -> bool)] =
            &[$((Features::$FLAG, Parameters::$method)),*];
    };
}
features! {
    /// One mapping holds both rings.
    SINGLE_MMAP = IORING_FEAT_SINGLE_MMAP, is_feature_single_mmap, "5.4";
    /// Completions that find the queue full are kept, not dropped: they arrive when there is room
    /// and somebody enters.
    NODROP = IORING_FEAT_NODROP, is_feature_nodrop, "5.5";
    /// What an operation only reads when it starts (paths, times, `iovec` arrays) may go once the
    /// entry is submitted.
    SUBMIT_STABLE = IORING_FEAT_SUBMIT_STABLE, is_feature_submit_stable, "5.5";
    /// Offset -1 is the file's own position.
    RW_CUR_POS = IORING_FEAT_RW_CUR_POS, is_feature_rw_cur_pos, "5.6";
    /// Operations act with the credentials of the task that submits, not of the one that made the
    /// ring.
    CUR_PERSONALITY = IORING_FEAT_CUR_PERSONALITY, is_feature_cur_personality, "5.6";
    /// Waiting for a socket or pipe is done by polling inside the kernel, without a worker thread.
    FAST_POLL = IORING_FEAT_FAST_POLL, is_feature_fast_poll, "5.7";
    /// Poll masks have 32 bits, `EPOLLEXCLUSIVE` among them.
    POLL_32BITS = IORING_FEAT_POLL_32BITS, is_feature_poll_32bits, "5.9";
    /// SQPOLL works on any descriptor, not on registered files alone.
    SQPOLL_NONFIXED = IORING_FEAT_SQPOLL_NONFIXED, is_feature_sqpoll_nonfixed, "5.11";
    /// A wait can carry a timeout
    /// ([`submit_with_args`](crate::Submitter::submit_with_args)).
    EXT_ARG = IORING_FEAT_EXT_ARG, is_feature_ext_arg, "5.11";
    /// Workers are threads of the process; from here on, rings are not charged to
    /// `RLIMIT_MEMLOCK` (but again around Linux 6.16 to 7.1).
    NATIVE_WORKERS = IORING_FEAT_NATIVE_WORKERS, is_feature_native_workers, "5.12";
    /// Registered files and buffers can carry tags that come back when they are released.
    RSRC_TAGS = IORING_FEAT_RSRC_TAGS, is_feature_resource_tagging, "5.13";
    /// [`Flags::SKIP_SUCCESS`](crate::squeue::Flags::SKIP_SUCCESS) is known.
    CQE_SKIP = IORING_FEAT_CQE_SKIP, is_feature_skip_cqe_on_success, "5.17";
    /// In a chain of links, a file is looked up when its turn has come, so that an earlier link may
    /// have made it.
    LINKED_FILE = IORING_FEAT_LINKED_FILE, is_feature_linked_file, "5.17";
    /// Register calls can name the ring by its registered index.
    REG_REG_RING = IORING_FEAT_REG_REG_RING, is_feature_reg_reg_ring, "6.3";
    /// Sends and receives can use several provided buffers at once.
    RECVSEND_BUNDLE = IORING_FEAT_RECVSEND_BUNDLE, is_feature_recvsend_bundle, "6.10";
    /// A wait can have a minimum
    /// ([`min_wait_usec`](crate::types::SubmitArgs::min_wait_usec)).
    MIN_TIMEOUT = IORING_FEAT_MIN_TIMEOUT, is_feature_min_timeout, "6.12";
    /// Reads and writes can carry attributes, as protection information.
    RW_ATTR = IORING_FEAT_RW_ATTR, is_feature_rw_attr, "6.14";
    /// A wait need not count as waiting for I/O
    /// ([`no_iowait`](crate::types::SubmitArgs::no_iowait)).
    NO_IOWAIT = IORING_FEAT_NO_IOWAIT, is_feature_no_iowait, "6.15";
}

/// What a ring was set up with: what was asked for, and what the kernel made of it.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub struct Parameters(pub(crate) io_uring_params);

impl Parameters {
    /// Parameters that another process handed on together with the ring's descriptor, for
    /// [`IoUring::from_fd`](crate::IoUring::from_fd).
    pub const fn from_bytes(bytes: [u8; 120]) -> Self {
        // SAFETY: the struct is 120 bytes of integers, for which every byte is valid.
        Self(unsafe { core::mem::transmute::<[u8; 120], io_uring_params>(bytes) })
    }

    /// The kernel's `struct io_uring_params`, byte by byte, to hand on together with the ring's
    /// descriptor.
    pub const fn to_bytes(&self) -> [u8; 120] {
        // SAFETY: the struct is 120 bytes of integers, without padding.
        unsafe { core::mem::transmute::<io_uring_params, [u8; 120]>(self.0) }
    }

    /// The flags that the ring has.
    #[inline]
    pub const fn setup_flags(&self) -> SetupFlags {
        SetupFlags::from_bits_retain(self.0.flags)
    }

    /// The features that the kernel has.
    #[inline]
    pub const fn features(&self) -> Features {
        Features::from_bits_retain(self.0.features)
    }

    /// Whether a kernel thread takes the submissions.
    #[inline]
    pub fn is_setup_sqpoll(&self) -> bool {
        self.setup_flags().contains(SetupFlags::SQPOLL)
    }

    /// Whether completions are polled for.
    #[inline]
    pub fn is_setup_iopoll(&self) -> bool {
        self.setup_flags().contains(SetupFlags::IOPOLL)
    }

    /// Whether only one task may submit.
    #[inline]
    pub fn is_setup_single_issuer(&self) -> bool {
        self.setup_flags().contains(SetupFlags::SINGLE_ISSUER)
    }

    /// How many slots the submission queue has: what was asked for, rounded up to a power of two.
    #[inline]
    pub const fn sq_entries(&self) -> u32 {
        self.0.sq_entries
    }

    /// How many slots the completion queue has: what was asked for, rounded up to a power of two,
    /// or twice the submission queue.
    #[inline]
    pub const fn cq_entries(&self) -> u32 {
        self.0.cq_entries
    }

    /// After how many idle milliseconds the SQPOLL thread sleeps, as asked for.
    #[inline]
    pub const fn sq_thread_idle(&self) -> u32 {
        self.0.sq_thread_idle
    }
}

impl fmt::Debug for Parameters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Parameters")
            .field("sq_entries", &self.sq_entries())
            .field("cq_entries", &self.cq_entries())
            .field("setup_flags", &self.setup_flags())
            .field("features", &self.features())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::format;

    #[test]
    fn every_flag_of_the_kernel_has_a_name() {
        // 21 setup flags and 18 features up to Linux 7.3: no bit between them without a name.
        let setup: u32 = SetupFlags::all().iter_names().map(|(_, flag)| flag.bits()).sum();
        assert_eq!(setup, (1 << 21) - 1);
        let features: u32 = FEATURES.iter().map(|(flag, _)| flag.bits()).sum();
        assert_eq!(features, (1 << 18) - 1);
    }

    #[test]
    fn each_method_asks_for_its_own_bit() {
        for (flag, asks) in FEATURES {
            let only = io_uring_params { features: flag.bits(), ..zeroed() };
            let others = io_uring_params { features: !flag.bits(), ..zeroed() };
            assert!(asks(&Parameters(only)), "{flag:?}");
            assert!(!asks(&Parameters(others)), "{flag:?}");
        }
    }

    #[test]
    fn unknown_bits_survive_and_print() {
        let params = Parameters(io_uring_params { flags: !0, features: !0, ..zeroed() });
        assert_eq!(params.setup_flags().bits(), !0);
        assert!(format!("{params:?}").contains("0x"), "{params:?}");
    }

    fn zeroed() -> io_uring_params {
        crate::memory::zeroed_params()
    }
}
