//! Prints how many pods per second the scheduler decides about on synthetic clusters. Build it with `--release`:
//! `cargo run --release -p pilothouse-scheduler --example rate -- 5000 20000`

use std::io::Write;

use pilothouse_scheduler::synthetic::{Workload, run};

fn main() -> std::io::Result<()> {
    let mut numbers = std::env::args().skip(1).filter_map(|a| a.parse().ok());
    let (nodes, pods) = (numbers.next().unwrap_or(5000), numbers.next().unwrap_or(10_000));
    let mut out = std::io::stdout().lock();
    for workload in [Workload::Basic, Workload::Owned, Workload::Affinity, Workload::AntiAffinity, Workload::Spread] {
        let result = run(nodes, pods, workload);
        writeln!(
            out,
            "{workload:?}: {nodes} nodes, {} placed, {} waiting, {:.0} pods/s",
            result.placed,
            result.waiting,
            result.per_second()
        )?;
    }
    Ok(())
}
