//! Who comes from `io-uring` 0.7.15 finds its names here: every type, method and builder of it exists
//! under the same name, builders with the same arguments in the same order, or stands in a table of
//! `guide::from_io_uring`, with the reason.
//!
//! That the names exist, the compiler checks. That none is left out, the test does, against the
//! sources of `io-uring` themselves.

use std::collections::BTreeMap;
use std::fs;
use std::io::stdin;
use std::ptr::NonNull;

use anyhow::{Context, Result};
use cargo_metadata::MetadataCommand;
use regex::Regex;
use rustix_uring::types::{
    self, Fadv, FallocateFlags, Fd, FixedFdFlags, FsyncFlags, FutexFlags, Madv, Mode, MsgFlags,
    MsgRingFlags, PollFlags, RwFlags, SpliceFlags, TimeoutFlags,
};
use rustix_uring::{
    BufRingFlags, Builder, CompletionQueue, EnterFlags, IoUring, Parameters, Probe, Restriction,
    SubmissionQueue, Submitter, cqueue, opcode, squeue,
};

/// A setter, which takes one type only, or what converts into one.
macro_rules! setter {
    ($Builder:ident $setter:ident) => {
        let _ = opcode::$Builder::$setter;
    };
    ($Builder:ident $setter:ident $Value:ty) => {
        let _ = |it: opcode::$Builder, value: $Value| it.$setter(value);
    };
}

/// Builders with the arguments of `new` and the setters, which compile only if they exist; and the
/// same as text.
macro_rules! builders {
    ($($Builder:ident($($arg:ident $(: $Type:ty)?),*): $($setter:ident $(($Value:ty))?)*;)*) => {
        #[allow(dead_code, reason = "it is there to be compiled")]
        fn compiles() {
            $(
                let _ = |$($arg $(: $Type)?),*| opcode::$Builder::new($($arg),*);
                let _ = opcode::$Builder::CODE;
                let _ = |it: opcode::$Builder| it.build();
                $(setter!($Builder $setter $($Value)?);)*
            )*
        }
        const BUILDERS: &[(&str, &[&str], &[&str])] =
            &[$((stringify!($Builder), &[$(stringify!($arg)),*], &[$(stringify!($setter)),*])),*];
    };
}

#[rustfmt::skip]
builders! {
    Nop():;
    Readv(fd: Fd, iovec, len): ioprio offset rw_flags(RwFlags) buf_group;
    Writev(fd: Fd, iovec, len): ioprio offset rw_flags(RwFlags) write_stream;
    Fsync(fd: Fd): offset len flags(FsyncFlags);
    ReadFixed(fd: Fd, buf, len, buf_index): ioprio offset rw_flags(RwFlags);
    WriteFixed(fd: Fd, buf, len, buf_index): ioprio offset rw_flags(RwFlags) write_stream;
    PollAdd(fd: Fd, flags: PollFlags): multi;
    PollRemove(user_data):;
    SyncFileRange(fd: Fd, len): offset flags;
    SendMsg(fd: Fd, msg): flags(MsgFlags);
    RecvMsg(fd: Fd, msg): flags(MsgFlags) buf_group;
    RecvMsgMulti(fd: Fd, msg, buf_group): flags(MsgFlags);
    Timeout(timespec): count flags(TimeoutFlags);
    TimeoutRemove(user_data):;
    TimeoutUpdate(user_data, timespec): flags(TimeoutFlags);
    Accept(fd: Fd, addr, addrlen): file_index flags;
    SetSockOpt(fd: Fd, level, optname, optval, optlen):;
    AsyncCancel(user_data):;
    LinkTimeout(timespec): flags(TimeoutFlags);
    Connect(fd: Fd, addr, addrlen):;
    Fallocate(fd: Fd, len): offset mode(FallocateFlags);
    OpenAt(dirfd: Fd, pathname): file_index flags mode(Mode);
    Close(fd: Fd):;
    FilesUpdate(fds, len): offset;
    Statx(dirfd: Fd, pathname, statxbuf): flags mask;
    Read(fd: Fd, buf, len): offset ioprio rw_flags(RwFlags) buf_group;
    Write(fd: Fd, buf, len): offset ioprio rw_flags(RwFlags) write_stream;
    Fadvise(fd: Fd, len, advice: Fadv): offset;
    Madvise(addr, len, advice: Madv):;
    Send(fd: Fd, buf, len): flags(MsgFlags) dest_addr dest_addr_len;
    Recv(fd: Fd, buf, len): flags(MsgFlags) buf_group;
    RecvMulti(fd: Fd, buf_group): flags(MsgFlags) len;
    OpenAt2(dirfd: Fd, pathname, how): file_index;
    EpollCtl(epfd: Fd, fd: Fd, op, ev):;
    Splice(fd_in: Fd, off_in, fd_out: Fd, off_out, len): flags(SpliceFlags);
    ProvideBuffers(addr, len, nbufs, bgid, bid):;
    RemoveBuffers(nbufs, bgid):;
    Tee(fd_in: Fd, fd_out: Fd, len): flags(SpliceFlags);
    Shutdown(fd: Fd, how):;
    RenameAt(olddirfd: Fd, oldpath, newdirfd: Fd, newpath): flags;
    UnlinkAt(dirfd: Fd, pathname): flags;
    MkDirAt(dirfd: Fd, pathname): mode(Mode);
    SymlinkAt(newdirfd: Fd, target, linkpath):;
    LinkAt(olddirfd: Fd, oldpath, newdirfd: Fd, newpath): flags;
    GetXattr(name, value, path, len):;
    SetXattr(name, value, path, len): flags;
    FGetXattr(fd: Fd, name, value, len):;
    FSetXattr(fd: Fd, name, value, len): flags;
    MsgRingData(ring_fd: Fd, result, user_data, user_flags): opcode_flags(MsgRingFlags);
    AsyncCancel2(builder):;
    UringCmd16(fd: Fd, cmd_op): buf_index cmd addr;
    UringCmd80(fd: Fd, cmd_op): buf_index cmd addr;
    Socket(domain, socket_type, protocol): file_index flags;
    AcceptMulti(fd: Fd): allocate_file_index flags;
    MsgRingSendFd(ring_fd: Fd, fixed_slot_src, dest_slot_index, user_data): opcode_flags(MsgRingFlags);
    SendZc(fd: Fd, buf, len): buf_index dest_addr dest_addr_len flags(MsgFlags);
    SendMsgZc(fd: Fd, msg): flags(MsgFlags);
    ReadMulti(fd: Fd, len, buf_group): offset;
    FutexWait(futex, val, mask, futex_flags: FutexFlags):;
    FutexWake(futex, val, mask, futex_flags: FutexFlags):;
    FutexWaitV(futexv, nr_futex):;
    WaitId(idtype, id, options): infop;
    FixedFdInstall(fd, file_flags: FixedFdFlags):;
    Ftruncate(fd: Fd, len):;
    SendBundle(fd: Fd, buf_group): flags(MsgFlags) len;
    RecvBundle(fd: Fd, buf_group): flags(MsgFlags);
    RecvMultiBundle(fd: Fd, buf_group): flags(MsgFlags);
    Bind(fd: Fd, addr, addrlen):;
    Listen(fd: Fd, backlog):;
    RecvZc(fd: Fd, len): ifq;
    EpollWait(fd: Fd, events, max_events):;
    ReadvFixed(fd: Fd, iovec, len, buf_index): ioprio offset rw_flags(RwFlags);
    WritevFixed(fd: Fd, iovec, len, buf_index): ioprio offset rw_flags(RwFlags) write_stream;
    Pipe(fds): flags file_index;
}

/// What is not an operation: types, and methods of theirs that are named the same here.
macro_rules! types {
    ($($module:ident $Name:ident ($Type:ty): $($method:ident)*;)*) => {
        #[allow(dead_code, reason = "it is there to be compiled")]
        fn compiles_too() {
            $(
                let _: Option<$Type> = None;
                $(let _ = <$Type>::$method;)*
            )*
        }
        const TYPES: &[(&str, &str, &[&str])] =
            &[$((stringify!($module), stringify!($Name), &[$(stringify!($method)),*])),*];
    };
}

type Ring = IoUring<squeue::Entry, cqueue::Entry>;

#[rustfmt::skip]
types! {
    lib IoUring (Ring): new builder submitter params submit submit_and_wait split submission
        submission_shared completion completion_shared from_fd;
    lib Builder (Builder): dontfork setup_iopoll setup_sqpoll setup_sqpoll_cpu setup_cqsize
        setup_clamp setup_attach_wq setup_r_disabled setup_submit_all setup_coop_taskrun
        setup_taskrun_flag setup_defer_taskrun setup_single_issuer setup_no_sqarray build;
    lib Parameters (Parameters): is_setup_sqpoll is_setup_iopoll is_setup_single_issuer
        is_feature_single_mmap is_feature_nodrop is_feature_submit_stable is_feature_rw_cur_pos
        is_feature_cur_personality is_feature_fast_poll is_feature_poll_32bits
        is_feature_sqpoll_nonfixed is_feature_ext_arg is_feature_native_workers
        is_feature_resource_tagging is_feature_skip_cqe_on_success is_feature_linked_file
        is_feature_recvsend_bundle is_feature_min_timeout is_feature_no_iowait sq_entries
        sq_thread_idle cq_entries;
    squeue SubmissionQueue (SubmissionQueue<'static>): sync need_wakeup
        need_wakeup_after_intermittent_seqcst dropped cq_overflow taskrun capacity len is_empty
        is_full;
    squeue Entry (squeue::Entry): flags clear_flags user_data set_user_data get_user_data get_opcode
        personality;
    squeue Entry128 (squeue::Entry128): flags clear_flags user_data set_user_data get_user_data
        personality get_opcode;
    squeue Flags (squeue::Flags):;
    squeue PushError (squeue::PushError):;
    cqueue CompletionQueue (CompletionQueue<'static>): status sync overflow eventfd_disabled
        disable_eventfd enable_eventfd capacity is_empty is_full fill;
    cqueue Entry (cqueue::Entry): result user_data set_user_data flags;
    cqueue Entry32 (cqueue::Entry32): big_cqe;
    submit EnterFlags (EnterFlags):;
    submit Submitter (Submitter<'static>): enter submit submit_and_wait submit_with_args squeue_wait
        register_buffers register_buffers_update register_buffers2 register_buffers_sparse
        register_files_sparse register_files register_files_update register_probe register_personality unregister_buffers
        unregister_files unregister_eventfd unregister_personality register_restrictions
        register_enable_rings register_iowq_aff unregister_iowq_aff register_iowq_max_workers
        register_napi unregister_napi register_napi_add_id register_napi_del_id
        unregister_buf_ring register_sync_cancel register_ifq;
    types statx (types::statx):;
    types epoll_event (types::epoll_event):;
    types Fd (types::Fd):;
    types Fixed (types::Fixed):;
    types TimeoutFlags (types::TimeoutFlags):;
    types FsyncFlags (types::FsyncFlags):;
    types CloneBuffersFlags (types::CloneBuffersFlags):;
    types OpenHow (types::OpenHow): new flags mode resolve;
    types Timespec (types::Timespec): new sec nsec;
    types SubmitArgs (types::SubmitArgs<'static>): new sigmask min_wait_usec timespec;
    types DestinationSlot (types::DestinationSlot): auto_target try_from_slot_target;
    types RecvMsgOut (types::RecvMsgOut<'static>): parse incoming_name_len is_name_data_truncated
        name_data incoming_control_len is_control_data_truncated control_data is_payload_truncated
        payload_data incoming_payload_len flags;
    types CancelBuilder (types::CancelBuilder): any user_data all;
    types FutexWaitV (types::FutexWaitV): new val uaddr flags;
    types NapiTracking (types::NapiTracking):;
    types Napi (types::Napi): new set_busy_poll_timeout set_prefer_busy_poll set_tracking
        busy_poll_timeout prefer_busy_poll;
    register Probe (Probe): new is_supported;
    register Restriction (Restriction): register_op sqe_op sqe_flags_allowed sqe_flags_required;
}

/// Those that are generic, here or there: by a call.
#[allow(dead_code, reason = "it is there to be compiled")]
fn compiles_by_call(
    queue: &mut SubmissionQueue<'_>,
    submitter: Submitter<'_>,
    memory: NonNull<[u8]>,
    wide: cqueue::Entry32,
) {
    let entry = opcode::Nop::new().build();
    // SAFETY: never called; and a NOP uses no memory.
    let _ = unsafe { (queue.push(&entry), queue.push_multiple(&[entry])) };
    let flags = BufRingFlags::empty();
    // SAFETY: never called.
    let _ = unsafe { submitter.register_buf_ring(memory, 1, 0, flags) };
    let _ = submitter.register_eventfd(stdin());
    let _ = submitter.register_eventfd_async(stdin());
    let _ = types::CancelBuilder::fd(Fd(0));
    let mut wide = wide;
    wide.set_user_data(1);
    let _ = (wide.result(), wide.user_data(), wide.flags());
    let _ = (cqueue::more(0), cqueue::notif(0), cqueue::sock_nonempty(0));
    let _ = (cqueue::buffer_more(0), cqueue::buffer_select(0));
    fn bounds<S: squeue::EntryMarker, C: cqueue::EntryMarker>() {}
    bounds::<squeue::Entry128, cqueue::Entry32>();
}
const BY_CALL: &[&str] = &[
    "squeue::EntryMarker",
    "cqueue::EntryMarker",
    "squeue::SubmissionQueue::push",
    "squeue::SubmissionQueue::push_multiple",
    "submit::Submitter::register_buf_ring",
    "submit::Submitter::register_eventfd",
    "submit::Submitter::register_eventfd_async",
    "types::CancelBuilder::fd",
    "cqueue::Entry32::result",
    "cqueue::Entry32::user_data",
    "cqueue::Entry32::set_user_data",
    "cqueue::Entry32::flags",
];

/// What a builder is given: by `new`, in order, and by its setters.
type Shape = (Vec<String>, Vec<String>);

/// Returns a source file of `io-uring` 0.7. An example depends on a crate that uses 0.6.
fn source(file: &str) -> Result<String> {
    let metadata = MetadataCommand::new().exec()?;
    let is_it = |package: &&cargo_metadata::Package| {
        *package.name == "io-uring" && package.version.minor == 7
    };
    let package = metadata.packages.iter().find(is_it).context("io-uring is no dependency")?;
    let manifest = package.manifest_path.parent().context("a manifest lies in a folder")?;
    Ok(fs::read_to_string(manifest.join("src").join(file))?)
}

/// The builders of `io-uring`, as its sources have them.
fn theirs() -> Result<BTreeMap<String, Shape>> {
    let source = source("opcode.rs")?;
    let builder = Regex::new(r"(?s)pub struct (\w+) \{(.*?);;(.*?)\n    \}")?;
    let argument = Regex::new(r"(\w+): \{")?;
    let setter = Regex::new(r"(?m)^\s+(\w+): [^{\n]*? = ")?;
    let names = |regex: &Regex, text: &str| {
        regex.captures_iter(text).map(|found| found[1].to_owned()).collect()
    };
    let shape = |found: regex::Captures<'_>| {
        (found[1].to_owned(), (names(&argument, &found[2]), names(&setter, &found[3])))
    };
    Ok(builder.captures_iter(&source).map(shape).collect())
}

/// The rows of the tables of differences: theirs, ours, why.
fn differences() -> impl Iterator<Item = [&'static str; 3]> {
    let rows = include_str!("../../src/docs/from_io_uring.md").lines();
    rows.filter_map(|row| row.strip_prefix("| `")?.strip_suffix(" |")).map(|row| {
        let cells: Vec<_> = row.split(" | ").collect();
        let [theirs, ours, why] = cells[..] else { panic!("not three cells: {row}") };
        [theirs.trim_end_matches('`'), ours, why]
    })
}

/// Whether the table has this name, of a type or of something in it.
fn differs(name: &str) -> bool {
    let is_it = |rest: &str| !rest.starts_with(|c: char| c.is_alphanumeric() || c == '_');
    differences().any(|[theirs, ..]| theirs.strip_prefix(name).is_some_and(is_it))
}

#[test]
fn no_builder_of_io_uring_is_left_out() -> Result<()> {
    let theirs = theirs()?;
    assert!(theirs.len() > 60, "{theirs:?}");
    for (builder, (arguments, setters)) in &theirs {
        let ours = BUILDERS.iter().find(|(ours, ..)| ours == builder);
        let (_, our_arguments, our_setters) = ours.with_context(|| format!("no {builder}"))?;
        assert_eq!(our_arguments, arguments, "{builder}::new");
        for setter in setters.iter().filter(|setter| !our_setters.contains(&setter.as_str())) {
            assert!(differs(&format!("opcode::{builder}::{setter}")), "{builder}::{setter}");
        }
    }
    Ok(())
}

/// Types, and the methods of each, as the sources of `io-uring` have them.
#[test]
fn no_type_or_method_of_io_uring_is_left_out() -> Result<()> {
    let there = |name: &str| {
        BY_CALL.contains(&name)
            || TYPES.iter().any(|(module, ty, methods)| {
                let ty = format!("{module}::{ty}");
                name == ty || methods.iter().any(|method| name == format!("{ty}::{method}"))
            })
            || differs(name)
            // A type that is named otherwise, or is not there, with all that it has.
            || name.rsplit_once("::").is_some_and(|(ty, _)| differences().any(|[theirs, ..]| theirs == ty))
    };
    let block = Regex::new(r"(?m)^impl(?:<[^>]*>)? (\w+)[^\n]*\{\n(?s:(.*?))^\}")?;
    let method = Regex::new(r"(?m)^    pub (?:const )?(?:unsafe )?fn (\w+)")?;
    let item = Regex::new(r"(?m)^ *pub (?:struct|enum|trait|type) (\w+)")?;
    let (mut seen, mut missing) = (0, Vec::new());
    for module in ["lib", "squeue", "cqueue", "submit", "types", "register"] {
        let source = source(&format!("{module}.rs"))?;
        let items = item.captures_iter(&source).map(|found| found[1].to_owned());
        let methods = block.captures_iter(&source).flat_map(|found| {
            let methods: Vec<_> = method
                .captures_iter(found.get(2).map_or("", |body| body.as_str()))
                .map(|method| format!("{}::{}", &found[1], &method[1]))
                .collect();
            methods
        });
        for name in items.chain(methods).map(|name| format!("{module}::{name}")) {
            seen += 1;
            if !there(&name) {
                missing.push(name);
            }
        }
    }
    assert!(seen > 150, "{seen}");
    assert!(missing.is_empty(), "neither here nor among the differences: {missing:#?}");
    Ok(())
}

/// Each row names one thing of theirs, one of ours or none, and why. That ours exist, the links are
/// for, which the documentation does not build without.
#[test]
fn differences_have_reasons() {
    assert!(differences().count() > 100);
    for [theirs, ours, why] in differences() {
        let linked = ours == "–" || ours.starts_with("[`") && ours.contains("`](crate::");
        assert!(!theirs.is_empty() && linked && !why.is_empty(), "{theirs}: {ours}: {why}");
    }
}
