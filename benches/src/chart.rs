//! Results as a picture: throughput as bars, latencies as whiskers beside them, one group per case.

use std::fmt::Write as _;

use crate::runner::{Measured, Results};

const WIDTH: f64 = 960.0;
const LEFT: f64 = 150.0;
const BARS: f64 = 380.0;
const BAR: f64 = 14.0;
const GAP: f64 = 10.0;
const TOP: f64 = 64.0;
const COLOURS: [&str; 4] = ["#2563eb", "#f59e0b", "#10b981", "#a855f7"];

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// Logarithmic, so that a microsecond and a second fit on one axis.
fn at(millis: f64, longest: f64) -> f64 {
    const SHORTEST: f64 = 0.01;
    let span = (longest / SHORTEST).log10().max(1.0);
    ((millis.max(SHORTEST) / SHORTEST).log10() / span).clamp(0.0, 1.0)
}

/// A stand-alone SVG document.
pub fn svg(results: &Results) -> String {
    let shown: Vec<&Measured> = results.measured.iter().filter(|one| one.outcome.per_second > 0.0).collect();
    let mut targets: Vec<&str> = Vec::new();
    let mut cases: Vec<&str> = Vec::new();
    for one in &shown {
        if !targets.contains(&one.target.as_str()) {
            targets.push(&one.target);
        }
        if !cases.contains(&one.case.as_str()) {
            cases.push(&one.case);
        }
    }
    let longest = shown.iter().flat_map(|one| one.outcome.latencies.values()).map(|s| s.p99_ms).fold(1.0, f64::max);
    let group = BAR * targets.len() as f64 + GAP;
    let height = TOP + group * cases.len() as f64 + 40.0;
    let right = LEFT + BARS + 120.0;
    let span = WIDTH - right - 20.0;
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height:.0}\" font-family=\"sans-serif\" \
         font-size=\"11\"><rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n\
         <text x=\"{LEFT}\" y=\"44\" fill=\"#555\">throughput (bars relative to the best of each case)</text>\n\
         <text x=\"{right}\" y=\"44\" fill=\"#555\">latency p50 to p99, ms (logarithmic)</text>\n"
    );
    for (index, target) in targets.iter().enumerate() {
        let (x, colour) = (LEFT + 160.0 * index as f64, COLOURS[index % COLOURS.len()]);
        let _ = writeln!(
            out,
            "<rect x=\"{x}\" y=\"14\" width=\"10\" height=\"10\" fill=\"{colour}\"/><text x=\"{}\" y=\"23\">{}</text>",
            x + 15.0,
            escaped(target)
        );
    }
    let mut tick = 0.01;
    while tick <= longest * 1.01 {
        let x = right + span * at(tick, longest);
        let _ = writeln!(
            out,
            "<line x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{TOP}\" y2=\"{:.0}\" stroke=\"#e5e7eb\"/>\
             <text x=\"{x:.1}\" y=\"{:.0}\" text-anchor=\"middle\" fill=\"#555\">{tick}</text>",
            height - 30.0,
            height - 14.0
        );
        tick *= 10.0;
    }
    for (row, case) in cases.iter().enumerate() {
        let top = TOP + group * row as f64;
        let of: Vec<&&Measured> = shown.iter().filter(|one| one.case == *case).collect();
        let best = of.iter().map(|one| one.outcome.per_second).fold(0.0, f64::max);
        let _ = writeln!(
            out,
            "<text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            LEFT - 8.0,
            top + BAR * targets.len() as f64 / 2.0 + 4.0,
            escaped(case)
        );
        for one in of {
            let index = targets.iter().position(|target| *target == one.target).unwrap_or(0);
            let (y, colour) = (top + BAR * index as f64, COLOURS[index % COLOURS.len()]);
            let width = BARS * one.outcome.per_second / best;
            let _ = writeln!(
                out,
                "<rect x=\"{LEFT}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{}\" fill=\"{colour}\"/>\
                 <text x=\"{:.1}\" y=\"{:.1}\">{:.0} {}/s</text>",
                BAR - 2.0,
                LEFT + width + 4.0,
                y + BAR - 4.0,
                one.outcome.per_second,
                escaped(&one.outcome.unit)
            );
            let Some(latency) = one.outcome.latencies.get("latency").filter(|latency| latency.count > 0) else {
                continue;
            };
            let (from, to) = (right + span * at(latency.p50_ms, longest), right + span * at(latency.p99_ms, longest));
            let middle = y + BAR / 2.0 - 1.0;
            let _ = writeln!(
                out,
                "<line x1=\"{from:.1}\" x2=\"{to:.1}\" y1=\"{middle:.1}\" y2=\"{middle:.1}\" stroke=\"{colour}\" \
                 stroke-width=\"3\"/><circle cx=\"{from:.1}\" cy=\"{middle:.1}\" r=\"4\" fill=\"{colour}\"/>"
            );
        }
    }
    out.push_str("</svg>\n");
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_axis_is_logarithmic() {
        assert!((at(0.01, 100.0) - 0.0).abs() < 1e-9);
        assert!((at(1.0, 100.0) - 0.5).abs() < 1e-9);
        assert!((at(100.0, 100.0) - 1.0).abs() < 1e-9);
    }

    #[test]
    fn an_empty_run_is_still_a_picture() {
        let empty = Results { time: String::new(), cores: 2, size: 1024, measured: Vec::new() };
        assert!(svg(&empty).ends_with("</svg>\n"));
    }
}
