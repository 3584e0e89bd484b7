//! From text to syntax, macros expanded: the `cel` crate's grammar with the macros that Kubernetes adds.

use std::sync::{Arc, LazyLock};

use cel::Env;
use cel::common::ast::{
    CallExpr, ComprehensionExpr, EntryExpr, Expr, IdedEntryExpr, IdedExpr, ListExpr, LiteralValue, MapEntryExpr,
    MapExpr, SourceInfo, operators,
};
use cel::parser::{Macro, MacroExprHelper, ParseError};

use crate::error::CompileError;

/// Longest expression that is read.
const MAX_BYTES: usize = 32 * 1024;
/// How deeply expressions nest. Evaluation recurses as deeply.
const MAX_DEPTH: u16 = 60;

const EMPTY: &str = "ERROR: <input>:1:0: Syntax error: mismatched input '<EOF>' expecting {'[', '{', '(', '.', '-', '!', 'true', 'false', 'null', NUM_FLOAT, NUM_INT, NUM_UINT, STRING, BYTES, IDENTIFIER}";

const ACCUMULATOR: &str = "@result";

static ENV: LazyLock<Arc<Env>> = LazyLock::new(|| {
    let mut env = Env::stdlib();
    for of in own_macros() {
        // A macro that the crate comes to know by itself is not needed twice.
        let _ = env.add_macro(of);
    }
    Arc::new(env)
});

pub(crate) struct Parsed {
    pub root: IdedExpr,
    pub info: SourceInfo,
}

pub(crate) fn parse(source: &str) -> Result<Parsed, CompileError> {
    if source.trim().is_empty() {
        return Err(CompileError(EMPTY.into()));
    }
    if source.len() > MAX_BYTES {
        return Err(CompileError(format!(
            "expression code point size exceeds limit: size: {}, limit {MAX_BYTES}",
            source.len()
        )));
    }
    let parser = ENV.parser().enable_ident_escape_syntax(true).max_recursion_depth(MAX_DEPTH);
    match parser.parse_with_source_info(source) {
        Ok((root, info)) => {
            if depth(&root) > usize::from(MAX_DEPTH) * 4 {
                return Err(CompileError("expression nests too deeply".into()));
            }
            Ok(Parsed { root, info })
        }
        Err(errors) => {
            let lines: Vec<String> = errors
                .errors
                .iter()
                .map(|error| located(source, error.pos.0, error.pos.1, &said(&error.msg)))
                .collect();
            Err(CompileError(lines.join("\n")))
        }
    }
}

/// An error with its place, in the form of the language's first implementation.
pub(crate) fn located(source: &str, line: isize, column: isize, message: &str) -> String {
    let shown = usize::try_from(line - 1).ok().and_then(|at| source.lines().nth(at)).unwrap_or_default();
    let before = usize::try_from(column - 1).unwrap_or_default();
    // What is wide in the line is wide below it.
    let below = |c: char, narrow, wide| if c.is_ascii() { narrow } else { wide };
    let dots: String = shown.chars().take(before).map(|c| below(c, '.', '．')).collect();
    let mark = shown.chars().nth(before).map_or('^', |c| below(c, '^', '＾'));
    format!("ERROR: <input>:{line}:{column}: {message}\n | {shown}\n | {dots}{mark}")
}

/// The line and column, from one, of the character at an offset in bytes.
pub(crate) fn place(source: &str, offset: usize) -> (isize, isize) {
    let (mut line, mut column) = (1, 1);
    for (_, c) in source.char_indices().take_while(|(at, _)| *at < offset) {
        if c == '\n' {
            (line, column) = (line + 1, 1);
        } else {
            column += 1;
        }
    }
    (line, column)
}

/// All expressions directly below one.
pub(crate) fn children(expr: &IdedExpr) -> Vec<&IdedExpr> {
    match &expr.expr {
        Expr::Call(call) => call.target.as_deref().into_iter().chain(&call.args).collect(),
        Expr::Comprehension(c) => {
            vec![&c.iter_range, &c.accu_init, &c.loop_cond, &c.loop_step, &c.result]
        }
        Expr::List(list) => list.elements.iter().collect(),
        Expr::Map(map) => map.entries.iter().flat_map(entry).collect(),
        Expr::Struct(of) => of.entries.iter().flat_map(entry).collect(),
        Expr::Select(select) => vec![&select.operand],
        Expr::Unspecified | Expr::Ident(_) | Expr::Literal(_) => Vec::new(),
    }
}

fn entry(entry: &IdedEntryExpr) -> Vec<&IdedExpr> {
    match &entry.expr {
        EntryExpr::MapEntry(entry) => vec![&entry.key, &entry.value],
        EntryExpr::StructField(field) => vec![&field.value],
    }
}

fn depth(expr: &IdedExpr) -> usize {
    // Not by recursion: this is the check that recursion is safe.
    let mut deepest = 0;
    let mut open = vec![(expr, 1)];
    while let Some((expr, depth)) = open.pop() {
        deepest = deepest.max(depth);
        open.extend(children(expr).into_iter().map(|child| (child, depth + 1)));
    }
    deepest
}

fn call(function: &str, args: Vec<IdedExpr>) -> Expr {
    Expr::Call(CallExpr { func_name: function.to_owned(), target: None, args })
}

fn variable(helper: &MacroExprHelper<'_>, expr: IdedExpr) -> Result<String, ParseError> {
    match expr.expr {
        Expr::Ident(name) => Ok(name),
        _ => Err(helper.new_error(expr.id, "argument must be a simple name")),
    }
}

/// `all`, `exists`, `existsOne`, `transformList`, `transformMap`, `transformMapEntry` over two variables: index or key,
/// and value; and `sortBy`.
fn own_macros() -> Vec<Macro> {
    let mut all = Vec::new();
    for name in ["all", "exists", "existsOne"] {
        all.push(Macro::receiver(name, 3, move |helper, target, args| {
            quantifier(name, helper, target, args).map(Some)
        }));
    }
    for arguments in [3, 4] {
        for (name, into) in
            [("transformList", Into::List), ("transformMap", Into::Map), ("transformMapEntry", Into::Entries)]
        {
            all.push(Macro::receiver(name, arguments, move |helper, target, args| {
                transform(into, helper, target, args).map(Some)
            }));
        }
    }
    all.push(Macro::receiver("sortBy", 2, |helper, target, args| sort_by(helper, target, args).map(Some)));
    all
}

/// What a transformation makes: items, values under the same keys, or entries of any keys.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Into {
    List,
    Map,
    Entries,
}

/// `list.sortBy(x, key)`: the list is bound to a name, so that it is computed once, and sorted by what it is mapped to.
fn sort_by(
    helper: &mut MacroExprHelper<'_>,
    target: &mut Option<IdedExpr>,
    args: &mut Vec<IdedExpr>,
) -> Result<IdedExpr, ParseError> {
    const SORTED: &str = "@sorted";
    let name = variable(helper, args.remove(0))?;
    let key = args.remove(0);
    let accu = accumulator(helper);
    let one = helper.next_expr(Expr::List(ListExpr::new(vec![key])));
    let keys = ComprehensionExpr {
        iter_range: helper.next_expr(Expr::Ident(SORTED.to_owned())),
        iter_var: name,
        iter_var2: None,
        accu_var: ACCUMULATOR.to_owned(),
        accu_init: helper.next_expr(Expr::List(ListExpr::new(Vec::new()))),
        loop_cond: literal(helper, LiteralValue::Boolean(true.into())),
        loop_step: helper.next_expr(call(operators::ADD, vec![accu, one])),
        result: accumulator(helper),
    };
    let keys = helper.next_expr(Expr::Comprehension(Box::new(keys)));
    let list = helper.next_expr(Expr::Ident(SORTED.to_owned()));
    let bound = ComprehensionExpr {
        iter_range: helper.next_expr(Expr::List(ListExpr::new(Vec::new()))),
        iter_var: "@none".to_owned(),
        iter_var2: None,
        accu_var: SORTED.to_owned(),
        accu_init: target.take().unwrap_or_default(),
        loop_cond: literal(helper, LiteralValue::Boolean(false.into())),
        loop_step: helper.next_expr(Expr::Ident(SORTED.to_owned())),
        result: helper.next_expr(call(crate::eval::SORT_BY, vec![list, keys])),
    };
    Ok(helper.next_expr(Expr::Comprehension(Box::new(bound))))
}

fn accumulator(helper: &mut MacroExprHelper<'_>) -> IdedExpr {
    helper.next_expr(Expr::Ident(ACCUMULATOR.to_owned()))
}

fn literal(helper: &mut MacroExprHelper<'_>, value: LiteralValue) -> IdedExpr {
    helper.next_expr(Expr::Literal(value))
}

struct Loop {
    target: IdedExpr,
    variables: (String, String),
}

fn begin(
    helper: &MacroExprHelper<'_>,
    target: &mut Option<IdedExpr>,
    args: &mut Vec<IdedExpr>,
) -> Result<Loop, ParseError> {
    let first = variable(helper, args.remove(0))?;
    let second = variable(helper, args.remove(0))?;
    Ok(Loop { target: target.take().unwrap_or_default(), variables: (first, second) })
}

fn finish(
    helper: &mut MacroExprHelper<'_>,
    of: Loop,
    init: IdedExpr,
    loop_cond: IdedExpr,
    loop_step: IdedExpr,
    result: IdedExpr,
) -> IdedExpr {
    helper.next_expr(Expr::Comprehension(Box::new(ComprehensionExpr {
        iter_range: of.target,
        iter_var: of.variables.0,
        iter_var2: Some(of.variables.1),
        accu_var: ACCUMULATOR.to_owned(),
        accu_init: init,
        loop_cond,
        loop_step,
        result,
    })))
}

fn quantifier(
    name: &str,
    helper: &mut MacroExprHelper<'_>,
    target: &mut Option<IdedExpr>,
    args: &mut Vec<IdedExpr>,
) -> Result<IdedExpr, ParseError> {
    let of = begin(helper, target, args)?;
    let predicate = args.remove(0);
    let accu = accumulator(helper);
    let result = accumulator(helper);
    if name == "existsOne" {
        let (zero, one) = (literal(helper, LiteralValue::Int(0.into())), literal(helper, LiteralValue::Int(1.into())));
        let go_on = literal(helper, LiteralValue::Boolean(true.into()));
        let more = helper.next_expr(call(operators::ADD, vec![accu, one.clone()]));
        let same = accumulator(helper);
        let step = helper.next_expr(call(operators::CONDITIONAL, vec![predicate, more, same]));
        let result = helper.next_expr(call(operators::EQUALS, vec![result, one]));
        return Ok(finish(helper, of, zero, go_on, step, result));
    }
    let every = name == "all";
    let init = literal(helper, LiteralValue::Boolean(every.into()));
    let seen = accumulator(helper);
    let open = if every { seen } else { helper.next_expr(call(operators::LOGICAL_NOT, vec![seen])) };
    let go_on = helper.next_expr(call(operators::NOT_STRICTLY_FALSE, vec![open]));
    let joined = if every { operators::LOGICAL_AND } else { operators::LOGICAL_OR };
    let step = helper.next_expr(call(joined, vec![accu, predicate]));
    Ok(finish(helper, of, init, go_on, step, result))
}

fn transform(
    into: Into,
    helper: &mut MacroExprHelper<'_>,
    target: &mut Option<IdedExpr>,
    args: &mut Vec<IdedExpr>,
) -> Result<IdedExpr, ParseError> {
    let of = begin(helper, target, args)?;
    let of_each = args.pop().unwrap_or_default();
    let filter = args.pop();
    let accu = accumulator(helper);
    let go_on = literal(helper, LiteralValue::Boolean(true.into()));
    let (init, step) = if into != Into::List {
        let added = if into == Into::Entries {
            of_each
        } else {
            let key = helper.next_expr(Expr::Ident(of.variables.0.clone()));
            let entry = EntryExpr::MapEntry(MapEntryExpr { key, value: of_each, optional: false });
            helper.next_expr(Expr::Map(MapExpr { entries: vec![IdedEntryExpr { id: 0, expr: entry }] }))
        };
        let step = helper.next_expr(call(crate::eval::INSERT, vec![accu, added]));
        (helper.next_expr(Expr::Map(MapExpr::default())), step)
    } else {
        let added = helper.next_expr(Expr::List(ListExpr::new(vec![of_each])));
        let step = helper.next_expr(call(operators::ADD, vec![accu, added]));
        (helper.next_expr(Expr::List(ListExpr::new(Vec::new()))), step)
    };
    let step = match filter {
        Some(filter) => {
            let same = accumulator(helper);
            helper.next_expr(call(operators::CONDITIONAL, vec![filter, step, same]))
        }
        None => step,
    };
    let result = accumulator(helper);
    Ok(finish(helper, of, init, go_on, step, result))
}

/// The parser's words, which say only sometimes that they are about the syntax.
fn said(message: &str) -> String {
    // Where an expression may end, upstream's parser expects nothing else.
    let message = match message.split_once(" expecting {<EOF>, ") {
        Some((before, _)) => &format!("{before} expecting <EOF>"),
        None => message,
    };
    if message.starts_with("Syntax error") { message.to_owned() } else { format!("Syntax error: {message}") }
}
