//! The parameters of a ring: what the program requested and what the kernel granted.

use core::fmt;

use bitflags::bitflags;

use crate::sys::{self, io_uring_params};

/// Declares the setup flags from one list of flag and kernel release, in the order of their bits.
macro_rules! setup_flags {
    ($($(#[doc = $doc:literal])+ $FLAG:ident = $value:ident, $since:literal;)*) => {
        bitflags! {
            /// The `IORING_SETUP_*` flags of a ring.
            ///
            /// [`Builder`](crate::Builder) sets them. Use this type to read them back.
            #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
            #[repr(transparent)]
            pub struct SetupFlags: u32 {
                $(
                    $(#[doc = $doc])+
                    #[doc = concat!("Since Linux ", $since, ".")]
                    const $FLAG = sys::$value;
                )*
                const _ = !0;
            }
        }

        /// The release that introduced each flag.
        const SETUP_SINCE: &[(u32, &str)] = &[$((sys::$value, $since)),*];
    };
}
setup_flags! {
    /// The kernel polls the device for completions.
    IOPOLL = IORING_SETUP_IOPOLL, "5.1";
    /// A kernel thread (the SQPOLL thread) consumes submissions.
    SQPOLL = IORING_SETUP_SQPOLL, "5.1";
    /// The SQPOLL thread is bound to a CPU.
    SQ_AFF = IORING_SETUP_SQ_AFF, "5.1";
    /// The caller chose the size of the completion queue.
    CQSIZE = IORING_SETUP_CQSIZE, "5.5";
    /// The kernel reduces sizes above its limits to the limits.
    CLAMP = IORING_SETUP_CLAMP, "5.6";
    /// The ring shares the workers (and the SQPOLL thread) of another ring.
    ATTACH_WQ = IORING_SETUP_ATTACH_WQ, "5.6";
    /// The ring starts disabled.
    R_DISABLED = IORING_SETUP_R_DISABLED, "5.10";
    /// A submission continues after an entry that fails.
    SUBMIT_ALL = IORING_SETUP_SUBMIT_ALL, "5.18";
    /// The kernel does not interrupt the task to run its completions.
    COOP_TASKRUN = IORING_SETUP_COOP_TASKRUN, "5.19";
    /// A flag in the submission queue tells that completions are waiting for the task to enter
    /// the kernel.
    TASKRUN_FLAG = IORING_SETUP_TASKRUN_FLAG, "5.19";
    /// Every submission has 128 bytes.
    SQE128 = IORING_SETUP_SQE128, "5.19";
    /// Every completion has 32 bytes.
    CQE32 = IORING_SETUP_CQE32, "5.19";
    /// Only one task submits.
    SINGLE_ISSUER = IORING_SETUP_SINGLE_ISSUER, "6.0";
    /// The kernel posts completions only when the task that submits asks for events.
    DEFER_TASKRUN = IORING_SETUP_DEFER_TASKRUN, "6.1";
    /// The program provides the memory of the ring.
    NO_MMAP = IORING_SETUP_NO_MMAP, "6.5";
    /// The ring has a registered index and no descriptor.
    REGISTERED_FD_ONLY = IORING_SETUP_REGISTERED_FD_ONLY, "6.5";
    /// The submission queue has no index array between tail and entries.
    NO_SQARRAY = IORING_SETUP_NO_SQARRAY, "6.6";
    /// The kernel sleeps before it polls for completions.
    HYBRID_IOPOLL = IORING_SETUP_HYBRID_IOPOLL, "6.13";
    /// Each completion has 16 or 32 bytes.
    CQE_MIXED = IORING_SETUP_CQE_MIXED, "6.18";
    /// Each submission has 64 or 128 bytes.
    SQE_MIXED = IORING_SETUP_SQE_MIXED, "6.19";
    /// Every submission starts at the first slot.
    SQ_REWIND = IORING_SETUP_SQ_REWIND, "7.0";
}

impl SetupFlags {
    /// Returns the first Linux release that has all of these flags, or `None` if this crate does not
    /// know one of them or the set is empty.
    ///
    /// Distributions port flags back to older kernels. To find out whether a kernel has a flag, set up
    /// a ring with it.
    ///
    /// ```
    /// use rustix_uring::SetupFlags;
    ///
    /// let wanted = SetupFlags::SINGLE_ISSUER | SetupFlags::DEFER_TASKRUN;
    /// assert_eq!(wanted.since(), Some("6.1"));
    /// ```
    pub fn since(self) -> Option<&'static str> {
        newest(self.bits(), SETUP_SINCE)
    }

    /// Marks a ring whose memory is lost, for [`Submitter`](crate::Submitter). The kernel rejects
    /// this combination, so no working ring has it.
    pub(crate) const LOST: Self = Self::SQPOLL.union(Self::DEFER_TASKRUN);
}

/// Returns the first release that has all of these flags. `since` is in the order of releases.
fn newest(flags: u32, since: &[(u32, &'static str)]) -> Option<&'static str> {
    let mut unnamed = flags;
    let mut release = None;
    for (flag, brought) in since {
        if flags & flag != 0 {
            release = Some(*brought);
        }
        unnamed &= !flag;
    }
    release.filter(|_| unnamed == 0)
}

bitflags! {
    /// The `IORING_ENTER_*` flags of a raw [`enter`](Submitter::enter).
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    #[repr(transparent)]
    pub struct EnterFlags: u32 {
        /// Wait for completions. The kernel also does the work that is left to waiters: it runs
        /// deferred task work, polls for I/O, and posts completions that had found the queue full.
        const GETEVENTS = sys::IORING_ENTER_GETEVENTS;
        /// Wake the SQPOLL thread.
        const SQ_WAKEUP = sys::IORING_ENTER_SQ_WAKEUP;
        /// Wait until the SQPOLL thread has freed slots of the submission queue. Since Linux 5.10.
        const SQ_WAIT = sys::IORING_ENTER_SQ_WAIT;
        /// The call has an extended argument. This crate sets the flag. Since Linux 5.11.
        const EXT_ARG = sys::IORING_ENTER_EXT_ARG;
        /// The call names the ring by its registered index. This crate sets the flag where it is
        /// needed, and rejects it if you set it: the kernel would read the ring's descriptor as an
        /// index, which names another ring. Since Linux 5.18.
        const REGISTERED_RING = sys::IORING_ENTER_REGISTERED_RING;
        /// The timeout is an absolute time on the ring's clock. Since Linux 6.12.
        const ABS_TIMER = sys::IORING_ENTER_ABS_TIMER;
        /// The extended argument is in a registered region. Since Linux 6.13.
        const EXT_ARG_REG = sys::IORING_ENTER_EXT_ARG_REG;
        /// The wait does not count as waiting for I/O. Since Linux 6.15.
        const NO_IOWAIT = sys::IORING_ENTER_NO_IOWAIT;

        const _ = !0;
    }
}

/// Declares the features of a kernel from one list of flag, method, and kernel release.
macro_rules! features {
    ($($(#[doc = $doc:literal])+ $FLAG:ident = $value:ident, $method:ident, $since:literal;)*) => {
        bitflags! {
            /// The `IORING_FEAT_*` flags that the kernel reported when the ring was set up.
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

        /// The release that introduced each feature.
        const FEATURES_SINCE: &[(u32, &str)] = &[$((sys::$value, $since)),*];

        impl Features {
            /// Returns the first Linux release that has all of these features, or `None` if this crate
            /// does not know one of them or the set is empty.
            ///
            /// Distributions port features back to older kernels. To find out which features a kernel
            /// has, use [`features`](Parameters::features).
            pub fn since(self) -> Option<&'static str> {
                newest(self.bits(), FEATURES_SINCE)
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

#[cfg(test)]
        const FEATURES: &[(Features, fn(&Parameters) -> bool)] =
            &[$((Features::$FLAG, Parameters::$method)),*];
    };
}
features! {
    /// One mapping contains both rings.
    SINGLE_MMAP = IORING_FEAT_SINGLE_MMAP, is_feature_single_mmap, "5.4";
    /// The kernel keeps completions that find the queue full and does not drop them. It posts them
    /// when the queue has free slots and a task enters the kernel.
    NODROP = IORING_FEAT_NODROP, is_feature_nodrop, "5.5";
    /// Memory that an operation reads only when it starts (paths, times, `iovec` arrays) may be
    /// released once the entry is submitted.
    SUBMIT_STABLE = IORING_FEAT_SUBMIT_STABLE, is_feature_submit_stable, "5.5";
    /// An offset of -1 means the current position of the file.
    RW_CUR_POS = IORING_FEAT_RW_CUR_POS, is_feature_rw_cur_pos, "5.6";
    /// Operations use the credentials of the task that submits them, not of the task that created
    /// the ring.
    CUR_PERSONALITY = IORING_FEAT_CUR_PERSONALITY, is_feature_cur_personality, "5.6";
    /// The kernel waits for sockets and pipes by polling, without a worker thread.
    FAST_POLL = IORING_FEAT_FAST_POLL, is_feature_fast_poll, "5.7";
    /// Poll masks have 32 bits, including `EPOLLEXCLUSIVE`.
    POLL_32BITS = IORING_FEAT_POLL_32BITS, is_feature_poll_32bits, "5.9";
    /// SQPOLL works with every descriptor, not only with registered files.
    SQPOLL_NONFIXED = IORING_FEAT_SQPOLL_NONFIXED, is_feature_sqpoll_nonfixed, "5.11";
    /// A wait can have a timeout ([`submit_with_args`](crate::Submitter::submit_with_args)).
    EXT_ARG = IORING_FEAT_EXT_ARG, is_feature_ext_arg, "5.11";
    /// Workers are threads of the process. From this kernel on, rings are not charged to
    /// `RLIMIT_MEMLOCK`, except around Linux 6.16 to 7.1.
    NATIVE_WORKERS = IORING_FEAT_NATIVE_WORKERS, is_feature_native_workers, "5.12";
    /// Registered files and buffers can have tags. When the kernel releases one, it posts a
    /// completion with the tag.
    RSRC_TAGS = IORING_FEAT_RSRC_TAGS, is_feature_resource_tagging, "5.13";
    /// The kernel supports [`Flags::SKIP_SUCCESS`](crate::squeue::Flags::SKIP_SUCCESS).
    CQE_SKIP = IORING_FEAT_CQE_SKIP, is_feature_skip_cqe_on_success, "5.17";
    /// The kernel looks up the file of a linked entry when that entry starts, so an earlier entry
    /// of the chain can create the file.
    LINKED_FILE = IORING_FEAT_LINKED_FILE, is_feature_linked_file, "5.17";
    /// Register calls can name the ring by its registered index.
    REG_REG_RING = IORING_FEAT_REG_REG_RING, is_feature_reg_reg_ring, "6.3";
    /// Sends and receives can use several provided buffers at once.
    RECVSEND_BUNDLE = IORING_FEAT_RECVSEND_BUNDLE, is_feature_recvsend_bundle, "6.10";
    /// A wait can have a minimum time ([`min_wait_usec`](crate::types::SubmitArgs::min_wait_usec)).
    MIN_TIMEOUT = IORING_FEAT_MIN_TIMEOUT, is_feature_min_timeout, "6.12";
    /// Reads and writes can have attributes, such as protection information.
    RW_ATTR = IORING_FEAT_RW_ATTR, is_feature_rw_attr, "6.14";
    /// A wait can be excluded from the accounting of I/O wait time
    /// ([`no_iowait`](crate::types::SubmitArgs::no_iowait)).
    NO_IOWAIT = IORING_FEAT_NO_IOWAIT, is_feature_no_iowait, "6.15";
}

/// The parameters of a ring: what you requested and what the kernel granted.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub struct Parameters(pub(crate) io_uring_params);

impl Parameters {
    /// Creates parameters from the bytes that another process sent together with the ring's
    /// descriptor. Pass them to [`IoUring::from_fd`](crate::IoUring::from_fd).
    pub const fn from_bytes(bytes: [u8; 120]) -> Self {
        // SAFETY: the struct is 120 bytes of integers, for which every byte is valid.
        Self(unsafe { core::mem::transmute::<[u8; 120], io_uring_params>(bytes) })
    }

    /// Returns the bytes of the kernel's `struct io_uring_params`, to be sent to another process
    /// together with the ring's descriptor.
    pub const fn to_bytes(&self) -> [u8; 120] {
        // SAFETY: the struct is 120 bytes of integers, without padding.
        unsafe { core::mem::transmute::<io_uring_params, [u8; 120]>(self.0) }
    }

    /// Returns the flags of the ring.
    #[inline]
    pub const fn setup_flags(&self) -> SetupFlags {
        SetupFlags::from_bits_retain(self.0.flags)
    }

    /// Returns the features of the kernel.
    #[inline]
    pub const fn features(&self) -> Features {
        Features::from_bits_retain(self.0.features)
    }

    /// Returns whether a kernel thread consumes submissions.
    #[inline]
    pub fn is_setup_sqpoll(&self) -> bool {
        self.setup_flags().contains(SetupFlags::SQPOLL)
    }

    /// Returns whether the kernel polls for completions.
    #[inline]
    pub fn is_setup_iopoll(&self) -> bool {
        self.setup_flags().contains(SetupFlags::IOPOLL)
    }

    /// Returns whether only one task may submit.
    #[inline]
    pub fn is_setup_single_issuer(&self) -> bool {
        self.setup_flags().contains(SetupFlags::SINGLE_ISSUER)
    }

    /// Returns the number of slots of the submission queue: the requested number, rounded up to a
    /// power of two.
    #[inline]
    pub const fn sq_entries(&self) -> u32 {
        self.0.sq_entries
    }

    /// Returns the number of slots of the completion queue: the requested number, rounded up to a
    /// power of two, or by default twice the slots of the submission queue.
    #[inline]
    pub const fn cq_entries(&self) -> u32 {
        self.0.cq_entries
    }

    /// Returns the idle time in milliseconds after which the SQPOLL thread sleeps, as requested.
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
        // Linux 7.3 has 21 setup flags and 18 features. Every bit up to the highest has a name.
        let setup: u32 = SetupFlags::all().iter_names().map(|(_, flag)| flag.bits()).sum();
        assert_eq!(setup, (1 << 21) - 1);
        let features: u32 = FEATURES.iter().map(|(flag, _)| flag.bits()).sum();
        assert_eq!(features, (1 << 18) - 1);
    }

    #[test]
    fn the_newest_flag_decides_since_when() {
        assert_eq!((SetupFlags::SQ_REWIND | SetupFlags::IOPOLL).since(), Some("7.0"));
        assert_eq!((Features::NODROP | Features::SINGLE_MMAP).since(), Some("5.5"));
        assert_eq!((SetupFlags::empty().since(), Features::empty().since()), (None, None));
        assert_eq!(SetupFlags::from_bits_retain(1 << 31 | 1).since(), None);
        let release = |since: &str| -> (u32, u32) {
            let (major, minor) = since.split_once('.').unwrap();
            (major.parse().unwrap(), minor.parse().unwrap())
        };
        for list in [SETUP_SINCE, FEATURES_SINCE] {
            assert!(list.is_sorted_by_key(|(_, since)| release(since)));
        }
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
