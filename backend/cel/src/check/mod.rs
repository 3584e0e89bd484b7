//! Checking: every expression gets a type and an upper bound of what it costs, or an error with its place.
//!
//! The bound follows the sizes that types carry (`maxLength`, `maxItems`, `maxProperties`); where there is none it is
//! without bound, and so says the estimate.

mod operators;

use std::collections::BTreeSet;
use std::sync::{Arc, LazyLock};

use cel::common::ast::{
    CallExpr, ComprehensionExpr, EntryExpr, Expr, IdedExpr, LiteralValue, SelectExpr, SourceInfo, operators as op,
};

use crate::cost;
use crate::error::CompileError;
use crate::eval::{qualified_type, type_named};
use crate::library;
use crate::parse::{located, place};
use crate::types::{Field, ListKind, ObjectType, Size, Type};

/// A size that nobody limits counts as this.
pub(crate) const UNLIMITED: u64 = 3 * 1024 * 1024;

/// How much is told of one expression that is all wrong.
const MAX_ERRORS: usize = 100;

/// One step of a JSON patch, as mutations build it.
static JSON_PATCH: LazyLock<Arc<ObjectType>> = LazyLock::new(|| {
    let fields = [("op", Type::STRING), ("path", Type::STRING), ("from", Type::STRING), ("value", Type::Dyn)];
    let field = |(name, of): (&str, Type)| (name.to_owned(), Field { name: name.to_owned(), of });
    Arc::new(ObjectType { name: "JSONPatch".to_owned(), fields: fields.map(field).into_iter().collect() })
});

/// What is known of an expression.
#[derive(Clone, Debug)]
pub(crate) struct Known {
    pub of: Type,
    /// At most this much.
    pub cost: u64,
}

impl Known {
    fn new(of: Type, cost: u64) -> Self {
        Self { of, cost }
    }
}

type Outcome = Result<Known, CompileError>;

pub(crate) struct Checker<'a> {
    pub source: &'a str,
    pub info: &'a SourceInfo,
    /// Innermost last.
    pub scope: Vec<(String, Type)>,
    /// What was found so far. What is wrong is anything from there on, so that all that is wrong is told at once.
    pub wrong: Vec<CompileError>,
    /// How many calls of `format` are around.
    pub in_format: usize,
}

pub(crate) fn most(size: Size) -> u64 {
    size.0.unwrap_or(UNLIMITED)
}

impl Checker<'_> {
    fn error(&self, at: &IdedExpr, message: &str) -> CompileError {
        self.error_at(at.id, message)
    }

    fn error_at(&self, id: u64, message: &str) -> CompileError {
        let offset = self.info.offset_for(id).map_or(0, |(start, _)| start as usize);
        let (line, column) = place(self.source, offset);
        CompileError(located(self.source, line, column, message))
    }

    pub fn check(&mut self, expr: &IdedExpr) -> Outcome {
        self.known(expr).or_else(|wrong| {
            if self.wrong.len() >= MAX_ERRORS {
                return Err(wrong);
            }
            if !self.wrong.contains(&wrong) {
                self.wrong.push(wrong);
            }
            Ok(Known::new(Type::Dyn, 0))
        })
    }

    fn known(&mut self, expr: &IdedExpr) -> Outcome {
        match &expr.expr {
            Expr::Literal(literal) => Ok(Known::new(literal_type(literal), 0)),
            Expr::Ident(name) => self.variable(expr, name),
            Expr::Select(select) => match qualified_type(expr) {
                Some(_) => Ok(Known::new(Type::Type, 1)),
                None => self.select(expr, select),
            },
            Expr::List(list) => {
                let (mut of, mut spent, mut first) = (Type::Free, cost::LIST, None);
                for (at, element) in list.elements.iter().enumerate() {
                    let mut known = self.check(element)?;
                    if list.optional_indices.contains(&at) {
                        known.of = self.unwrapped(element, &known.of)?;
                    }
                    self.alike(element, &mut first, &known.of)?;
                    spent = spent.saturating_add(known.cost);
                    of = of.join(&known.of).unwrap_or(Type::Dyn);
                }
                let size = Size(Some(list.elements.len() as u64));
                Ok(Known::new(Type::List(Arc::new(of), ListKind::Atomic, size), spent))
            }
            Expr::Map(map) => {
                let (mut keys, mut values, mut spent) = (Type::Free, Type::Free, cost::MAP);
                let (mut first_key, mut first_value) = (None, None);
                for entry in &map.entries {
                    let EntryExpr::MapEntry(entry) = &entry.expr else { continue };
                    let (key, mut value) = (self.check(&entry.key)?, self.check(&entry.value)?);
                    if entry.optional {
                        value.of = self.unwrapped(&entry.value, &value.of)?;
                    }
                    self.alike(&entry.key, &mut first_key, &key.of)?;
                    self.alike(&entry.value, &mut first_value, &value.of)?;
                    spent = spent.saturating_add(key.cost).saturating_add(value.cost);
                    keys = keys.join(&key.of).unwrap_or(Type::Dyn);
                    values = values.join(&value.of).unwrap_or(Type::Dyn);
                }
                let size = Size(Some(map.entries.len() as u64));
                Ok(Known::new(Type::Map(Arc::new(keys), Arc::new(values), size), spent))
            }
            Expr::Struct(of) => {
                // Objects that mutations build: `Object{spec: …}`, `JSONPatch{op: …}`.
                if !(of.type_name == "JSONPatch" || of.type_name == "Object" || of.type_name.starts_with("Object.")) {
                    return Err(
                        self.error(expr, &format!("undeclared reference to '{}' (in container '')", of.type_name))
                    );
                }
                let typed = (of.type_name == "JSONPatch").then(|| Arc::clone(&JSON_PATCH));
                let mut spent = cost::STRUCT;
                for entry in &of.entries {
                    if let EntryExpr::StructField(field) = &entry.expr {
                        let value = self.check(&field.value)?;
                        if let Some(typed) = &typed {
                            self.field_takes(entry.id, typed, &field.field, &value.of)?;
                        }
                        spent = spent.saturating_add(value.cost);
                    }
                }
                Ok(Known::new(typed.map_or(Type::Dyn, Type::Object), spent))
            }
            Expr::Call(call) => self.call(expr, call),
            Expr::Comprehension(of) => self.comprehension(of),
            Expr::Unspecified => Err(self.error(expr, "unexpected expression")),
        }
    }

    fn field_takes(&self, at: u64, of: &ObjectType, name: &str, given: &Type) -> Result<(), CompileError> {
        let wanted = of.fields.get(name).map(|field| &field.of);
        if wanted.is_some_and(|wanted| wanted.takes(given)) {
            return Ok(());
        }
        let wanted = wanted.map(ToString::to_string).unwrap_or_default();
        let given = if *given == Type::Null { "null".to_owned() } else { given.to_string() };
        let text = format!("expected type of field '{name}' is '{wanted}' but provided type is '{given}'");
        Err(self.error_at(at, &text))
    }

    /// The members of a literal are of one type, unless they are what a text is made of. What is not known is let be.
    fn alike(&self, at: &IdedExpr, first: &mut Option<Type>, of: &Type) -> Result<(), CompileError> {
        match first {
            None => *first = Some(of.clone()),
            Some(first) if self.in_format > 0 || first.takes(of) || of.takes(first) => {}
            Some(first) => {
                let shown = |of: &Type| if *of == Type::Null { "null".to_owned() } else { of.to_string() };
                let text = format!("expected type '{}' but found '{}'", shown(first), shown(of));
                return Err(self.error(at, &text));
            }
        }
        Ok(())
    }

    fn unwrapped(&self, at: &IdedExpr, of: &Type) -> Result<Type, CompileError> {
        match of {
            Type::Optional(inner) => Ok((**inner).clone()),
            open if open.is_open() => Ok(Type::Dyn),
            other => {
                let text = format!("expected type 'optional_type({other})' but found '{other}'");
                Err(self.error(at, &text))
            }
        }
    }

    fn is_bound(&self, name: &str) -> bool {
        self.scope.iter().any(|(known, _)| known == name)
    }

    fn variable(&self, at: &IdedExpr, name: &str) -> Outcome {
        let bare = name.strip_prefix('.').unwrap_or(name);
        if let Some((_, of)) = self.scope.iter().rev().find(|(known, _)| known == bare) {
            return Ok(Known::new(of.clone(), 1));
        }
        if type_named(bare).is_some() {
            return Ok(Known::new(Type::Type, 1));
        }
        Err(self.error(at, &format!("undeclared reference to '{name}' (in container '')")))
    }

    fn select(&mut self, at: &IdedExpr, select: &SelectExpr) -> Outcome {
        let operand = self.check(&select.operand)?;
        let spent = operand.cost.saturating_add(1);
        let found = self.field(at, &operand.of, &select.field)?;
        Ok(Known::new(if select.test { Type::Bool } else { found }, spent))
    }

    fn field(&self, at: &IdedExpr, of: &Type, name: &str) -> Result<Type, CompileError> {
        Ok(match of {
            Type::Object(object) => match object.fields.get(name) {
                Some(field) => field.of.clone(),
                None => return Err(self.error(at, &format!("undefined field '{name}'"))),
            },
            Type::Map(_, value, _) => (**value).clone(),
            Type::Optional(inner) => Type::optional(self.field(at, inner, name)?),
            // What a host has, it knows itself.
            Type::Opaque(_) | Type::Dyn | Type::Free => Type::Dyn,
            other => return Err(self.error(at, &format!("type '{other}' does not support field selection"))),
        })
    }

    fn call(&mut self, at: &IdedExpr, call: &CallExpr) -> Outcome {
        if let Some(target) = &call.target {
            if let Expr::Ident(space) = &target.expr
                && !self.is_bound(space)
            {
                let name = format!("{space}.{}", call.func_name);
                if !library::find(&name, false).is_empty() {
                    let args = self.all(&call.args)?;
                    return self.overload(at, &name, false, &args);
                }
            }
            let mut args = vec![self.check(target)?];
            let formats = usize::from(call.func_name == "format");
            self.in_format += formats;
            let given = self.all(&call.args);
            self.in_format -= formats;
            args.extend(given?);
            self.constant_pattern(call)?;
            return self.overload(at, &call.func_name, true, &args);
        }
        match (call.func_name.as_str(), call.args.as_slice()) {
            (op::CONDITIONAL, [condition, yes, no]) => {
                let condition = self.check(condition)?;
                let (yes, no) = (self.check(yes)?, self.check(no)?);
                let args = [condition.of.clone(), yes.of.clone(), no.of.clone()];
                if !(Type::Bool.takes(&condition.of)) {
                    return Err(self.no_overload(at, op::CONDITIONAL, false, &args));
                }
                let Some(of) = yes.of.join(&no.of) else {
                    return Err(self.no_overload(at, op::CONDITIONAL, false, &args));
                };
                Ok(Known::new(of, condition.cost.saturating_add(yes.cost.max(no.cost))))
            }
            (op::OPT_SELECT, [operand, field]) => {
                let operand = self.check(operand)?;
                let Expr::Literal(LiteralValue::String(name)) = &field.expr else {
                    return Err(self.error(at, "unsupported optional field selection"));
                };
                let found = self.field(at, &operand.of, name.inner())?;
                let found = if matches!(found, Type::Optional(_)) { found } else { Type::optional(found) };
                Ok(Known::new(found, operand.cost.saturating_add(1)))
            }
            (name, _) => {
                let args = self.all(&call.args)?;
                self.constant_pattern(call)?;
                self.constant_time(call)?;
                let types: Vec<Type> = args.iter().map(|known| known.of.clone()).collect();
                let below = args.iter().fold(0u64, |sum, known| sum.saturating_add(known.cost));
                match operators::result(name, &types) {
                    operators::Judged::Result(of, spent) => Ok(Known::new(of, below.saturating_add(spent))),
                    operators::Judged::Mismatch => Err(self.no_overload(at, name, false, &types)),
                    operators::Judged::NoOperator => self.overload(at, name, false, &args),
                }
            }
        }
    }

    fn all(&mut self, args: &[IdedExpr]) -> Result<Vec<Known>, CompileError> {
        args.iter().map(|arg| self.check(arg)).collect()
    }

    /// A pattern that is written out is compiled now.
    fn constant_pattern(&self, call: &CallExpr) -> Result<(), CompileError> {
        let pattern = match call.func_name.as_str() {
            "matches" => call.args.last(),
            "find" | "findAll" => call.args.first(),
            _ => None,
        };
        if let Some(pattern) = pattern
            && let Expr::Literal(LiteralValue::String(text)) = &pattern.expr
            && let Err(error) = library::compile_pattern(text.inner())
        {
            // Upstream does not say what is wrong with that of `matches`.
            let why = if call.func_name == "matches" { String::new() } else { format!(": {error}") };
            return Err(self.error(pattern, &format!("invalid {} argument{why}", call.func_name)));
        }
        Ok(())
    }

    /// So is a time.
    fn constant_time(&self, call: &CallExpr) -> Result<(), CompileError> {
        let [argument] = call.args.as_slice() else { return Ok(()) };
        let Expr::Literal(LiteralValue::String(text)) = &argument.expr else { return Ok(()) };
        let fine = match call.func_name.as_str() {
            "duration" => library::time::parse_duration(text.inner()).is_some(),
            "timestamp" => library::time::parse_timestamp(text.inner()).is_some(),
            _ => true,
        };
        if fine { Ok(()) } else { Err(self.error(argument, &format!("invalid {} argument", call.func_name))) }
    }

    fn no_overload(&self, at: &IdedExpr, name: &str, member: bool, args: &[Type]) -> CompileError {
        let shown: Vec<String> = args.iter().map(ToString::to_string).collect();
        let signature = match shown.split_first() {
            Some((target, rest)) if member => format!("{target}.({})", rest.join(", ")),
            _ => format!("({})", shown.join(", ")),
        };
        self.error(at, &format!("found no matching overload for '{name}' applied to '{signature}'"))
    }

    fn overload(&self, at: &IdedExpr, name: &str, member: bool, args: &[Known]) -> Outcome {
        let all = library::find(name, member);
        if all.is_empty() && library::find(name, !member).is_empty() {
            return Err(self.error(at, &format!("undeclared reference to '{name}' (in container '')")));
        }
        let types: Vec<Type> = args.iter().map(|known| known.of.clone()).collect();
        let below = args.iter().fold(0u64, |sum, known| sum.saturating_add(known.cost));
        let mut result: Option<Known> = None;
        for overload in all.iter().filter(|overload| overload.args.len() == args.len()) {
            let mut bound = None;
            if !overload.args.iter().zip(&types).all(|(wanted, given)| wanted.matches(given, &mut bound)) {
                continue;
            }
            let spent = overload.cost.of(|at| types.get(at).map_or(0, |of| most(of.size())));
            let mut of = overload.result.resolve(bound.as_ref());
            let size = overload.cost.result_size(&types);
            match &mut of {
                Type::String(own) | Type::Bytes(own) | Type::List(_, _, own) => *own = size,
                _ => {}
            }
            // Where the arguments' types are open, any of the forms may be meant.
            result = Some(match result {
                None => Known::new(of, spent),
                Some(known) => Known::new(known.of.join(&of).unwrap_or(Type::Dyn), known.cost.max(spent)),
            });
            if types.iter().all(|of| !of.is_open()) {
                break;
            }
        }
        match result {
            Some(known) => Ok(Known::new(known.of, below.saturating_add(known.cost))),
            None => Err(self.no_overload(at, name, member, &types)),
        }
    }

    fn comprehension(&mut self, of: &ComprehensionExpr) -> Outcome {
        let range = self.check(&of.iter_range)?;
        let (first, second) = match (&range.of, &of.iter_var2) {
            (Type::List(item, ..), None) => ((**item).clone(), None),
            (Type::List(item, ..), Some(_)) => (Type::Int, Some((**item).clone())),
            (Type::Map(key, value, _), second) => ((**key).clone(), second.as_ref().map(|_| (**value).clone())),
            (open, second) if open.is_open() => (Type::Dyn, second.as_ref().map(|_| Type::Dyn)),
            (other, _) => {
                let text = format!(
                    "expression of type '{other}' cannot be range of a comprehension (must be list, map, or dynamic)"
                );
                return Err(self.error(&of.iter_range, &text));
            }
        };
        // What may be anything when nobody knows it is anything in the loop, too.
        let open = |of: Type| if of == Type::Free { Type::Dyn } else { of };
        let init = self.check(&of.accu_init)?;
        let depth = self.scope.len();
        self.scope.push((of.accu_var.clone(), init.of.clone()));
        self.scope.push((of.iter_var.clone(), open(first)));
        if let (Some(name), Some(second)) = (&of.iter_var2, second) {
            self.scope.push((name.clone(), open(second)));
        }
        let condition = self.check(&of.loop_cond)?;
        let step = self.check(&of.loop_step)?;
        self.scope.truncate(depth + 1);
        let rounds = range.of.size();
        let mut accumulated = init.of.join(&step.of).unwrap_or(Type::Dyn);
        match &mut accumulated {
            // What only names itself in each round is a binding, no loop.
            _ if matches!(of.loop_step.expr, Expr::Ident(_)) => {}
            Type::List(_, _, size) | Type::Map(_, _, size) => *size = rounds,
            _ => {}
        }
        if let Some((_, of)) = self.scope.get_mut(depth) {
            *of = accumulated;
        }
        let result = self.check(&of.result)?;
        self.scope.truncate(depth);
        let each = condition.cost.saturating_add(step.cost).saturating_add(1);
        let spent = range
            .cost
            .saturating_add(init.cost)
            .saturating_add(most(rounds).saturating_mul(each))
            .saturating_add(result.cost);
        Ok(Known::new(result.of, spent))
    }
}

fn literal_type(literal: &LiteralValue) -> Type {
    match literal {
        LiteralValue::Boolean(_) => Type::Bool,
        LiteralValue::Bytes(bytes) => Type::Bytes(Size(Some(bytes.inner().len() as u64))),
        LiteralValue::Double(_) => Type::Double,
        LiteralValue::Int(_) => Type::Int,
        LiteralValue::Null => Type::Null,
        LiteralValue::String(text) => Type::String(Size(Some(text.inner().len() as u64))),
        LiteralValue::UInt(_) => Type::Uint,
    }
}

/// The names an expression is about, without those its own loops bind.
pub(crate) fn names(expr: &IdedExpr) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut open = vec![expr];
    while let Some(expr) = open.pop() {
        if let Expr::Ident(name) = &expr.expr {
            found.insert(name.clone());
        }
        open.extend(crate::parse::children(expr));
    }
    found
}
