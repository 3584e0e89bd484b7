//! What operators take and give.

use std::sync::Arc;

use cel::common::ast::operators as op;

use super::most;
use crate::cost::walk;
use crate::eval::INSERT;
use crate::types::{ListKind, Type};

pub(super) enum Judged {
    /// The type, and what applying it costs at most.
    Result(Type, u64),
    Mismatch,
    NoOperator,
}

pub(super) fn result(name: &str, args: &[Type]) -> Judged {
    let judged = match (name, args) {
        (op::LOGICAL_AND | op::LOGICAL_OR, [a, b]) => {
            (Type::Bool.takes(a) && Type::Bool.takes(b)).then_some((Type::Bool, 0))
        }
        (op::LOGICAL_NOT, [a]) => Type::Bool.takes(a).then_some((Type::Bool, 1)),
        (op::NOT_STRICTLY_FALSE, [a]) => Type::Bool.takes(a).then_some((Type::Bool, 0)),
        (op::NEGATE, [a]) => (a.is_open() || matches!(a, Type::Int | Type::Double)).then(|| (a.clone(), 1)),
        (op::EQUALS | op::NOT_EQUALS, [a, b]) => (a.takes(b) || b.takes(a)).then(|| (Type::Bool, 1 + equality(a, b))),
        (op::LESS | op::LESS_EQUALS | op::GREATER | op::GREATER_EQUALS, [a, b]) => {
            ordered(a, b).then(|| (Type::Bool, 1 + walk(texts(a, b))))
        }
        (op::ADD, [a, b]) => add(a, b),
        (op::SUBSTRACT, [a, b]) => subtract(a, b).map(|of| (of, 1)),
        (op::MULTIPLY | op::DIVIDE, [a, b]) => same(a, b, &[Type::Int, Type::Uint, Type::Double]).map(|of| (of, 1)),
        (op::MODULO, [a, b]) => same(a, b, &[Type::Int, Type::Uint]).map(|of| (of, 1)),
        (op::IN, [one, all]) => contains(one, all),
        (op::INDEX, [of, by]) => index(of, by).map(|found| (found, 1)),
        (op::OPT_INDEX, [of, by]) => {
            let optional = |found| if matches!(found, Type::Optional(_)) { found } else { Type::optional(found) };
            index(of, by).map(|found| (optional(found), 1))
        }
        (INSERT, [a, b]) => a.join(b).map(|of| (of, 1)),
        _ => return Judged::NoOperator,
    };
    match judged {
        Some((of, spent)) => Judged::Result(of, spent),
        None => Judged::Mismatch,
    }
}

fn texts(a: &Type, b: &Type) -> u64 {
    match (a, b) {
        (Type::String(a) | Type::Bytes(a), Type::String(b) | Type::Bytes(b)) => most(*a).min(most(*b)),
        _ => 1,
    }
}

fn equality(a: &Type, b: &Type) -> u64 {
    match (a, b) {
        (Type::List(_, kind, m), Type::List(_, _, n)) => match kind {
            ListKind::Atomic => most(*m).min(most(*n)),
            _ => most(*m).saturating_mul(most(*n)),
        },
        (Type::Map(_, _, m), Type::Map(_, _, n)) => most(*m).min(most(*n)),
        _ => walk(texts(a, b)),
    }
}

fn is_number(of: &Type) -> bool {
    matches!(of, Type::Int | Type::Uint | Type::Double)
}

fn ordered(a: &Type, b: &Type) -> bool {
    let has_order = |of: &Type| {
        is_number(of) || matches!(of, Type::Bool | Type::String(_) | Type::Bytes(_) | Type::Timestamp | Type::Duration)
    };
    match (a.is_open(), b.is_open()) {
        (true, true) => true,
        (true, false) => has_order(b),
        (false, true) => has_order(a),
        // Numbers of different types compare.
        (false, false) => (is_number(a) && is_number(b)) || (has_order(a) && a == b),
    }
}

fn same(a: &Type, b: &Type, of: &[Type]) -> Option<Type> {
    match (a.is_open(), b.is_open()) {
        (true, true) => Some(Type::Dyn),
        (true, false) => of.contains(b).then(|| b.clone()),
        (false, _) => (of.contains(a) && (b.is_open() || a == b)).then(|| a.clone()),
    }
}

fn add(a: &Type, b: &Type) -> Option<(Type, u64)> {
    Some(match (a, b) {
        (Type::String(m), Type::String(n)) => (Type::String(m.plus(*n)), 1 + walk(most(*m).saturating_add(most(*n)))),
        (Type::Bytes(m), Type::Bytes(n)) => (Type::Bytes(m.plus(*n)), 1 + walk(most(*m).saturating_add(most(*n)))),
        (Type::List(x, kind, m), Type::List(y, _, n)) => {
            (Type::List(Arc::new(x.join(y)?), kind.clone(), m.plus(*n)), 1)
        }
        (Type::Timestamp, Type::Duration) | (Type::Duration, Type::Timestamp) => (Type::Timestamp, 1),
        (Type::Duration, Type::Duration) => (Type::Duration, 1),
        (open, other) | (other, open) if open.is_open() => {
            let adds = |of: &Type| {
                is_number(of)
                    || of.is_open()
                    || matches!(
                        of,
                        Type::String(_) | Type::Bytes(_) | Type::List(..) | Type::Timestamp | Type::Duration
                    )
            };
            if !adds(other) {
                return None;
            }
            (if matches!(other, Type::Duration | Type::Timestamp) { Type::Dyn } else { other.clone() }, 1)
        }
        (a, b) if is_number(a) && a == b => (a.clone(), 1),
        _ => return None,
    })
}

fn subtract(a: &Type, b: &Type) -> Option<Type> {
    match (a, b) {
        (Type::Timestamp, Type::Timestamp) | (Type::Duration, Type::Duration) => Some(Type::Duration),
        (Type::Timestamp, Type::Duration) => Some(Type::Timestamp),
        (Type::Timestamp | Type::Duration, open) | (open, Type::Timestamp | Type::Duration) if open.is_open() => {
            Some(Type::Dyn)
        }
        _ => same(a, b, &[Type::Int, Type::Uint, Type::Double]),
    }
}

fn contains(one: &Type, all: &Type) -> Option<(Type, u64)> {
    match all {
        Type::List(of, _, size) => of.takes(one).then(|| (Type::Bool, 1 + most(*size))),
        Type::Map(key, ..) => key.takes(one).then_some((Type::Bool, 1)),
        open if open.is_open() => Some((Type::Bool, 1)),
        _ => None,
    }
}

fn index(of: &Type, by: &Type) -> Option<Type> {
    match of {
        Type::List(item, ..) => (by.is_open() || matches!(by, Type::Int | Type::Uint)).then(|| (**item).clone()),
        Type::Map(key, value, _) => key.takes(by).then(|| (**value).clone()),
        Type::Optional(inner) => index(inner, by).map(Type::optional),
        Type::Opaque(_) | Type::Dyn | Type::Free => Some(Type::Dyn),
        _ => None,
    }
}
