//! The labels of a namespace: `pod-security.kubernetes.io/{enforce,audit,warn}` and their `-version`.

use std::fmt;

use pilothouse_api::field::{Error, ErrorList, Path};
use serde_json::Value;

const PREFIX: &str = "pod-security.kubernetes.io/";
/// `latest`.
pub(super) const LATEST: u32 = u32::MAX;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Level {
    Privileged,
    Baseline,
    Restricted,
}

/// A level as it was in one minor version of Kubernetes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Standard {
    pub level: Level,
    /// 25 for `v1.25`.
    pub minor: u32,
}

impl fmt::Display for Standard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.level {
            Level::Privileged => "privileged",
            Level::Baseline => "baseline",
            Level::Restricted => "restricted",
        })?;
        if self.minor == LATEST { f.write_str(":latest") } else { write!(f, ":v1.{}", self.minor) }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Policy {
    pub enforce: Standard,
    pub audit: Standard,
    pub warn: Standard,
}

fn level(text: &str) -> Option<Level> {
    match text {
        "privileged" => Some(Level::Privileged),
        "baseline" => Some(Level::Baseline),
        "restricted" => Some(Level::Restricted),
        _ => None,
    }
}

fn minor(text: &str) -> Option<u32> {
    if text == "latest" {
        return Some(LATEST);
    }
    let digits = text.strip_prefix("v1.")?;
    let plain = digits.bytes().all(|b| b.is_ascii_digit()) && (digits == "0" || !digits.starts_with('0'));
    if plain { digits.parse().ok() } else { None }
}

impl Policy {
    /// What a namespace asks for, with what is wrong in its labels. A bad `enforce` enforces the strictest level, bad
    /// `audit` and `warn` nothing; `warn` follows a stricter `enforce` unless it is set.
    pub(super) fn of(namespace: &Value) -> (Self, ErrorList) {
        let labels = namespace.pointer("/metadata/labels");
        let label = |name: &str| labels.and_then(|l| l.get(format!("{PREFIX}{name}"))).and_then(Value::as_str);
        let mut errors = ErrorList::new();
        let mut complain = |name: &str, value: &str, why: &str| {
            let path = Path::new("metadata").child("labels").key(&format!("{PREFIX}{name}"));
            errors.push(Error::invalid(path, value, why));
        };
        let mut read = |mode: &str, fallback: Level| {
            let mut standard = Standard { level: Level::Privileged, minor: LATEST };
            let mut good = false;
            if let Some(text) = label(mode) {
                good = level(text).is_some();
                standard.level = level(text).unwrap_or_else(|| {
                    complain(mode, text, "must be one of privileged, baseline, restricted");
                    fallback
                });
            }
            let version = format!("{mode}-version");
            if let Some(text) = label(&version) {
                standard.minor = minor(text).unwrap_or_else(|| {
                    complain(&version, text, "must be \"latest\" or \"v1.x\"");
                    LATEST
                });
            }
            (standard, good)
        };
        let (enforce, enforced) = read("enforce", Level::Restricted);
        let (audit, _) = read("audit", Level::Privileged);
        let (mut warn, _) = read("warn", Level::Privileged);
        if label("warn").is_none() && enforced && enforce.level > warn.level {
            warn.level = enforce.level;
            if label("warn-version").is_none() {
                warn.minor = enforce.minor;
            }
        }
        (Self { enforce, audit, warn }, errors)
    }
}
