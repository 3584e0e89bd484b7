//! Widths of table columns from what is in them, so that most columns are as wide as they must be and no wider.

use crate::api::table::{Column, Row};

/// Rows looked at.
const SAMPLE: usize = 120;
const LEAST: usize = 5;
const MOST: usize = 44;

/// A CSS grid template for the shown columns, and the least width of a row as a CSS length. `namespace` adds a column before the others, `select` a checkbox.
pub fn template(
    columns: &[(usize, Column)],
    rows: &[std::sync::Arc<Row>],
    namespace: bool,
    select: bool,
) -> (String, String) {
    let sample = || rows.iter().take(SAMPLE);
    let mut parts: Vec<String> = Vec::new();
    let mut least_sum = 0;
    if select {
        parts.push("34px".into());
    }
    let mut push = |widest: usize, least: usize| {
        let width = widest.clamp(least, MOST);
        least_sum += width.min(26) + 2;
        parts.push(format!("minmax({}ch, {}fr)", width.min(26) + 2, width + 2));
    };
    for (place, (index, column)) in columns.iter().enumerate() {
        let widest = if column.is_age() {
            6
        } else {
            sample()
                .filter_map(|row| row.cells.get(*index))
                .map(|cell| cell.text().chars().count())
                .max()
                .unwrap_or_default()
        };
        // A mark stands before the words of a state.
        let widest =
            if matches!(column.name.as_str(), "Status" | "Phase" | "State" | "Type") { widest + 2 } else { widest };
        push(widest.max(column.name.chars().count() + 2), if place == 0 { 16 } else { LEAST });
        if place == 0 && namespace {
            push(sample().map(|row| row.namespace.len()).max().unwrap_or_default(), 11);
        }
    }
    (parts.join(" "), format!("calc({least_sum}ch + {}px)", if select { 34 } else { 0 }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::table::Cell;

    #[test]
    fn columns_fit_their_content() {
        let columns: Vec<(usize, Column)> = ["Name", "Status", "Age"]
            .iter()
            .map(|name| Column { name: (*name).into(), ..Column::default() })
            .enumerate()
            .collect();
        let row = std::sync::Arc::new(Row {
            namespace: "default".into(),
            name: "a".into(),
            created: 0,
            deleting: false,
            labels: Box::new([]),
            cells: Box::new([
                Cell::Text("a".repeat(80).into()),
                Cell::Text("Ok".into()),
                Cell::Text("2026".repeat(9).into()),
            ]),
        });
        let (grid, least) = template(&columns, &[row], true, true);
        assert_eq!(grid, "34px minmax(28ch, 46fr) minmax(13ch, 13fr) minmax(10ch, 10fr) minmax(8ch, 8fr)");
        assert_eq!(least, "calc(59ch + 34px)");
    }
}
