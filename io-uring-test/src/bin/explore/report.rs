//! Prints what the explorer found, as a program.

use anyhow::Result;

use crate::episode::Episode;
use crate::model::Kernel;
use crate::step;
use crate::supervise::{self, Found, Outcome, Plan};

/// Prints the last line of a run.
pub(crate) fn summary(outcome: &Outcome, seconds: f64) {
    let total: u64 = outcome.steps.iter().sum();
    let mut kinds = String::new();
    for (i, n) in outcome.steps.iter().enumerate() {
        kinds += &format!("{} {n}, ", step::name(i));
    }
    println!("{}", kinds.trim_end_matches(", "));
    let differences = usize::from(outcome.found.is_some());
    let rate = total as f64 / seconds;
    println!(
        "{} episodes, {total} steps in {seconds:.1} s ({rate:.0}/s), {differences} differences",
        outcome.episodes
    );
}

/// Prints a difference as the shortest program that shows it.
pub(crate) fn difference(kernel: &Kernel, plan: &Plan, found: &Found) -> Result<()> {
    println!("episode {} of seed {}: {}", found.episode, plan.seed, found.what);
    let shortest = supervise::shrink(kernel, plan, found)?;
    println!("shortest: {} steps: {}", shortest.episode.steps.len(), shortest.what);
    print(&shortest.episode, &shortest.lines, Some(&shortest.what));
    Ok(())
}

/// Prints an episode as a program. Returns whether there is no difference.
pub(crate) fn program(kernel: &Kernel, plan: &Plan) -> Result<bool> {
    let (episode, trial) = supervise::alone(kernel, plan)?;
    print(&episode, &trial.lines, trial.what.as_deref());
    Ok(trial.what.is_none())
}

fn print(episode: &Episode, lines: &str, difference: Option<&str>) {
    println!("// {:?}", crate::model::setup::Setup::of(episode.setup));
    for (i, (draw, numbers)) in episode.steps.iter().enumerate() {
        println!("// {i}: {:?}", step::Step::of(*draw, *numbers));
    }
    println!("{PROLOGUE}");
    for line in lines.lines() {
        println!("    {line}");
    }
    if let Some(what) = difference {
        println!("    // and here: {}", what.replace('\n', "\n    // "));
    }
    println!("}}");
}

const PROLOGUE: &str = r#"
#![allow(unused)]
use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use rustix_uring::{squeue::*, types::*, *};

static HOUR: Timespec = Timespec::new().sec(3600);
static LONG: Timespec = HOUR;
static SOON: Timespec = Timespec::new().nsec(1);
static FUTURE: Timespec = Timespec::new().sec(1 << 33);
static SHORT: Timespec = Timespec::new().nsec(20_000);

fn buffer() -> *mut u8 {
    Box::leak(Box::new([0; 64])).as_mut_ptr()
}

fn leak<T, const N: usize>(all: [T; N]) -> *mut T {
    Box::leak(Box::new(all)).as_mut_ptr()
}

fn dirty_pages() -> std::ptr::NonNull<[u8]> {
    let (len, all) = (65536, rustix::mm::ProtFlags::READ | rustix::mm::ProtFlags::WRITE);
    let private = rustix::mm::MapFlags::PRIVATE;
    let pages = unsafe { rustix::mm::mmap_anonymous(std::ptr::null_mut(), len, all, private) }.unwrap();
    unsafe { std::ptr::write_bytes(pages.cast::<u8>(), 0xa5, len) };
    std::ptr::NonNull::slice_from_raw_parts(std::ptr::NonNull::new(pages.cast()).unwrap(), len)
}

fn main() {
    let pieces = [buffer(), buffer(), buffer(), buffer()];
    let socket = |kind| socketpair(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None).unwrap();
    let pipe = || rustix::pipe::pipe().unwrap();
    let file = |name| rustix::fs::memfd_create(name, rustix::fs::MemfdFlags::CLOEXEC).unwrap();
    let files = [file("first"), file("second")];
    files.each_ref().map(|file| rustix::io::pwrite(file, &(100..140).collect::<Vec<u8>>(), 0));
    let pipes = [pipe(), pipe(), pipe(), socket(SocketType::STREAM), socket(SocketType::DGRAM)];
    let mut pipes = pipes.map(|(reader, writer)| (reader, Some(writer)));"#;
