//! The indexes of a job's status: `0-2,5`.

use pilothouse_api::field::{Error, ErrorList, Path};
use serde_json::Value;

use crate::value::Look;

/// Which indexes have ended, and how.
pub(super) fn status(new: &Value, old: &Value, errors: &mut ErrorList) {
    let (status, path) = (new.at("status"), Path::new("status"));
    let (completed, failed) = (status.text("completedIndexes"), status.at("failedIndexes").as_str());
    let new_completed = completed != old.text("status.completedIndexes");
    let new_failed = failed != old.at("status.failedIndexes").as_str();
    let (at_completed, at_failed) = (path.child("completedIndexes"), path.child("failedIndexes"));
    let mut judge = |text: &str, at: &Path, key: &str| {
        if let Some(Err(why)) = new.int("spec.completions").map(|completions| intervals(text, completions)) {
            errors.push(Error::invalid(at.clone(), text, format!("error parsing {key}: {why}")));
        }
    };
    if new_completed {
        judge(completed, &at_completed, "completedIndexes");
    }
    if let Some(failed) = failed.filter(|_| new_failed && new.has("spec.backoffLimitPerIndex")) {
        judge(failed, &at_failed, "failedIndexes");
    }
    if new_completed && !completed.is_empty() && new.text("spec.completionMode") != "Indexed" {
        let detail = "cannot set non-empty completedIndexes when non-indexed completion mode";
        errors.push(Error::invalid(at_completed, completed, detail));
    }
    let Some(failed) = failed else { return };
    if new_failed && !new.has("spec.backoffLimitPerIndex") {
        let detail = "cannot set non-null failedIndexes when backoffLimitPerIndex is null";
        errors.push(Error::invalid(at_failed.clone(), failed, detail));
    }
    let both = new_failed || new_completed;
    if let Some(index) = new.int("spec.completions").filter(|_| both).and_then(|most| overlap(completed, failed, most))
    {
        let detail = format!("failedIndexes and completedIndexes overlap at index: {index}");
        errors.push(Error::invalid(at_failed, failed, detail));
    }
}

/// Intervals in their order.
fn intervals(text: &str, completions: i64) -> Result<Vec<(i64, i64)>, String> {
    let mut all: Vec<(i64, i64)> = Vec::new();
    for part in text.split(',').filter(|_| !text.is_empty()) {
        let (first, last) = interval(part, completions)?;
        if let Some((_, before)) = all.last().filter(|(_, before)| *before >= first) {
            return Err(format!("non-increasing order, previous: {before}, current: {first}"));
        }
        all.push((first, last));
    }
    Ok(all)
}

fn interval(text: &str, completions: i64) -> Result<(i64, i64), String> {
    let parts: Vec<&str> = text.split('-').collect();
    if parts.len() > 2 {
        let rule = "an index interval can have at most two parts separated by '-'";
        return Err(format!("the fragment {text:?} violates the requirement that {rule}"));
    }
    let index = |part: &str| {
        let number = part.parse::<i64>();
        let number = number.map_err(|_| format!("cannot convert string to integer for index: {part:?}"))?;
        if number < completions { Ok(number) } else { Err(format!("too large index: {part:?}")) }
    };
    let first = index(parts[0])?;
    let Some(last) = parts.get(1).map(|part| index(part)).transpose()? else { return Ok((first, first)) };
    if first < last {
        Ok((first, last))
    } else {
        Err(format!("non-increasing order, previous: {first}, current: {last}"))
    }
}

/// The first index that is in both; what cannot be read is told of elsewhere.
fn overlap(one: &str, other: &str, completions: i64) -> Option<i64> {
    let read = |text: &str| -> Vec<(i64, i64)> {
        text.split(',').filter_map(|part| interval(part, completions).ok()).collect()
    };
    let (one, other) = (read(one), read(other));
    let pairs = one.iter().flat_map(|a| other.iter().map(move |b| (a, b)));
    pairs.filter(|(a, b)| a.0 <= b.1 && b.0 <= a.1).map(|(a, b)| a.0.max(b.0)).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_indexes_say() {
        assert_eq!(intervals("", 3), Ok(vec![]));
        assert_eq!(intervals("0-1,3", 4), Ok(vec![(0, 1), (3, 3)]));
        for (text, why) in [
            ("x", "cannot convert string to integer for index: \"x\""),
            ("4", "too large index: \"4\""),
            (
                "0-1-2",
                "the fragment \"0-1-2\" violates the requirement that an index interval can have at most two parts separated by '-'",
            ),
            ("1-0", "non-increasing order, previous: 1, current: 0"),
            ("0-2,2", "non-increasing order, previous: 2, current: 2"),
        ] {
            assert_eq!(intervals(text, 4), Err(why.to_owned()), "{text}");
        }
        assert_eq!(overlap("0-2", "2,3", 4), Some(2));
        assert_eq!(overlap("0-1", "2,3", 4), None);
    }
}
