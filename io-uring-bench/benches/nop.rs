//! NOP round trips in batches: pushed, submitted, awaited, reaped.
//!
//! Both crates set their rings up by the same calls, and the kernel's share is most of the time. It
//! is not quite the same one: ours leaves the index array out where the kernel allows.

use std::hint::black_box;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput};

const BATCHES: [usize; 4] = [1, 8, 32, 128];
const ENTRIES: u32 = 128;

/// Both crates on a ring that is set up in one way, whose methods have the same names in both.
macro_rules! bench_ring {
    ($c:expr, $name:literal, $($setup:ident)*) => {{
        let ours = <rustix_uring::IoUring>::builder()$(.$setup())*.build(ENTRIES);
        let theirs = <io_uring::IoUring>::builder()$(.$setup())*.build(ENTRIES);
        match (ours, theirs) {
            (Ok(mut ours), Ok(mut theirs)) => {
                let mut group = $c.benchmark_group($name);
                for batch in BATCHES {
                    group.throughput(Throughput::Elements(batch as u64));
                    round_trip!(group, rustix_uring, ours, batch);
                    round_trip!(group, io_uring, theirs, batch);
                }
                group.finish();
            }
            (Err(error), _) => println!("{}: skipped, no such ring here: {error}", $name),
            (_, Err(error)) => println!("{}: skipped, no such ring here: {error}", $name),
        }
    }};
}

/// One crate, one size of batch.
macro_rules! round_trip {
    ($group:expr, $uring:ident, $ring:expr, $batch:expr) => {
        $group.bench_function(BenchmarkId::new(stringify!($uring), $batch), |b| {
            b.iter(|| {
                let mut queue = $ring.submission();
                for i in 0..$batch {
                    let nop = $uring::opcode::Nop::new().build().user_data(i as u64);
                    // SAFETY: a NOP uses no memory and no descriptor.
                    unsafe { queue.push(&nop) }.expect("the ring has room for every batch");
                }
                drop(queue);
                let submitted = $ring.submit_and_wait($batch).expect("NOPs are submitted");
                let mut reaped = 0;
                for cqe in $ring.completion() {
                    reaped += 1;
                    black_box(cqe.user_data());
                }
                assert_eq!((submitted, reaped), ($batch, $batch));
            })
        });
    };
}

fn main() {
    let mut c = Criterion::default()
        .warm_up_time(Duration::from_secs(1))
        .measurement_time(Duration::from_secs(3))
        .configure_from_args();
    bench_ring!(c, "nop/plain",);
    bench_ring!(c, "nop/defer_taskrun", setup_single_issuer setup_defer_taskrun);
    c.final_summary();
}
