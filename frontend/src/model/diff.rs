//! Line differences between two texts, and merging two edits of one text.

/// Above this many cells the middle part is taken as replaced whole instead of being compared line by line.
const MAX_CELLS: usize = 4_000_000;
/// Unchanged lines shown around a change.
const CONTEXT: usize = 3;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Line {
    Same(String),
    Removed(String),
    Added(String),
}

/// A stretch of `base` lines `[from, to)` replaced by `lines`.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Edit<'a> {
    from: usize,
    to: usize,
    lines: Vec<&'a str>,
}

pub fn lines(old: &str, new: &str) -> Vec<Line> {
    let before: Vec<&str> = old.lines().collect();
    let mut out = Vec::new();
    let mut at = 0;
    for edit in edits(&before, &new.lines().collect::<Vec<_>>()) {
        out.extend(before[at..edit.from].iter().map(|line| Line::Same((*line).to_owned())));
        out.extend(before[edit.from..edit.to].iter().map(|line| Line::Removed((*line).to_owned())));
        out.extend(edit.lines.iter().map(|line| Line::Added((*line).to_owned())));
        at = edit.to;
    }
    out.extend(before[at..].iter().map(|line| Line::Same((*line).to_owned())));
    out
}

/// The changed parts with some unchanged lines around them; each part starts with its first line number in `old`.
pub fn hunks(old: &str, new: &str) -> Vec<(usize, Vec<Line>)> {
    let all = lines(old, new);
    let changed: Vec<usize> =
        all.iter().enumerate().filter(|(_, line)| !matches!(line, Line::Same(_))).map(|(index, _)| index).collect();
    let mut ranges: Vec<(usize, usize)> = Vec::new();
    for index in changed {
        let (from, to) = (index.saturating_sub(CONTEXT), (index + CONTEXT + 1).min(all.len()));
        match ranges.last_mut() {
            Some(last) if last.1 >= from => last.1 = to,
            _ => ranges.push((from, to)),
        }
    }
    let old_line = |index: usize| all[..index].iter().filter(|line| !matches!(line, Line::Added(_))).count() + 1;
    ranges.into_iter().map(|(from, to)| (old_line(from), all[from..to].to_vec())).collect()
}

fn edits<'a>(old: &[&str], new: &[&'a str]) -> Vec<Edit<'a>> {
    let head = old.iter().zip(new).take_while(|(a, b)| a == b).count();
    let tail = old[head..].iter().rev().zip(new[head..].iter().rev()).take_while(|(a, b)| a == b).count();
    let (a, b) = (&old[head..old.len() - tail], &new[head..new.len() - tail]);
    if a.is_empty() && b.is_empty() {
        return Vec::new();
    }
    if a.is_empty() || b.is_empty() || a.len() * b.len() > MAX_CELLS {
        return vec![Edit { from: head, to: head + a.len(), lines: b.to_vec() }];
    }
    // common[i][j]: longest common subsequence of a[i..] and b[j..].
    let width = b.len() + 1;
    let mut common = vec![0u16; (a.len() + 1) * width];
    for i in (0..a.len()).rev() {
        for j in (0..b.len()).rev() {
            common[i * width + j] = if a[i] == b[j] {
                common[(i + 1) * width + j + 1] + 1
            } else {
                common[(i + 1) * width + j].max(common[i * width + j + 1])
            };
        }
    }
    let (mut i, mut j) = (0, 0);
    let mut out: Vec<Edit> = Vec::new();
    while i < a.len() || j < b.len() {
        if i < a.len() && j < b.len() && a[i] == b[j] {
            (i, j) = (i + 1, j + 1);
            continue;
        }
        if out.last().is_none_or(|edit| edit.to != head + i) {
            out.push(Edit { from: head + i, to: head + i, lines: Vec::new() });
        }
        let Some(edit) = out.last_mut() else { break };
        if j == b.len() || (i < a.len() && common[(i + 1) * width + j] >= common[i * width + j + 1]) {
            edit.to += 1;
            i += 1;
        } else {
            edit.lines.push(b[j]);
            j += 1;
        }
    }
    out
}

/// Puts two edits of one text together; `None` where both changed the same place differently.
pub fn merge(base: &str, mine: &str, theirs: &str) -> Option<String> {
    let before: Vec<&str> = base.lines().collect();
    let (mine, theirs): (Vec<&str>, Vec<&str>) = (mine.lines().collect(), theirs.lines().collect());
    let mut all = edits(&before, &mine);
    for edit in edits(&before, &theirs) {
        if !all.contains(&edit) {
            all.push(edit);
        }
    }
    all.sort_by_key(|edit| (edit.from, edit.to));
    // Edits that touch are taken as conflicting: adjacent lines of YAML often belong together.
    if all.windows(2).any(|pair| pair[1].from <= pair[0].to) {
        return None;
    }
    let mut out: Vec<&str> = Vec::new();
    let mut at = 0;
    for edit in &all {
        out.extend(&before[at..edit.from]);
        out.extend(&edit.lines);
        at = edit.to;
    }
    out.extend(&before[at..]);
    Some(out.join("\n") + "\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn show(old: &str, new: &str) -> String {
        let sign = |line: Line| match line {
            Line::Same(text) => format!(" {text}"),
            Line::Removed(text) => format!("-{text}"),
            Line::Added(text) => format!("+{text}"),
        };
        lines(old, new).into_iter().map(sign).collect::<Vec<_>>().join("|")
    }

    #[test]
    fn shows_least_changes() {
        assert_eq!(show("a\nb\nc\n", "a\nb\nc\n"), " a| b| c");
        assert_eq!(show("a\nb\nc\n", "a\nx\nc\n"), " a|-b|+x| c");
        assert_eq!(show("", "a\n"), "+a");
        assert_eq!(show("a\n", ""), "-a");
        assert_eq!(show("a\nb\nc\nd\n", "b\nc\nx\nd\ne\n"), "-a| b| c|+x| d|+e");
    }

    #[test]
    fn a_diff_applied_gives_the_new_text() {
        // Every pair of short texts over three lines.
        let texts: Vec<String> =
            (0..3_usize.pow(5)).map(|n| (0..5).map(|p| ["a\n", "b\n", ""][n / 3_usize.pow(p) % 3]).collect()).collect();
        for old in texts.iter().step_by(5) {
            for new in texts.iter().step_by(7) {
                let all = lines(old, new);
                let kept = |line: &Line, side: bool| match line {
                    Line::Same(text) => Some(text.clone()),
                    Line::Removed(text) => side.then(|| text.clone()),
                    Line::Added(text) => (!side).then(|| text.clone()),
                };
                let before: Vec<String> = all.iter().filter_map(|line| kept(line, true)).collect();
                let after: Vec<String> = all.iter().filter_map(|line| kept(line, false)).collect();
                assert_eq!(before, old.lines().collect::<Vec<_>>());
                assert_eq!(after, new.lines().collect::<Vec<_>>());
            }
        }
    }

    #[test]
    fn hunks_keep_some_context() {
        let old: String = (1..=20).map(|n| format!("{n}\n")).collect();
        let new = old.replace("10\n", "ten\n");
        let found = hunks(&old, &new);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].0, 7);
        assert_eq!(found[0].1.len(), 8);
    }

    #[test]
    fn merges_edits_in_different_places() {
        let base = "a\nb\nc\nd\ne\n";
        assert_eq!(merge(base, "A\nb\nc\nd\ne\n", "a\nb\nc\nd\nE\n").as_deref(), Some("A\nb\nc\nd\nE\n"));
        assert_eq!(merge(base, "a\nb\nX\nd\ne\n", "a\nb\nX\nd\ne\n").as_deref(), Some("a\nb\nX\nd\ne\n"));
        assert_eq!(merge(base, "a\nX\nc\nd\ne\n", "a\nY\nc\nd\ne\n"), None);
        assert_eq!(merge(base, "a\nb\nd\ne\n", "a\nb\nc2\nd\ne\n"), None);
    }
}
