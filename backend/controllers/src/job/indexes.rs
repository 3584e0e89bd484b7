//! Sets of completion indexes in their written form, `1,3-5,7`.

use std::collections::BTreeSet;

pub type Indexes = BTreeSet<i32>;

/// The indexes below `completions`; what cannot be read is left out, for the text is the status's own.
pub fn parse(text: &str, completions: i32) -> Indexes {
    let mut all = Indexes::new();
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        if let (Ok(first), Ok(last)) = (first.trim().parse::<i32>(), last.trim().parse::<i32>()) {
            all.extend(first.max(0)..=last.min(completions - 1));
        }
    }
    all
}

/// Three and more in a row are written as a range.
pub fn format(indexes: &Indexes) -> String {
    let mut parts: Vec<(i32, i32)> = Vec::new();
    for &index in indexes {
        match parts.last_mut() {
            Some((_, last)) if *last + 1 == index => *last = index,
            _ => parts.push((index, index)),
        }
    }
    let part = |(first, last): &(i32, i32)| match last - first {
        0 => first.to_string(),
        1 => format!("{first},{last}"),
        _ => format!("{first}-{last}"),
    };
    parts.iter().map(part).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_set() {
        for (text, completions, expect) in [
            ("", 5, vec![]),
            ("1,3-5,7", 10, vec![1, 3, 4, 5, 7]),
            ("1,3-5,7", 5, vec![1, 3, 4]),
            ("0-2000000000", 3, vec![0, 1, 2]),
            ("x,2,4-1", 10, vec![2]),
        ] {
            assert_eq!(parse(text, completions).into_iter().collect::<Vec<_>>(), expect, "{text}");
        }
        for text in ["", "1", "1,2", "0-2,4,6,7"] {
            assert_eq!(format(&parse(text, 10)), text);
        }
    }
}
