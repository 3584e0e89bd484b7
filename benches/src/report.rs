//! Results as text, as JSON, side by side.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::chart;
use crate::runner::{Measured, Results};

/// Prints a line.
pub fn line(text: &str) {
    // A closed pipe is no reason to stop measuring.
    let _ = writeln!(std::io::stdout(), "{text}");
}

/// 1,234,567 from 1234567.2; small numbers keep their decimals.
fn number(value: f64) -> String {
    if value < 100.0 {
        return format!("{value:.1}");
    }
    let digits = format!("{value:.0}");
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at) % 3 == 0 {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

/// One case as a line of text.
pub fn row(measured: &Measured) -> String {
    let outcome = &measured.outcome;
    let rate = format!("{} {}/s", number(outcome.per_second), outcome.unit);
    let mut text = format!("{:<17} {:<12} {rate:>22}", measured.case, measured.target);
    for (name, summary) in outcome.latencies.iter().filter(|(_, summary)| summary.count > 0) {
        let name = if name == "latency" { "" } else { name.as_str() };
        let _ = write!(
            text,
            "  {name} p50 {:.2} p95 {:.2} p99 {:.2} max {:.1} ms",
            summary.p50_ms, summary.p95_ms, summary.p99_ms, summary.max_ms
        );
    }
    for (name, figure) in &outcome.figures {
        let _ = write!(text, "  {name} {} {}", number(figure.value), figure.unit);
    }
    for cost in &measured.processes {
        let (before, after, peak) =
            (megabytes(cost.before.memory_bytes), megabytes(cost.after.memory_bytes), megabytes(cost.peak_bytes));
        let _ = write!(text, "  [{} {:.2} cores, {before:.0}→{after:.0} MiB, peak {peak:.0}]", cost.label, cost.cores);
    }
    let _ = write!(text, "  [client {:.2}, others {:.2} cores]", measured.own_cores, measured.other_cores);
    if let Some(check) = outcome.check.as_ref().filter(|check| check.acknowledged > 0) {
        let _ = write!(text, "  {} acknowledged, {} lost", check.acknowledged, check.lost);
    }
    if !outcome.failed.is_empty() {
        let _ = write!(text, "  FAILED {:?}", outcome.failed);
    }
    text
}

/// Two targets side by side: how much faster the first is, in throughput and in each latency.
pub fn comparison(all: &[Measured], first: &str, second: &str) -> String {
    let of = |case: &str, target: &str| all.iter().rev().find(|one| one.case == case && one.target == target);
    let mut text = format!("| case | {first} | {second} | throughput | p50 | p99 |\n|---|---|---|---|---|---|\n");
    let mut cases: Vec<&str> = Vec::new();
    for one in all {
        if !cases.contains(&one.case.as_str()) {
            cases.push(&one.case);
        }
    }
    for case in cases {
        let (Some(a), Some(b)) = (of(case, first), of(case, second)) else { continue };
        for (name, latency) in &a.outcome.latencies {
            let Some(other) = b.outcome.latencies.get(name) else { continue };
            if latency.count == 0 || other.count == 0 {
                continue;
            }
            let whole = name == "latency";
            let title = if whole { case.to_owned() } else { format!("{case}, {name}") };
            let cell = |one: &Measured, p50: f64, p99: f64| {
                let rate = if whole { format!("{}/s, ", number(one.outcome.per_second)) } else { String::new() };
                format!("{rate}p50 {p50:.2} ms, p99 {p99:.2} ms")
            };
            let ratio = |a: f64, b: f64| if a > 0.0 && b > 0.0 { format!("{:.2}x", a / b) } else { "–".to_owned() };
            let throughput = if whole { ratio(a.outcome.per_second, b.outcome.per_second) } else { String::new() };
            let _ = writeln!(
                text,
                "| {title} | {} | {} | {throughput} | {} | {} |",
                cell(a, latency.p50_ms, latency.p99_ms),
                cell(b, other.p50_ms, other.p99_ms),
                // Latencies the other way round: more is better in every column.
                ratio(other.p50_ms, latency.p50_ms),
                ratio(other.p99_ms, latency.p99_ms),
            );
        }
        let memory = |one: &Measured| one.processes.iter().map(|cost| cost.after.memory_bytes).sum::<u64>();
        let cores = |one: &Measured| one.processes.iter().map(|cost| cost.cores).sum::<f64>();
        if memory(a) > 0 && memory(b) > 0 {
            let (x, y) = (megabytes(memory(a)), megabytes(memory(b)));
            let _ = writeln!(
                text,
                "| {case}, server side | {x:.0} MiB, {:.2} cores | {y:.0} MiB, {:.2} cores | | {:.2}x less memory | |",
                cores(a),
                cores(b),
                y / x
            );
        }
    }
    text
}

/// Writes the JSON and the chart, where asked for.
///
/// # Errors
/// When a file cannot be written.
pub fn write(results: &Results, json: Option<&Path>, svg: Option<&Path>) -> Result<()> {
    if let Some(path) = json {
        let text = serde_json::to_string_pretty(results)?;
        std::fs::write(path, text).with_context(|| format!("writing {}", path.display()))?;
    }
    if let Some(path) = svg {
        std::fs::write(path, chart::svg(results)).with_context(|| format!("writing {}", path.display()))?;
    }
    Ok(())
}

#[derive(clap::Args, Clone, Debug)]
pub struct CompareArgs {
    /// Result files; the first target found in them is compared with the second.
    #[arg(required = true)]
    pub files: Vec<std::path::PathBuf>,
    /// Where a chart is written as SVG.
    #[arg(long)]
    pub svg: Option<std::path::PathBuf>,
}

/// Compares results that were written before. Files that use one target name twice get told apart by their own names.
///
/// # Errors
/// When a file cannot be read, or there are not two targets.
pub fn compare(args: &CompareArgs) -> Result<()> {
    let mut all: Option<Results> = None;
    for path in &args.files {
        let text = std::fs::read(path).with_context(|| format!("reading {}", path.display()))?;
        let mut results: Results = serde_json::from_slice(&text).with_context(|| path.display().to_string())?;
        let known = all.as_ref().is_some_and(|all| {
            results.measured.iter().any(|one| all.measured.iter().any(|other| other.target == one.target))
        });
        if known {
            let stem = path.file_stem().unwrap_or_default().to_string_lossy();
            results.measured.iter_mut().for_each(|one| one.target = format!("{} ({stem})", one.target));
        }
        match &mut all {
            Some(all) => all.measured.append(&mut results.measured),
            None => all = Some(results),
        }
    }
    let all = all.context("no results")?;
    let mut targets: Vec<&str> = Vec::new();
    for one in &all.measured {
        if !targets.contains(&one.target.as_str()) {
            targets.push(&one.target);
        }
    }
    let [first, second, ..] = targets[..] else { bail!("the files hold results of only one target") };
    line(&comparison(&all.measured, first, second));
    write(&all, None, args.svg.as_deref())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cases::Outcome;
    use crate::histogram::Summary;
    use expect_test::expect;

    fn measured(target: &str, per_second: f64, p50_ms: f64) -> Measured {
        let summary = Summary { count: 10, p50_ms, p99_ms: p50_ms * 2.0, ..Summary::default() };
        let outcome = Outcome {
            unit: "writes".into(),
            per_second,
            latencies: [("latency".to_owned(), summary)].into(),
            ..Outcome::default()
        };
        Measured {
            target: target.into(),
            case: "create-10".into(),
            clients: 10,
            outcome,
            processes: Vec::new(),
            own_cores: 0.5,
            other_cores: 0.0,
        }
    }

    #[test]
    fn numbers() {
        assert_eq!(number(12.34), "12.3");
        assert_eq!(number(1234.6), "1,235");
        assert_eq!(number(1_234_567.0), "1,234,567");
    }

    #[test]
    fn ratios_say_how_much_faster_the_first_is() {
        let all = [measured("a", 4000.0, 2.0), measured("b", 1000.0, 8.0)];
        expect![[r#"
            | case | a | b | throughput | p50 | p99 |
            |---|---|---|---|---|---|
            | create-10 | 4,000/s, p50 2.00 ms, p99 4.00 ms | 1,000/s, p50 8.00 ms, p99 16.00 ms | 4.00x | 4.00x | 4.00x |
        "#]]
        .assert_eq(&comparison(&all, "a", "b"));
    }
}
