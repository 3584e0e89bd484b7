//! Numbers of custom resources: their type's range, bounds and multiples.
//!
//! As upstream: a bound is read as what the number is, so of an integer the fraction of a bound does not count; unless
//! the bound is none of the field's type, which is an error of its own, and then both are compared as they are.

use pilothouse_api::field::{Error, ErrorList, Path};
use serde_json::{Number, Value};

use super::Rules;

/// Below this exponent a number is written out; from it on as `1.5e+06`.
const MAX_PLAIN_EXPONENT: i32 = 6;
const MIN_PLAIN_EXPONENT: i32 = -4;

pub fn check(rules: &Rules, number: &Number, path: &Path, errors: &mut ErrorList) {
    in_range(rules, number, "Checked", path, errors);
    if let Some(of) = &rules.multiple_of {
        let fits = in_range(rules, of, "MultipleOf", path, errors);
        multiple(Pair::of(number, of, fits), path, errors);
    }
    let bounds = [
        (&rules.minimum, "Minimum boundary", ["greater than", "greater than or equal to"]),
        (&rules.maximum, "Maximum boundary", ["less than", "less than or equal to"]),
    ];
    for (bound, what, [strict, loose]) in bounds {
        let Some(bound) = bound else { continue };
        let pair = Pair::of(number, &bound.value, in_range(rules, &bound.value, what, path, errors));
        let order = if what.starts_with("Min") { pair.order() } else { pair.order().map(std::cmp::Ordering::reverse) };
        if order.is_some_and(|order| order.is_lt() || (bound.exclusive && order.is_eq())) {
            let (value, bound_shown) = pair.shown();
            let words = if bound.exclusive { strict } else { loose };
            errors.push(invalid(path, value, &format!("should be {words} {bound_shown}")));
        }
    }
}

/// The format of a number's type; what is said of others does not count.
pub fn format(rules: &Rules) -> &str {
    match (&*rules.of, &*rules.format) {
        ("integer" | "number", format @ ("int32" | "int64" | "float" | "double")) => format,
        _ => "",
    }
}

/// Whether a number can be of the field's type; tells if not.
fn in_range(rules: &Rules, number: &Number, what: &str, path: &Path, errors: &mut ErrorList) -> bool {
    let integer = || integer(number);
    let format = format(rules);
    let fits = match (&*rules.of, format) {
        ("integer", "int32") => integer().is_some_and(|n| i32::try_from(n).is_ok()),
        ("integer", _) => integer().is_some(),
        (_, "float") => number.as_f64().is_some_and(|n| n.abs() <= f64::from(f32::MAX)),
        _ => true,
    };
    if !fits {
        let of = &rules.of;
        let kind = if format.is_empty() { "(default format)".to_owned() } else { format!("with format {format}") };
        let detail = format!("{what} value must be of type {of} {kind} in {}", path.as_str());
        errors.push(Error::invalid(Path::root(), "", detail));
    }
    fits
}

/// A number that is a whole one of 64 bits, however it is written.
fn integer(number: &Number) -> Option<i64> {
    const BEYOND: f64 = 9_223_372_036_854_775_808.0;
    let whole = |n: &f64| n.fract() == 0.0 && (-BEYOND..BEYOND).contains(n);
    number.as_i64().or_else(|| number.as_f64().filter(whole).map(|n| n as i64))
}

/// A number and what it is measured by, as they are compared.
enum Pair {
    Integers(i64, i64),
    Numbers(f64, f64),
}

impl Pair {
    fn of(number: &Number, by: &Number, fits: bool) -> Self {
        let float = |n: &Number| n.as_f64().unwrap_or_default();
        match number.as_i64() {
            Some(number) if fits => Self::Integers(number, by.as_i64().unwrap_or(float(by) as i64)),
            _ => Self::Numbers(float(number), float(by)),
        }
    }

    fn order(&self) -> Option<std::cmp::Ordering> {
        match self {
            Self::Integers(a, b) => Some(a.cmp(b)),
            Self::Numbers(a, b) => a.partial_cmp(b),
        }
    }

    fn shown(&self) -> (String, String) {
        match self {
            Self::Integers(a, b) => (a.to_string(), b.to_string()),
            Self::Numbers(a, b) => (printed(*a), printed(*b)),
        }
    }
}

/// Of integers exactly; else but for what binary fractions cannot say: 0.3 is a multiple of 0.1.
fn multiple(pair: Pair, path: &Path, errors: &mut ErrorList) {
    const EPSILON: f64 = 1e-9;
    let (value, of) = pair.shown();
    let (positive, whole) = match pair {
        Pair::Integers(number, of) => (of > 0, of > 0 && number % of == 0),
        Pair::Numbers(number, of) => {
            let quotient = number / of;
            (of > 0.0, (quotient - quotient.round()).abs() <= EPSILON * quotient.abs().max(1.0))
        }
    };
    if !positive {
        let detail = format!("factor MultipleOf declared for {path} must be positive: {of}");
        errors.push(Error::invalid(path.clone(), Value::Null, detail).showing(Some(of)));
    } else if !whole {
        errors.push(invalid(path, value, &format!("should be a multiple of {of}")));
    }
}

fn invalid(path: &Path, value: String, why: &str) -> Error {
    Error::invalid(path.clone(), Value::Null, format!("{} in body {why}", path.as_str())).showing(Some(value))
}

/// A number as Go prints it (`%v`).
fn printed(number: f64) -> String {
    let scientific = format!("{number:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or_default();
    if (MIN_PLAIN_EXPONENT..MAX_PLAIN_EXPONENT).contains(&exponent) {
        return number.to_string();
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{digits}e{sign}{:02}", exponent.abs())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::schema::{Gvk, Schema};
    use crate::structural::validate;

    /// What a real API server of this version says to numbers.
    #[test]
    fn numbers() {
        for (of, value, said) in [
            (
                json!({"type": "integer", "format": "int32"}),
                json!(5_000_000_000_i64),
                vec!["<nil>: Invalid value: \"\": Checked value must be of type integer with format int32 in n"],
            ),
            (
                json!({"type": "integer", "format": "int32"}),
                json!(1.5),
                vec![
                    "n: Invalid value: \"float64\": n in body must be of type int32: \"float64\"",
                    "<nil>: Invalid value: \"\": Checked value must be of type integer with format int32 in n",
                ],
            ),
            (
                json!({"type": "integer", "format": "int32"}),
                json!(true),
                vec!["n: Invalid value: \"\": n in body must be of type int32: \"\""],
            ),
            (
                json!({"type": "integer", "format": "int32"}),
                json!("x"),
                vec!["n: Invalid value: \"string\": n in body must be of type integer: \"string\""],
            ),
            (json!({"type": "integer", "format": "int32"}), json!(2.0), vec![]),
            (
                json!({"type": "integer", "minimum": 1.5}),
                json!(2),
                vec![
                    "<nil>: Invalid value: \"\": Minimum boundary value must be of type integer (default format) in n",
                ],
            ),
            (
                json!({"type": "integer", "multipleOf": 1.5}),
                json!(2),
                vec![
                    "<nil>: Invalid value: \"\": MultipleOf value must be of type integer (default format) in n",
                    "n: Invalid value: 2: n in body should be a multiple of 1.5",
                ],
            ),
            (
                json!({"type": "integer", "maximum": 0.5, "minimum": 7, "multipleOf": 2}),
                json!(5),
                vec![
                    "n: Invalid value: 5: n in body should be a multiple of 2",
                    "n: Invalid value: 5: n in body should be greater than or equal to 7",
                    "<nil>: Invalid value: \"\": Maximum boundary value must be of type integer (default format) in n",
                    "n: Invalid value: 5: n in body should be less than or equal to 0.5",
                ],
            ),
            (
                json!({"type": "integer", "format": "int32", "maximum": 3_000_000_000_i64}),
                json!(5_000_000_000_i64),
                vec![
                    "<nil>: Invalid value: \"\": Checked value must be of type integer with format int32 in n",
                    "<nil>: Invalid value: \"\": Maximum boundary value must be of type integer with format int32 in n",
                    "n: Invalid value: 5e+09: n in body should be less than or equal to 3e+09",
                ],
            ),
            (json!({"type": "number", "minimum": 1.5}), json!(1), vec![]),
            (
                json!({"type": "number", "maximum": 1.5}),
                json!(2),
                vec!["n: Invalid value: 2: n in body should be less than or equal to 1"],
            ),
            (
                json!({"type": "number", "maximum": 1.5}),
                json!(1.75),
                vec!["n: Invalid value: 1.75: n in body should be less than or equal to 1.5"],
            ),
            (
                json!({"type": "number", "maximum": 12_345_678}),
                json!(123_456_789.5),
                vec!["n: Invalid value: 1.234567895e+08: n in body should be less than or equal to 1.2345678e+07"],
            ),
            (
                json!({"type": "number", "multipleOf": 0.5}),
                json!(3),
                vec!["n: Invalid value: 0: factor MultipleOf declared for n must be positive: 0"],
            ),
            (json!({"type": "number", "multipleOf": 0.1}), json!(0.3), vec![]),
            (
                json!({"type": "number", "multipleOf": 0.1}),
                json!(0.35),
                vec!["n: Invalid value: 0.35: n in body should be a multiple of 0.1"],
            ),
            (
                json!({"type": "number", "format": "float"}),
                json!(1e39),
                vec!["<nil>: Invalid value: \"\": Checked value must be of type number with format float in n"],
            ),
            (json!({"x-kubernetes-int-or-string": true, "format": "int32"}), json!(5_000_000_000_i64), vec![]),
        ] {
            let schema = json!({"type": "object", "properties": {"n": of}});
            let schema = Schema::from_structural(Gvk::new("g", "v1", "K"), &schema).expect("a schema");
            let found: Vec<String> = validate(&schema, &json!({"n": value})).iter().map(ToString::to_string).collect();
            assert_eq!(found, said, "{of} {value}");
        }
    }
}
