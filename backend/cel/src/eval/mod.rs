//! Evaluation: a walk over the syntax, every step of it paid for.
//!
//! Invariant: recursion is as deep as the expression nests, which the parser has limited; loops run over data, which the
//! budget limits.

pub(crate) mod arithmetic;
mod comprehension;

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::sync::Arc;

use cel::common::ast::{CallExpr, EntryExpr, Expr, IdedEntryExpr, IdedExpr, LiteralValue, operators};

use crate::cost::{self, Budget, walk};
use crate::error::{Error, Result};
use crate::library::{self, Overload};
use crate::types::Type;
use crate::value::{Key, List, Map, Text, Value};

/// Adds the entries of a map to another; an operator of our own, made by macros only.
pub(crate) const INSERT: &str = "@insert";
/// A list in the order of the keys of its items.
pub(crate) const SORT_BY: &str = "@sortByAssociatedKeys";

pub(crate) struct Evaluator<'a, 'b> {
    pub budget: &'b Budget,
    /// Innermost last.
    pub scope: Vec<(&'a str, Value<'a>)>,
}

/// Names of types, as values.
const TYPES: [(&str, &str); 12] = [
    ("bool", "bool"),
    ("bytes", "bytes"),
    ("double", "double"),
    ("int", "int"),
    ("list", "list"),
    ("map", "map"),
    ("null_type", "null_type"),
    ("optional_type", "optional_type"),
    ("string", "string"),
    ("type", "type"),
    ("uint", "uint"),
    ("dyn", "dyn"),
];

/// The type value that a name stands for.
pub(crate) fn type_named(name: &str) -> Option<&'static str> {
    TYPES.iter().find(|(known, _)| *known == name).map(|(_, name)| *name)
}

/// The first name of `a.b.c`.
fn root(expr: &IdedExpr) -> Option<&str> {
    match &expr.expr {
        Expr::Ident(name) => Some(name),
        Expr::Select(select) if !select.test => root(&select.operand),
        _ => None,
    }
}

/// `a.b.c` spelled by selections alone.
fn qualified(expr: &IdedExpr) -> Option<String> {
    match &expr.expr {
        Expr::Ident(name) => Some(name.clone()),
        Expr::Select(select) if !select.test => Some(format!("{}.{}", qualified(&select.operand)?, select.field)),
        _ => None,
    }
}

/// Names of types that are written with dots.
pub(crate) fn qualified_type(expr: &IdedExpr) -> Option<&'static str> {
    if !matches!(root(expr)?, "google" | "kubernetes" | "net") {
        return None;
    }
    let known = [
        "google.protobuf.Timestamp",
        "google.protobuf.Duration",
        "kubernetes.Quantity",
        "kubernetes.URL",
        "kubernetes.Semver",
        "net.IP",
        "net.CIDR",
    ];
    let name = qualified(expr)?;
    known.into_iter().find(|known| *known == name)
}

impl<'a> Evaluator<'a, '_> {
    pub fn eval(&mut self, expr: &'a IdedExpr) -> Result<Value<'a>> {
        match &expr.expr {
            Expr::Literal(literal) => Ok(constant(literal)),
            Expr::Ident(name) => self.variable(name),
            Expr::Select(select) => {
                if let Some(name) = qualified_type(expr)
                    && !self.is_bound(name.split('.').next().unwrap_or_default())
                {
                    return Ok(Value::Type(name.into()));
                }
                let operand = self.eval(&select.operand)?;
                self.budget.spend(1)?;
                if select.test { has(&operand, &select.field).map(Value::Bool) } else { field(&operand, &select.field) }
            }
            Expr::List(list) => {
                self.budget.spend(cost::LIST)?;
                let mut items = Vec::with_capacity(list.elements.len());
                for (at, element) in list.elements.iter().enumerate() {
                    let item = self.eval(element)?;
                    if !list.optional_indices.contains(&at) {
                        items.push(item);
                    } else if let Value::Optional(value) = item {
                        items.extend(value.map(|value| (*value).clone()));
                    } else {
                        return Err(Error::no_such_overload());
                    }
                }
                Ok(items.into())
            }
            Expr::Map(map) => {
                self.budget.spend(cost::MAP)?;
                self.entries(&map.entries)
            }
            Expr::Struct(of) => {
                self.budget.spend(cost::STRUCT)?;
                self.entries(&of.entries)
            }
            Expr::Call(call) => self.call(call),
            Expr::Comprehension(of) => self.comprehension(of),
            Expr::Unspecified => Err(Error::new("an expression is missing")),
        }
    }

    fn is_bound(&self, name: &str) -> bool {
        self.scope.iter().any(|(known, _)| *known == name)
    }

    fn variable(&self, name: &str) -> Result<Value<'a>> {
        self.budget.spend(1)?;
        let name = name.strip_prefix('.').unwrap_or(name);
        match self.scope.iter().rev().find(|(known, _)| *known == name) {
            Some((_, Value::Host(host))) if host.type_name() == comprehension::FAILED => {
                host.field("").unwrap_or_else(|| Err(Error::no_such_overload()))
            }
            Some((_, value)) => Ok(value.clone()),
            None => match type_named(name) {
                Some(name) => Ok(Value::Type(name.into())),
                None => Err(Error::new(format!("no such attribute(s): {name}"))),
            },
        }
    }

    fn entries(&mut self, entries: &'a [IdedEntryExpr]) -> Result<Value<'a>> {
        let mut out = BTreeMap::new();
        for entry in entries {
            let (key, value, optional) = match &entry.expr {
                EntryExpr::MapEntry(entry) => {
                    let key = self.eval(&entry.key)?;
                    let key = Key::of(&key).ok_or_else(|| Error::new("unsupported key type"))?;
                    (key, self.eval(&entry.value)?, entry.optional)
                }
                EntryExpr::StructField(field) => {
                    (Key::String(field.field.as_str().into()), self.eval(&field.value)?, field.optional)
                }
            };
            let value = match (optional, value) {
                (false, value) => value,
                (true, Value::Optional(Some(value))) => (*value).clone(),
                (true, Value::Optional(None)) => continue,
                (true, _) => return Err(Error::no_such_overload()),
            };
            if out.insert(key.clone(), value).is_some() {
                return Err(Error::new(format!("Failed with repeated key: {key}")));
            }
        }
        Ok(Value::Map(Map::Owned(Arc::new(out))))
    }

    fn call(&mut self, call: &'a CallExpr) -> Result<Value<'a>> {
        if let Some(target) = &call.target {
            return self.member(target, call);
        }
        match (call.func_name.as_str(), call.args.as_slice()) {
            (operators::LOGICAL_AND, [a, b]) => self.logic(a, b, false),
            (operators::LOGICAL_OR, [a, b]) => self.logic(a, b, true),
            (operators::CONDITIONAL, [condition, yes, no]) => match self.eval(condition)? {
                Value::Bool(true) => self.eval(yes),
                Value::Bool(false) => self.eval(no),
                _ => Err(Error::no_such_overload()),
            },
            (operators::LOGICAL_NOT, [a]) => match self.eval(a)? {
                Value::Bool(b) => self.spend(1, Value::Bool(!b)),
                _ => Err(Error::no_such_overload()),
            },
            (operators::NOT_STRICTLY_FALSE, [a]) => match self.eval(a) {
                Ok(Value::Bool(b)) => Ok(Value::Bool(b)),
                Err(Error::OverBudget) => Err(Error::OverBudget),
                Ok(_) | Err(Error::Failed(_)) => Ok(Value::Bool(true)),
            },
            (operators::NEGATE, [a]) => {
                let a = self.eval(a)?;
                self.budget.spend(1)?;
                arithmetic::negate(&a)
            }
            (operators::OPT_SELECT, [operand, field]) => {
                let operand = self.eval(operand)?;
                let Value::String(name) = self.eval(field)? else { return Err(Error::no_such_overload()) };
                self.spend(1, ())?;
                optional_field(&operand, &name)
            }
            (name, [a, b]) if is_binary(name) => {
                let (a, b) = (self.eval(a)?, self.eval(b)?);
                self.binary(name, &a, &b)
            }
            (name, args) => {
                let args = self.all(args)?;
                self.dispatch(name, false, &args)
            }
        }
    }

    fn spend<T>(&self, units: u64, value: T) -> Result<T> {
        self.budget.spend(units)?;
        Ok(value)
    }

    fn all(&mut self, args: &'a [IdedExpr]) -> Result<Vec<Value<'a>>> {
        args.iter().map(|arg| self.eval(arg)).collect()
    }

    fn member(&mut self, target: &'a IdedExpr, call: &'a CallExpr) -> Result<Value<'a>> {
        // `optional.of(x)`: the target is no value but the first part of the function's name.
        if let Expr::Ident(space) = &target.expr
            && !self.is_bound(space)
        {
            let name = format!("{space}.{}", call.func_name);
            if !library::find(&name, false).is_empty() {
                let args = self.all(&call.args)?;
                return self.dispatch(&name, false, &args);
            }
        }
        let mut args = vec![self.eval(target)?];
        args.extend(self.all(&call.args)?);
        if let Value::Host(host) = &args[0]
            && let Some(answer) = host.call(&call.func_name, &args[1..])
        {
            let known = library::find(&call.func_name, true).iter().find(|o| o.args[0].accepts(&args[0]));
            self.budget.spend(known.map_or(1, |known| known.cost.of(|at| args.get(at).map_or(0, Value::size))))?;
            return answer;
        }
        self.dispatch(&call.func_name, true, &args)
    }

    fn dispatch(&self, name: &str, member: bool, args: &[Value<'a>]) -> Result<Value<'a>> {
        let fits =
            |o: &&&Overload| o.args.len() == args.len() && o.args.iter().zip(args).all(|(of, arg)| of.accepts(arg));
        let Some(overload) = library::find(name, member).iter().find(fits) else {
            return Err(Error::no_such_overload());
        };
        self.budget.spend(overload.cost.of(|at| args.get(at).map_or(0, Value::size)))?;
        (overload.run)(args)
    }

    /// `&&` and `||`: what one side decides, the other cannot spoil.
    fn logic(&mut self, a: &'a IdedExpr, b: &'a IdedExpr, decisive: bool) -> Result<Value<'a>> {
        let left = self.truth(a)?;
        if left == Ok(decisive) {
            return Ok(Value::Bool(decisive));
        }
        let right = self.truth(b)?;
        match (left, right) {
            (_, Ok(right)) if right == decisive => Ok(Value::Bool(decisive)),
            (Ok(_), Ok(_)) => Ok(Value::Bool(!decisive)),
            (Err(error), _) | (_, Err(error)) => Err(error),
        }
    }

    /// The inner error is one that the other side may get over.
    fn truth(&mut self, expr: &'a IdedExpr) -> Result<Result<bool>> {
        match self.eval(expr) {
            Ok(Value::Bool(b)) => Ok(Ok(b)),
            Ok(_) => Ok(Err(Error::no_such_overload())),
            Err(Error::OverBudget) => Err(Error::OverBudget),
            Err(error) => Ok(Err(error)),
        }
    }

    fn binary(&self, name: &str, a: &Value<'a>, b: &Value<'a>) -> Result<Value<'a>> {
        let spend = |units: u64| self.budget.spend(units.max(1));
        let ordered = |test: fn(Ordering) -> bool| -> Result<Value<'a>> {
            spend(walk(a.size().min(b.size())))?;
            Ok(Value::Bool(a.order(b)?.is_some_and(test)))
        };
        match name {
            operators::EQUALS | operators::NOT_EQUALS => {
                spend(1 + equality_cost(a, b))?;
                Ok(Value::Bool(a.equals(b) == (name == operators::EQUALS)))
            }
            operators::LESS => ordered(Ordering::is_lt),
            operators::LESS_EQUALS => ordered(Ordering::is_le),
            operators::GREATER => ordered(Ordering::is_gt),
            operators::GREATER_EQUALS => ordered(Ordering::is_ge),
            operators::ADD => {
                match (a, b) {
                    (Value::List(_), Value::List(_)) => spend(1 + a.size() + b.size())?,
                    _ => spend(walk(a.size().saturating_add(b.size())))?,
                }
                arithmetic::add(a, b)
            }
            operators::SUBSTRACT => self.spend(1, ()).and_then(|()| arithmetic::subtract(a, b)),
            operators::MULTIPLY => self.spend(1, ()).and_then(|()| arithmetic::multiply(a, b)),
            operators::DIVIDE => self.spend(1, ()).and_then(|()| arithmetic::divide(a, b)),
            operators::MODULO => self.spend(1, ()).and_then(|()| arithmetic::remainder(a, b)),
            operators::INDEX => self.spend(1, ()).and_then(|()| index(a, b)),
            operators::OPT_INDEX => self.spend(1, ()).and_then(|()| optional_index(a, b)),
            operators::IN => {
                if let Value::List(_) = b {
                    spend(1 + b.size())?;
                }
                contains(b, a).map(Value::Bool)
            }
            INSERT => self.spend(1, ()).and_then(|()| insert(a, b)),
            _ => Err(Error::no_such_overload()),
        }
    }
}

fn is_binary(name: &str) -> bool {
    matches!(
        name,
        operators::EQUALS
            | operators::NOT_EQUALS
            | operators::LESS
            | operators::LESS_EQUALS
            | operators::GREATER
            | operators::GREATER_EQUALS
            | operators::ADD
            | operators::SUBSTRACT
            | operators::MULTIPLY
            | operators::DIVIDE
            | operators::MODULO
            | operators::INDEX
            | operators::OPT_INDEX
            | operators::IN
            | INSERT
    )
}

/// Comparing walks through both; lists in any order compare each with each.
fn equality_cost(a: &Value<'_>, b: &Value<'_>) -> u64 {
    match (a, b) {
        (Value::List(x), Value::List(y)) if *x.kind() != crate::types::ListKind::Atomic => {
            (x.len() as u64).saturating_mul(y.len() as u64)
        }
        (Value::List(_) | Value::Map(_), _) => deep_size(a, 64).min(deep_size(b, 64)),
        _ => walk(a.size().min(b.size())),
    }
}

/// How many values there are in one, to a depth.
fn deep_size(value: &Value<'_>, depth: usize) -> u64 {
    let inner = |value: &Value<'_>| if depth == 0 { 1 } else { deep_size(value, depth - 1) };
    1 + match value {
        Value::List(list) => list.iter().map(|item| inner(&item)).sum::<u64>(),
        Value::Map(map) => map.keys().iter().filter_map(|key| map.get(key)).map(|value| inner(&value)).sum::<u64>(),
        other => walk(other.size()),
    }
}

fn constant(literal: &LiteralValue) -> Value<'_> {
    match literal {
        LiteralValue::Boolean(b) => Value::Bool(*b.inner()),
        LiteralValue::Bytes(bytes) => Value::Bytes(bytes.inner().into()),
        LiteralValue::Double(n) => Value::Double(*n.inner()),
        LiteralValue::Int(n) => Value::Int(*n.inner()),
        LiteralValue::Null => Value::Null,
        LiteralValue::String(text) => Value::String(Text::Borrowed(text.inner())),
        LiteralValue::UInt(n) => Value::Uint(*n.inner()),
    }
}

fn field<'a>(operand: &Value<'a>, name: &str) -> Result<Value<'a>> {
    match operand {
        Value::Map(map) => map.field(name).ok_or_else(|| Error::no_such_key(name)),
        Value::Host(host) => host.field(name).unwrap_or_else(|| Err(Error::no_such_key(name))),
        Value::Optional(Some(value)) => optional_field(value, name),
        Value::Optional(None) => Ok(Value::Optional(None)),
        _ => Err(Error::no_such_overload()),
    }
}

fn has(operand: &Value<'_>, name: &str) -> Result<bool> {
    match operand {
        Value::Map(map) => Ok(map.field(name).is_some()),
        Value::Host(host) => match host.field(name) {
            None => Ok(false),
            Some(value) => value.map(|value| !matches!(value, Value::Null)),
        },
        Value::Optional(Some(value)) => has(value, name),
        Value::Optional(None) => Ok(false),
        _ => Err(Error::no_such_overload()),
    }
}

fn maybe<'a>(value: Option<Value<'a>>) -> Value<'a> {
    Value::Optional(value.map(Arc::new))
}

fn optional_field<'a>(operand: &Value<'a>, name: &str) -> Result<Value<'a>> {
    match operand {
        Value::Map(map) => Ok(maybe(map.field(name))),
        Value::Host(host) => Ok(maybe(host.field(name).transpose()?)),
        Value::Optional(Some(value)) => optional_field(value, name),
        Value::Optional(None) => Ok(Value::Optional(None)),
        _ => Err(Error::no_such_overload()),
    }
}

fn place(list: &List<'_>, index: &Value<'_>) -> Result<Option<usize>> {
    let at = match index {
        Value::Int(n) => *n,
        Value::Uint(n) => i64::try_from(*n).unwrap_or(i64::MAX),
        Value::Double(n) if n.fract() == 0.0 => *n as i64,
        _ => return Err(Error::no_such_overload()),
    };
    Ok(usize::try_from(at).ok().filter(|at| *at < list.len()))
}

fn index<'a>(operand: &Value<'a>, by: &Value<'a>) -> Result<Value<'a>> {
    match operand {
        Value::List(list) => {
            let found = place(list, by)?.and_then(|at| list.get(at));
            found.ok_or_else(|| Error::new(format!("index out of bounds: {by:?}")))
        }
        Value::Map(map) => map
            .get(by)
            .ok_or_else(|| Error::no_such_key(&Key::of(by).map_or_else(|| format!("{by:?}"), |key| key.to_string()))),
        Value::Host(_) => field(operand, by.as_str().ok_or_else(Error::no_such_overload)?),
        Value::Optional(_) => optional_index(operand, by),
        _ => Err(Error::no_such_overload()),
    }
}

fn optional_index<'a>(operand: &Value<'a>, by: &Value<'a>) -> Result<Value<'a>> {
    match operand {
        Value::List(list) => Ok(maybe(place(list, by)?.and_then(|at| list.get(at)))),
        Value::Map(map) => Ok(maybe(map.get(by))),
        Value::Optional(Some(value)) => optional_index(value, by),
        Value::Optional(None) => Ok(Value::Optional(None)),
        _ => Err(Error::no_such_overload()),
    }
}

fn contains<'a>(all: &Value<'a>, one: &Value<'a>) -> Result<bool> {
    match all {
        Value::List(list) => Ok(list.iter().any(|item| item.equals(one))),
        Value::Map(map) => Ok(map.get(one).is_some()),
        _ => Err(Error::no_such_overload()),
    }
}

fn insert<'a>(map: &Value<'a>, entries: &Value<'a>) -> Result<Value<'a>> {
    let (Value::Map(Map::Owned(map)), Value::Map(Map::Owned(entries))) = (map, entries) else {
        return Err(Error::no_such_overload());
    };
    let mut out = (**map).clone();
    out.extend(entries.iter().map(|(key, value)| (key.clone(), value.clone())));
    Ok(Value::Map(Map::Owned(Arc::new(out))))
}

/// Whether a value is what a type promises, at the top.
pub(crate) fn is_of(value: &Value<'_>, of: &Type) -> bool {
    matches!(
        (value, of),
        (_, Type::Dyn | Type::Free)
            | (Value::Bool(_), Type::Bool)
            | (Value::String(_), Type::String(_))
            | (Value::Int(_), Type::Int)
            | (Value::Null, Type::Null)
            | (Value::List(_), Type::List(..))
            | (Value::Map(_), Type::Map(..) | Type::Object(_))
    )
}
