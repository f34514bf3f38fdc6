//! Runs every operation and every ring kind of rustix-uring against the live kernel.
//!
//! ```text
//! cargo run -p io-uring-test [FILTER...]
//! ```
//!
//! `cargo test --workspace` runs it too. A case is skipped only if something is missing that the
//! case declares as a need, and the reason is printed. Cases are named after their files.

mod availability;
mod buf_ring;
mod builder;
mod cqueue;
mod fault;
mod harness;
mod kind;
mod leaks;
mod local;
mod memory;
mod opcode;
mod query;
mod quiesce;
mod register;
mod squeue;
mod submit;
mod wait_region;
mod zcrx;

use std::fs::File;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use harness::Case;
use rustix_uring::{Availability, availability};

/// Runs every operation and every ring kind of rustix-uring against the live kernel.
#[derive(Parser)]
struct Args {
    /// Run only cases whose names contain one of these.
    filters: Vec<String>,
    /// Skip cases whose names contain this.
    #[arg(long, value_name = "FILTER")]
    skip: Vec<String>,
    /// List the names of the cases without running them.
    #[arg(long)]
    list: bool,
    /// Write a report to this file: one line for the outcome of each operation and each case.
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Seconds after which a running case counts as hanging.
    #[arg(long, default_value_t = 60)]
    timeout: u64,
}

/// Every file of cases, with its name.
const FILES: &[(&str, &[Case])] = &[
    ("availability", availability::CASES),
    ("kind", kind::CASES),
    ("builder", builder::CASES),
    ("quiesce", quiesce::CASES),
    ("quiesce::refused", quiesce::refused::CASES),
    ("quiesce::silent", quiesce::silent::CASES),
    ("local", local::CASES),
    ("buf_ring", buf_ring::CASES),
    ("buf_ring::taken", buf_ring::taken::CASES),
    ("memory", memory::CASES),
    ("squeue", squeue::CASES),
    ("squeue::flags", squeue::flags::CASES),
    ("squeue::mixed", squeue::mixed::CASES),
    ("squeue::rewind", squeue::rewind::CASES),
    ("cqueue", cqueue::CASES),
    ("submit", submit::CASES),
    ("submit::args", submit::args::CASES),
    ("submit::sqpoll", submit::sqpoll::CASES),
    ("submit::iopoll", submit::iopoll::CASES),
    ("submit::taskrun", submit::taskrun::CASES),
    ("opcode::buffer", opcode::buffer::CASES),
    ("opcode::cmd", opcode::cmd::CASES),
    ("opcode::file", opcode::file::CASES),
    ("opcode::file::range", opcode::file::range::CASES),
    ("opcode::fs", opcode::fs::CASES),
    ("opcode::fs::names", opcode::fs::names::CASES),
    ("opcode::fs::slots", opcode::fs::slots::CASES),
    ("opcode::fs::xattr", opcode::fs::xattr::CASES),
    ("opcode::futex", opcode::futex::CASES),
    ("opcode::net", opcode::net::CASES),
    ("opcode::net::accept", opcode::net::accept::CASES),
    ("opcode::net::recv", opcode::net::recv::CASES),
    ("opcode::net::recvmsg", opcode::net::recvmsg::CASES),
    ("opcode::net::send", opcode::net::send::CASES),
    ("opcode::net::zc", opcode::net::zc::CASES),
    ("opcode::pipe", opcode::pipe::CASES),
    ("opcode::poll", opcode::poll::CASES),
    ("opcode::process", opcode::process::CASES),
    ("opcode::ring", opcode::ring::CASES),
    ("opcode::ring::cancel", opcode::ring::cancel::CASES),
    ("opcode::ring::message", opcode::ring::message::CASES),
    ("opcode::ring::nop", opcode::ring::nop::CASES),
    ("opcode::rw", opcode::rw::CASES),
    ("opcode::rw::fixed", opcode::rw::fixed::CASES),
    ("opcode::rw::multi", opcode::rw::multi::CASES),
    ("opcode::slot", opcode::slot::CASES),
    ("opcode::timeout", opcode::timeout::CASES),
    ("opcode::timeout::change", opcode::timeout::change::CASES),
    ("register::buf_ring", register::buf_ring::CASES),
    ("register::buffers", register::buffers::CASES),
    ("register::eventfd", register::eventfd::CASES),
    ("register::files", register::files::CASES),
    ("register::net", register::net::CASES),
    ("register::personality", register::personality::CASES),
    ("register::probe", register::probe::CASES),
    ("register::region", register::region::CASES),
    ("register::resize", register::resize::CASES),
    ("register::restrict", register::restrict::CASES),
    ("register::ring", register::ring::CASES),
    ("register::sync", register::sync::CASES),
    ("register::workers", register::workers::CASES),
    ("query", query::CASES),
    ("wait_region", wait_region::CASES),
    ("zcrx", zcrx::CASES),
    ("fault::memory", fault::memory::CASES),
    ("fault::interrupt", fault::interrupt::CASES),
    ("fault::fork", fault::fork::CASES),
    ("fault::process", fault::process::CASES),
    ("leaks", leaks::CASES),
];

/// Exit status if nothing was run: there is no io_uring, or no case matches the filters.
const NOTHING_TRIED: u8 = 2;

fn main() -> ExitCode {
    let args = Args::parse();
    let unnamed = harness::unnamed(FILES.iter().flat_map(|(_, cases)| cases.iter()));
    if !unnamed.is_empty() {
        eprintln!("no case is named after {}", unnamed.join(" "));
        return ExitCode::FAILURE;
    }
    let contains = |name: &str, filters: &[String]| filters.iter().any(|it| name.contains(it));
    let chosen = |name: &str| {
        (args.filters.is_empty() || contains(name, &args.filters)) && !contains(name, &args.skip)
    };
    let cases = FILES
        .iter()
        .flat_map(|(file, cases)| {
            cases.iter().map(move |case| (format!("{file}::{}", case.name), case))
        })
        .filter(|(name, _)| chosen(name));
    if cases.clone().next().is_none() {
        eprintln!("no case name contains {}", args.filters.join(" or "));
        return NOTHING_TRIED.into();
    }
    if args.list {
        cases.for_each(|(name, _)| println!("{name}"));
        return ExitCode::SUCCESS;
    }
    match availability() {
        Availability::Available => {}
        absent => {
            eprintln!("{absent}");
            return NOTHING_TRIED.into();
        }
    }
    match harness::about() {
        Ok(about) => println!("{about}"),
        Err(e) => println!("cannot query which features the kernel has: {e:#}"),
    }
    let (totals, coverage) = harness::run(cases, Duration::from_secs(args.timeout));
    match coverage.summary() {
        Ok(summary) => println!("{summary}"),
        Err(e) => println!("cannot query which operations were not exercised: {e:#}"),
    }
    if let Some(path) = args.report {
        let written = File::create(&path).map_err(Into::into);
        if let Err(e) = written.and_then(|mut file| coverage.write(&mut file)) {
            eprintln!("{}: {e:#}", path.display());
            return ExitCode::FAILURE;
        }
    }
    totals.print();
    if totals.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
