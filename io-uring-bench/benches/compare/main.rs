//! This crate beside its peers and a hand-written floor.
use anyhow::Result;
mod count;
mod nop;
mod peer;
mod pretend;
mod queues;
mod row;
mod time;
fn main() -> Result<()> {
    queues::compare_entries()?;
    let args: Vec<String> = std::env::args().collect();
    let mut rows = queues::rows();
    rows.extend(nop::rows());
    rows.extend(nop::setup_rows());
    if args.iter().any(|a| a == "--under-callgrind") {
        rows.retain(|r| r.figures == row::Figures::CountsAndTimes);
        count::under_callgrind(&rows);
        return Ok(());
    }
    println!("{}", nop::describe_local()?);
    for r in count::count(&[])? {
        print!("{:32}", r.name);
        for (c, x) in &r.columns {
            match x {
                Ok(x) => print!(" | {c} {:.1} {:.1} {:.1}", x.instructions, x.loads, x.stores),
                Err(e) => print!(" | {c} {e}"),
            }
        }
        println!()
    }
    for r in &rows {
        let t = time::measure(
            r,
            time::Effort { rounds: 7, sample: std::time::Duration::from_micros(300) },
        );
        print!("{:32}", t.name);
        for (c, x) in &t.columns {
            match x {
                Ok(x) => print!(" | {c} {:.2} {:.2}", x.nanoseconds, x.ratio.median),
                Err(e) => print!(" | {c} {e}"),
            }
        }
        println!()
    }
    Ok(())
}
