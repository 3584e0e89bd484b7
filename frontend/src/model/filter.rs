//! Which rows of a table are shown, and in which order.
//!
//! A filter is words that must all match: `web` (anywhere in the row), `app=web` and `app!=web` (labels),
//! `status:running` (a column), `!web` (not).

use std::cmp::Ordering;
use std::sync::Arc;

use crate::api::table::{Cell, Column, Row};

#[derive(Clone, Debug, PartialEq, Eq)]
enum Test {
    Anywhere(String),
    Label { key: String, value: String },
    Column { name: String, value: String },
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    tests: Vec<(bool, Test)>,
}

impl Filter {
    pub fn parse(text: &str) -> Self {
        let tests = text.split_whitespace().map(|word| {
            let (wanted, word) = word.strip_prefix('!').map_or((true, word), |rest| (false, rest));
            if let Some((key, value)) = word.split_once("!=") {
                return (!wanted, Test::Label { key: key.to_owned(), value: value.to_owned() });
            }
            let test = if let Some((key, value)) = word.split_once('=') {
                Test::Label { key: key.to_owned(), value: value.trim_start_matches('=').to_owned() }
            } else if let Some((name, value)) = word.split_once(':').filter(|(name, _)| !name.is_empty()) {
                Test::Column { name: name.to_lowercase(), value: value.to_lowercase() }
            } else {
                Test::Anywhere(word.to_lowercase())
            };
            (wanted, test)
        });
        Self { tests: tests.collect() }
    }

    pub fn is_empty(&self) -> bool {
        self.tests.is_empty()
    }

    pub fn matches(&self, row: &Row, columns: &[Column]) -> bool {
        self.tests.iter().all(|(wanted, test)| test_row(test, row, columns) == *wanted)
    }
}

fn test_row(test: &Test, row: &Row, columns: &[Column]) -> bool {
    match test {
        Test::Label { key, value } => {
            row.labels.iter().any(|(k, v)| &**k == key && (&**v == value || value.is_empty()))
        }
        Test::Column { name, value } => {
            let known = columns.iter().position(|column| squeezed(&column.name).starts_with(name.as_str()));
            match known {
                Some(index) => row.cells.get(index).is_some_and(|cell| contains(&cell.text(), value)),
                None if "namespace".starts_with(name.as_str()) => contains(&row.namespace, value),
                // An image such as `demo:2` is not a column.
                None => anywhere(row, &format!("{name}:{value}")),
            }
        }
        Test::Anywhere(word) => anywhere(row, word),
    }
}

fn anywhere(row: &Row, word: &str) -> bool {
    contains(&row.name, word)
        || contains(&row.namespace, word)
        || row.cells.iter().any(|cell| matches!(cell, Cell::Text(text) if contains(text, word)))
        || row.labels.iter().any(|(_, value)| contains(value, word))
}

/// `Up-to-date` and `Node Selector` are written `uptodate` and `nodeselector` in a filter.
fn squeezed(name: &str) -> String {
    name.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect()
}

/// `word` is in lower case. ASCII case is ignored without copying the text.
fn contains(text: &str, word: &str) -> bool {
    let (text, word) = (text.as_bytes(), word.as_bytes());
    word.is_empty() || text.windows(word.len()).any(|part| part.eq_ignore_ascii_case(word))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    Namespace,
    Column(usize),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Order {
    pub by: By,
    pub descending: bool,
}

/// Filters and sorts. Rows arrive ordered by namespace and name, which also breaks ties.
pub fn view<'a>(
    rows: impl Iterator<Item = &'a Arc<Row>>,
    columns: &[Column],
    filter: &Filter,
    order: Option<Order>,
) -> Vec<Arc<Row>> {
    let mut shown: Vec<Arc<Row>> =
        rows.filter(|row| filter.is_empty() || filter.matches(row, columns)).cloned().collect();
    let Some(order) = order else { return shown };
    let age = matches!(order.by, By::Column(index) if columns.get(index).is_some_and(Column::is_age));
    let compare = |a: &Arc<Row>, b: &Arc<Row>| match order.by {
        By::Namespace => natural(&a.namespace, &b.namespace),
        // A greater age is an earlier creation.
        By::Column(_) if age => b.created.cmp(&a.created),
        By::Column(index) => compare_cells(a.cells.get(index), b.cells.get(index)),
    };
    shown.sort_by(|a, b| if order.descending { compare(b, a) } else { compare(a, b) });
    shown
}

fn compare_cells(a: Option<&Cell>, b: Option<&Cell>) -> Ordering {
    let empty = |cell: Option<&Cell>| cell.is_none_or(|cell| matches!(cell, Cell::Empty));
    match (a, b) {
        (Some(Cell::Number(a)), Some(Cell::Number(b))) => a.total_cmp(b),
        (Some(Cell::Text(a)), Some(Cell::Text(b))) => natural(a, b),
        _ => empty(a).cmp(&empty(b)),
    }
}

/// Compares text with numbers in it by their value: `web-9` before `web-10`.
pub fn natural(a: &str, b: &str) -> Ordering {
    let (mut a, mut b) = (a.as_bytes(), b.as_bytes());
    loop {
        match (a.first(), b.first()) {
            (None, None) => return Ordering::Equal,
            (None, _) => return Ordering::Less,
            (_, None) => return Ordering::Greater,
            (Some(x), Some(y)) if x.is_ascii_digit() && y.is_ascii_digit() => {
                let (left, right) = (digits(&mut a), digits(&mut b));
                let order = left.len().cmp(&right.len()).then_with(|| left.cmp(right));
                if order != Ordering::Equal {
                    return order;
                }
            }
            (Some(x), Some(y)) => {
                let order = x.to_ascii_lowercase().cmp(&y.to_ascii_lowercase());
                if order != Ordering::Equal {
                    return order;
                }
                (a, b) = (&a[1..], &b[1..]);
            }
        }
    }
}

/// Takes the leading number off, without its zeros.
fn digits<'a>(text: &mut &'a [u8]) -> &'a [u8] {
    let end = text.iter().position(|c| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, rest) = text.split_at(end);
    *text = rest;
    let zeros = number.iter().position(|c| *c != b'0').unwrap_or(number.len());
    &number[zeros..]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(namespace: &str, name: &str, status: &str, restarts: f64, created: i64) -> Arc<Row> {
        Arc::new(Row {
            namespace: namespace.into(),
            name: name.into(),
            created,
            deleting: false,
            labels: Box::new([("app".into(), "web".into())]),
            cells: Box::new([
                Cell::Text(name.into()),
                Cell::Text(status.into()),
                Cell::Number(restarts),
                Cell::Text("1m".into()),
            ]),
        })
    }
    fn columns() -> Vec<Column> {
        ["Name", "Status", "Up-to-date", "Age"]
            .iter()
            .map(|name| Column { name: (*name).into(), ..Column::default() })
            .collect()
    }
    fn names(filter: &str, order: Option<Order>) -> String {
        let rows = [
            row("a", "web-10", "Running", 2.0, 30),
            row("a", "web-9", "Pending", 10.0, 10),
            row("b", "db", "Running", 1.0, 20),
        ];
        view(rows.iter(), &columns(), &Filter::parse(filter), order)
            .iter()
            .map(|row| row.name.to_string())
            .collect::<Vec<_>>()
            .join(" ")
    }

    #[test]
    fn filters() {
        assert_eq!(names("", None), "web-10 web-9 db");
        assert_eq!(names("WEB", None), "web-10 web-9 db", "a label's value matches too");
        assert_eq!(names("web-", None), "web-10 web-9");
        assert_eq!(names("status:run", None), "web-10 db");
        assert_eq!(names("!status:run", None), "web-9");
        assert_eq!(names("uptodate:2", None), "web-10");
        assert_eq!(names("app=web run", None), "web-10 db");
        assert_eq!(names("app!=web", None), "");
        assert_eq!(names("app==web namespace:b", None), "db");
        assert_eq!(names("image:2", None), "");
    }

    #[test]
    fn sorts() {
        let by = |index, descending| Some(Order { by: By::Column(index), descending });
        assert_eq!(names("", by(0, false)), "db web-9 web-10");
        assert_eq!(names("", by(2, true)), "web-9 web-10 db");
        assert_eq!(names("", by(3, false)), "web-10 db web-9", "youngest first");
        assert_eq!(names("", Some(Order { by: By::Namespace, descending: true })), "db web-10 web-9");
    }

    #[test]
    fn natural_order() {
        for (a, b) in [("a", "b"), ("a2", "a10"), ("a02", "a3"), ("a", "a1"), ("1/2", "2/2")] {
            assert_eq!(natural(a, b), Ordering::Less, "{a} {b}");
            assert_eq!(natural(b, a), Ordering::Greater, "{b} {a}");
        }
        assert_eq!(natural("A", "a"), Ordering::Equal);
    }
}
