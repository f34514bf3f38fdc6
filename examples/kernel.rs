//! Reports what the running kernel supports: whether io_uring is available, and if not why; limits;
//! the result of `build_local`; flags, features and operations, each with its first release.
//!
//! Nothing is concluded from the kernel's version. Setup flags are tried. Operations come from the
//! kernel's probe. Register operations come from its query or, before Linux 6.18, from a trial
//! which of them a restriction may name. What cannot be found out is "not known".

use std::collections::BTreeMap;
use std::env;
use std::fmt::Display;
use std::fs;
use std::io::{self, ErrorKind, Write};
use std::os::fd::AsRawFd;
use std::process::ExitCode;
use std::ptr::{self, NonNull};
use std::thread;
use std::time::Duration;

use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous, munmap};
use rustix::process::{Resource, Rlimit, prlimit};
use rustix::thread::{CapabilitySet, CapabilitySets, CpuSet};
use rustix::thread::{capabilities, sched_getaffinity, set_capabilities};
use rustix_uring::sys::{self, io_uring_register_op::*};
use rustix_uring::{
    Availability, BpfFilter, Builder, Errno, Features, IoUring, Probe, QueryOpcodes, Restriction,
    SetupFlags, SockFilter, availability, cqueue, opcode, squeue,
};

const USAGE: &str = "\
Usage: kernel [--json]
Says what the io_uring of this kernel can do. Exits with 0 also if there is none.
";

fn main() -> ExitCode {
    let arguments: Vec<_> = env::args_os().skip(1).collect();
    let text = match arguments.iter().map(|it| it.to_str()).collect::<Vec<_>>()[..] {
        [] => Report::new().text(),
        [Some("--json")] => Report::new().json(),
        [Some("--help" | "-h")] => USAGE.into(),
        _ => {
            let _ = io::stderr().write_all(USAGE.as_bytes());
            return ExitCode::from(2);
        }
    };
    match io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            let _ = writeln!(io::stderr(), "kernel: cannot write: {error}");
            ExitCode::FAILURE
        }
        _ => ExitCode::SUCCESS,
    }
}

#[derive(Default)]
struct Report {
    /// Each fact: its label, its text, and both as a JSON member.
    facts: Vec<(&'static str, String, String)>,
    /// Empty if no ring can be set up.
    lists: Vec<List>,
}

struct List {
    title: &'static str,
    key: &'static str,
    /// The common prefix of the kernel's names.
    prefix: &'static str,
    /// The name, the release that added it, and whether the kernel has it.
    items: Vec<(String, Option<&'static str>, String)>,
}

/// The status of items that the kernel lacks or has. Any other status is an explanation.
const LACKS: &str = "lacks";
const HAS: &str = "has";

impl Report {
    fn fact(&mut self, key: &str, label: &'static str, text: Option<impl Display>) {
        let text = text.map(|it| it.to_string());
        let json = match text.as_deref() {
            Some("yes") => "true".into(),
            Some("no") => "false".into(),
            Some(number) if number.parse::<u64>().is_ok() => number.into(),
            Some(text) => quoted(text),
            None => "null".into(),
        };
        self.facts.push((
            label,
            text.unwrap_or("not known".into()),
            format!("  {}: {json}", quoted(key)),
        ));
    }

    fn text(&self) -> String {
        let mut text = String::new();
        for (label, fact, _) in &self.facts {
            paragraph(&mut text, &format!("{label:<30}"), fact);
        }
        self.lists.iter().for_each(|list| list.text(&mut text));
        text
    }

    fn json(&self) -> String {
        let facts = self.facts.iter().map(|(.., json)| json.clone());
        let members: Vec<_> = facts.chain(self.lists.iter().map(List::json)).collect();
        format!("{{\n{}\n}}\n", members.join(",\n"))
    }
}

impl List {
    fn new(title: &'static str, key: &'static str, prefix: &'static str) -> Self {
        Self { title, key, prefix, items: Vec::new() }
    }

    fn add(&mut self, name: impl Display, since: Option<&'static str>, state: &str) {
        self.items.push((name.to_string(), since, state.to_string()));
    }

    /// Flags of the kernel that this crate has no name for.
    fn add_unnamed(&mut self, bits: u32) {
        for bit in (0..u32::BITS).map(|n| 1 << n).filter(|bit| bits & bit != 0) {
            self.add(format_args!("{bit:#x}"), None, HAS);
        }
    }

    /// One line for each release. What the kernel has comes first.
    fn text(&self, text: &mut String) {
        let mut rows = BTreeMap::<_, Vec<&str>>::new();
        for (name, since, state) in &self.items {
            let order = since.map(|since| since.split('.').map(|it| it.parse().unwrap_or(0)));
            let order = order.map_or(vec![u32::MAX], Iterator::collect);
            let name = name.strip_prefix(self.prefix).unwrap_or(name);
            rows.entry((state, order, since.unwrap_or("later"))).or_default().push(name);
        }
        let has = self.items.iter().filter(|(_, _, state)| state == HAS).count();
        *text += &format!("\n{}: {has} of {}\n", self.title, self.items.len());
        let mut before = "";
        for ((state, _, since), names) in rows {
            let known = state == HAS || state == LACKS;
            if !known && state != before {
                *text += &format!("  {state}:\n");
            }
            before = state;
            let label = if known { state } else { "?" };
            paragraph(text, &format!("  {label:<5} {since:<5}"), &names.join(" "));
        }
    }

    fn json(&self) -> String {
        let items = self.items.iter().map(|(name, since, state)| {
            let since = since.map_or("null".into(), quoted);
            format!("    {}: {{\"state\": {}, \"since\": {since}}}", quoted(name), quoted(state))
        });
        format!("  {}: {{\n{}\n  }}", quoted(self.key), items.collect::<Vec<_>>().join(",\n"))
    }
}

/// Appends words after a label, in lines of at most 90 columns.
fn paragraph(text: &mut String, label: &str, words: &str) {
    let mut column = label.len();
    *text += label;
    for word in words.split(' ') {
        if column + 1 + word.len() > 90 && column > label.len() {
            *text += &format!("\n{:1$}", "", label.len());
            column = label.len();
        }
        text.extend([" ", word]);
        column += 1 + word.len();
    }
    *text += "\n";
}

/// A string as JSON.
fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for char in text.chars() {
        match char {
            '"' | '\\' => quoted.extend(['\\', char]),
            '\0'..' ' => quoted += &format!("\\u{:04x}", u32::from(char)),
            _ => quoted.push(char),
        }
    }
    quoted + "\""
}

impl Report {
    fn new() -> Self {
        let mut report = Self::default();
        let [memlock, memlock_hard] = limit("Max locked memory");
        let [nofile, nofile_hard] = limit("Max open files");
        report.access();
        report.fact("nofile_soft", "RLIMIT_NOFILE", nofile);
        report.fact("nofile_hard", "  can be raised to", nofile_hard);
        report.fact("memlock_soft", "RLIMIT_MEMLOCK, in bytes", memlock.as_ref());
        report.fact("memlock_hard", "  can be raised to", memlock_hard.as_ref());
        let make = || patiently(|| IoUring::new(2));
        let Ok(_) = make() else { return report };
        let charged = charged(memlock, memlock_hard).map(yes);
        report.fact("rings_are_locked_memory", "  rings count as locked memory", charged);
        let workers = workers();
        report.fact("bounded_workers", "workers for files, up to", workers.map(|it| it[0]));
        report.fact("unbounded_workers", "workers for sockets, up to", workers.map(|it| it[1]));
        report.build_local();
        let Ok(ring) = make() else { return report };
        let query = ring.submitter().register_query().ok().and_then(|query| query.opcodes());
        let mut probe = Probe::new();
        let probe = ring.submitter().register_probe(&mut probe).map(|()| &probe);
        report.lists = vec![
            setup_flags(&ring, query),
            features(ring.params().features()),
            operations(probe),
            registers(&ring, query, probe),
        ];
        report
    }

    /// The kernel, whether io_uring is available, and as far as possible the reason if it is not.
    fn access(&mut self) {
        let release = read("/proc/sys/kernel/osrelease");
        let disabled = read("/proc/sys/kernel/io_uring_disabled");
        let sysctl = disabled.clone().or(release.as_ref().map(|_| "no such sysctl".into()));
        let group = read("/proc/sys/kernel/io_uring_group").unwrap_or_default();
        let status = read("/proc/self/status").unwrap_or_default();
        let seccomp = status.lines().find_map(|line| line.strip_prefix("Seccomp:")).map(str::trim);
        let admin = |sets: CapabilitySets| sets.effective.contains(CapabilitySet::SYS_ADMIN);
        let available = availability();
        let why = match (available, disabled.as_deref()) {
            (Availability::Forbidden, Some("2")) => "kernel.io_uring_disabled is 2",
            (Availability::Forbidden, Some("1")) if !capabilities(None).is_ok_and(admin) => {
                &format!("io_uring_disabled is 1: needs CAP_SYS_ADMIN or io_uring_group ({group})")
            }
            (Availability::Forbidden | Availability::Absent, _) if seccomp == Some("2") => {
                "a seccomp filter is in force, and no other reason is visible"
            }
            (Availability::Forbidden, _) => {
                "no sysctl, no seccomp filter: a security module, or a user namespace"
            }
            (Availability::Absent, _) => "older than 5.1, or built without CONFIG_IO_URING",
            (Availability::OutOfMemory, _) => "RLIMIT_MEMLOCK, below, or memory is short",
            _ => "not known",
        };
        self.fact("release", "Linux", release);
        self.fact("version", "  built as", read("/proc/sys/kernel/version"));
        let there = available == Availability::Available;
        self.fact("available", "io_uring is available", Some(yes(there)));
        if !there {
            self.fact("answer", "  what the kernel answers", Some(available));
            self.fact("why", "  why", Some(why));
        }
        self.fact("io_uring_disabled", "kernel.io_uring_disabled", sysctl);
        self.fact("seccomp", "seccomp filter", seccomp.map(|mode| yes(mode != "0")));
    }

    fn build_local(&mut self) {
        match patiently(|| <IoUring>::builder().build_local(8)) {
            Ok(mut ring) => {
                let flags = ring.params().setup_flags();
                let flags: Vec<_> = flags.iter_names().map(|(name, _)| name).collect();
                let flags = if flags.is_empty() { "no flags".into() } else { flags.join(" ") };
                self.fact("local_flags", "build_local sets", Some(flags));
                let registered = yes(ring.registered_index().is_some());
                self.fact("local_registers", "  registers the ring", Some(registered));
                let closes = yes(ring.close_ring_fd().is_ok());
                self.fact("local_closes", "  needs no descriptor then", Some(closes));
            }
            Err(errno) => self.fact("local_error", "build_local", Some(errno)),
        }
    }
}

fn yes(yes: bool) -> &'static str {
    if yes { "yes" } else { "no" }
}

fn read(path: &str) -> Option<String> {
    fs::read_to_string(path).ok().map(|text| text.trim_end().to_string())
}

/// The soft and the hard limit: numbers, or "unlimited".
fn limit(name: &str) -> [Option<String>; 2] {
    let limits = read("/proc/self/limits").unwrap_or_default();
    let line = limits.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
    let mut words = line.split_whitespace().map(String::from);
    [words.next(), words.next()]
}

/// Whether rings count as locked memory: tries a setup without privilege and with a limit of 0.
fn charged(soft: Option<String>, hard: Option<String>) -> Option<bool> {
    // `None` means no limit.
    let (soft, maximum) = (soft?.parse().ok(), hard?.parse().ok());
    let trial = || {
        let mut sets = capabilities(None)?;
        sets.effective.remove(CapabilitySet::IPC_LOCK);
        set_capabilities(None, sets)?;
        IoUring::new(2).map(drop)
    };
    prlimit(None, Resource::Memlock, Rlimit { current: Some(0), maximum }).ok()?;
    // Each thread has its own capabilities, so the trial uses a thread.
    let tried = thread::Builder::new().spawn(trial).map(|trial| trial.join());
    let _ = prlimit(None, Resource::Memlock, Rlimit { current: soft, maximum });
    match tried.ok()?.ok()? {
        Ok(()) => Some(false),
        Err(errno) => (errno == Errno::NOMEM).then_some(true),
    }
}

/// The maximum numbers of bounded and unbounded workers for the rings of a thread.
fn workers() -> Option<[u32; 2]> {
    let ask = || {
        // The size of a thread's first ring limits its bounded workers, so this ring is large.
        let ring = [4096, 256, 16, 8].iter().find_map(|size| IoUring::new(*size).ok())?;
        let mut max = [0; 2];
        ring.submitter().register_iowq_max_workers(&mut max).ok()?;
        Some(max).filter(|max| *max != [0, 0])
    };
    thread::Builder::new().spawn(ask).ok()?.join().ok()?
}

/// Retries while memory is short: the kernel frees the memory of closed rings with a delay.
fn patiently<T>(make: impl Fn() -> Result<T, Errno>) -> Result<T, Errno> {
    for _ in 0..20 {
        match make() {
            Err(Errno::NOMEM) => thread::sleep(Duration::from_millis(10)),
            made => return made,
        }
    }
    make()
}

/// Tries to set up a ring with each flag and the flags that it requires.
fn setup_flags(ring: &IoUring, query: Option<QueryOpcodes>) -> List {
    let mut list = List::new("Setup flags", "setup_flags", "IORING_SETUP_");
    let known = query.map_or(SetupFlags::empty(), |it| it.setup_flags());
    let mut names = SetupFlags::all().iter_names();
    for (name, flag) in names.by_ref() {
        let state = match patiently(|| set_up(flag, ring)) {
            Ok(()) => HAS,
            Err(Errno::INVAL) if !known.contains(flag) => LACKS,
            Err(Errno::PERM) => "requires a privilege (EPERM)",
            Err(Errno::NOMEM) => "exceeds RLIMIT_MEMLOCK (ENOMEM)",
            Err(errno) => &format!("refused: {errno}"),
        };
        list.add(format_args!("IORING_SETUP_{name}"), flag.since(), state);
    }
    list.add_unnamed((*names.remaining() & known).bits());
    list
}

fn set_up(flag: SetupFlags, ring: &IoUring) -> Result<(), Errno> {
    fn kinds<S: squeue::Kind, C: cqueue::Kind>() -> Result<(), Errno> {
        IoUring::<S, C>::builder().build(2).map(drop)
    }
    let mut plain = <IoUring>::builder();
    let builder: &mut Builder = match flag {
        SetupFlags::IOPOLL => plain.setup_iopoll(),
        SetupFlags::SQPOLL => plain.setup_sqpoll(1),
        SetupFlags::SQ_AFF => {
            let cpus = sched_getaffinity(None)?;
            let cpu = (0..CpuSet::MAX_CPU).find(|cpu| cpus.is_set(*cpu)).unwrap_or(0);
            plain.setup_sqpoll(1).setup_sqpoll_cpu(cpu as u32)
        }
        SetupFlags::CQSIZE => plain.setup_cqsize(8),
        SetupFlags::CLAMP => plain.setup_clamp(),
        // SAFETY: the descriptor belongs to the ring, which stays open until after the setup.
        SetupFlags::ATTACH_WQ => unsafe { plain.setup_attach_wq(ring.as_raw_fd()) },
        SetupFlags::R_DISABLED => plain.setup_r_disabled(),
        SetupFlags::SUBMIT_ALL => plain.setup_submit_all(),
        SetupFlags::COOP_TASKRUN => plain.setup_coop_taskrun(),
        SetupFlags::TASKRUN_FLAG => plain.setup_coop_taskrun().setup_taskrun_flag(),
        SetupFlags::SQE128 => return kinds::<squeue::Entry128, cqueue::Entry>(),
        SetupFlags::CQE32 => return kinds::<squeue::Entry, cqueue::Entry32>(),
        SetupFlags::SINGLE_ISSUER => plain.setup_single_issuer(),
        SetupFlags::DEFER_TASKRUN => plain.setup_single_issuer().setup_defer_taskrun(),
        SetupFlags::NO_MMAP => return in_memory(false),
        SetupFlags::REGISTERED_FD_ONLY => return in_memory(true),
        SetupFlags::NO_SQARRAY => plain.setup_no_sqarray(),
        SetupFlags::HYBRID_IOPOLL => plain.setup_iopoll().setup_hybrid_iopoll(),
        SetupFlags::CQE_MIXED => return kinds::<squeue::Entry, cqueue::Mixed>(),
        SetupFlags::SQE_MIXED => return kinds::<squeue::Mixed, cqueue::Entry>(),
        SetupFlags::SQ_REWIND => return kinds::<squeue::Rewind<squeue::Entry>, cqueue::Entry>(),
        // A kernel that created a ring never returns this errno.
        _ => return Err(Errno::NOSYS),
    };
    builder.build(2).map(drop)
}

/// Sets up a ring in our own memory, with or without a descriptor.
fn in_memory(registered: bool) -> Result<(), Errno> {
    let builder = <IoUring>::builder();
    let len = builder.memory_size(2)?;
    let access = ProtFlags::READ | ProtFlags::WRITE;
    // SAFETY: this is a new mapping at an address that the kernel chooses.
    let start = unsafe { mmap_anonymous(ptr::null_mut(), len, access, MapFlags::PRIVATE) }?;
    let memory = NonNull::new(start.cast()).ok_or(Errno::NOMEM)?;
    let memory = NonNull::slice_from_raw_parts(memory, len);
    // SAFETY: only this ring uses the mapping, which is unmapped below.
    let built = unsafe {
        match registered {
            true => builder.build_registered_in_memory(2, memory).map(drop),
            false => builder.build_in_memory(2, memory).map(drop),
        }
    };
    // SAFETY: the mapping is ours, and the only ring that used it is dropped.
    unsafe { munmap(start, len) }?;
    built
}

fn features(features: Features) -> List {
    let mut list = List::new("Features", "features", "IORING_FEAT_");
    let mut names = Features::all().iter_names();
    for (name, feature) in names.by_ref() {
        let state = if features.contains(feature) { HAS } else { LACKS };
        list.add(format_args!("IORING_FEAT_{name}"), feature.since(), state);
    }
    list.add_unnamed((*names.remaining() & features).bits());
    list
}

fn operations(probe: Result<&Probe, Errno>) -> List {
    let mut list = List::new("Operations", "operations", "IORING_OP_");
    for code in 0..=u8::MAX {
        let state = match probe {
            Ok(probe) if probe.is_supported(code) => HAS,
            Ok(_) => LACKS,
            Err(errno) => &format!("not known: {errno}"),
        };
        match sys::op_name(code) {
            Some(name) => list.add(name, opcode::since(code), state),
            None if state == HAS => list.add(code, None, state),
            None => {}
        }
    }
    list
}

fn registers(ring: &IoUring, query: Option<QueryOpcodes>, probe: Result<&Probe, Errno>) -> List {
    let mut list = List::new("Register operations", "register_operations", "IORING_");
    // The numbers are consecutive, so a count tells which of them the kernel has.
    let count = query.map_or_else(count_registers, |query| Ok(query.register_opcodes()));
    // The number of ZCRX_IFQ was reserved for some releases. The operation RECV_ZC came with it.
    let receives = probe.is_ok_and(|probe| probe.is_supported(opcode::RecvZc::CODE));
    let is_free = |number| number == ZCRX_IFQ && !receives;
    for number in 0..256 {
        let state = match count {
            Ok(count) if number < count && !is_free(number) => configured(ring, number),
            Ok(_) => LACKS,
            // The kernel answered the probe, so it has that and all earlier operations.
            Err(_) if probe.is_ok() && number <= IORING_REGISTER_PROBE as u32 => HAS,
            Err(errno) => &format!("not known: {errno}"),
        };
        match sys::register_op(number) {
            Some((name, since)) => list.add(name, Some(since), state),
            None if state == HAS => list.add(number, None, state),
            None => {}
        }
    }
    list
}

const ZCRX_IFQ: u32 = IORING_REGISTER_ZCRX_IFQ as u32;

/// Counts the register operations without calling any: a restriction can name exactly those that
/// the kernel knows.
fn count_registers() -> Result<u32, Errno> {
    // Searches for the lowest number that is rejected. Each trial needs a new ring.
    let (mut low, mut high) = (0, u8::MAX);
    while low < high {
        let middle = low + (high - low) / 2;
        let ring = patiently(|| <IoUring>::builder().setup_r_disabled().build(2))?;
        match ring.submitter().register_restrictions(&[Restriction::register_op(middle)]) {
            Ok(()) => low = middle + 1,
            Err(Errno::INVAL) => high = middle,
            Err(errno) => return Err(errno),
        }
    }
    if low == 0 { Err(Errno::INVAL) } else { Ok(low.into()) }
}

/// Whether an operation whose number the kernel knows is also compiled in.
fn configured(ring: &IoUring, number: u32) -> &'static str {
    const NAPI: [u32; 2] = [IORING_REGISTER_NAPI as u32, IORING_UNREGISTER_NAPI as u32];
    let (number, nr_args) = match number {
        napi if NAPI.contains(&napi) => (NAPI[0], 1),
        ZCRX_IFQ => (number, 1),
        sys::IORING_REGISTER_ZCRX_CTRL => (number, 0),
        sys::IORING_REGISTER_BPF_FILTER => {
            let allow = [SockFilter { code: 6, jt: 0, jf: 0, k: 1 }];
            let filter = BpfFilter::new(opcode::Nop::CODE, &allow);
            let registered = ring.submitter().register_bpf_filter(&filter).is_ok();
            return if registered { HAS } else { "not configured" };
        }
        _ => return HAS,
    };
    // Every operation rejects this argument, because reserved fields must be zero.
    let mut nonsense = [u64::MAX; 32];
    // SAFETY: the kernel accesses less than this array, and rejects the content before it follows
    // an address or keeps a pointer.
    match unsafe { ring.submitter().register(number, nonsense.as_mut_ptr().cast(), nr_args) } {
        Err(Errno::OPNOTSUPP) => "not configured",
        _ => HAS,
    }
}
