//! The table of messages, read once, when the first protobuf document comes.

use std::collections::HashMap;
use std::sync::LazyLock;

const FACTS: &str = include_str!("../../facts/protobuf.tsv");

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    One,
    List,
    /// By strings.
    Map,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    String,
    Bytes,
    Bool,
    /// int32 and int64 look the same on the wire.
    Integer,
    Double,
    Message(usize),
    Time,
    MicroTime,
    Quantity,
    IntOrString,
    /// A JSON document, or another protobuf document.
    Raw,
    /// A message that is a list of strings in JSON.
    Strings,
    /// Those of CustomResourceDefinitions' schemas: a schema, or something else.
    SchemaOrArray,
    SchemaOrBool,
    SchemaOrStrings,
}

#[derive(Clone, Copy, Debug)]
pub struct Field {
    pub number: u32,
    /// Empty for fields that lie flat in their parent.
    pub json: &'static str,
    pub shape: Shape,
    pub of: Type,
    /// Set apart from its zero.
    pub pointer: bool,
    /// In Go's JSON even when zero.
    pub always: bool,
}

#[derive(Debug, Default)]
pub struct Message {
    /// Sorted by number.
    pub fields: Vec<Field>,
}

impl Message {
    pub fn field(&self, number: u32) -> Option<&Field> {
        self.fields.binary_search_by_key(&number, |field| field.number).ok().map(|at| &self.fields[at])
    }
}

pub struct Table {
    names: HashMap<&'static str, usize>,
    messages: Vec<Message>,
}

static TABLE: LazyLock<Table> = LazyLock::new(Table::parse);

pub fn table() -> &'static Table {
    &TABLE
}

impl Table {
    pub fn find(&self, name: &str) -> Option<usize> {
        self.names.get(name).copied()
    }
    pub fn message(&self, index: usize) -> &Message {
        &self.messages[index]
    }
    #[cfg(test)]
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        self.names.keys().copied()
    }

    fn parse() -> Self {
        let lines = || FACTS.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
        let name = |line: &'static str| line.split('\t').next().unwrap_or_default();
        let names: HashMap<_, _> = lines().enumerate().map(|(index, line)| (name(line), index)).collect();
        let field = |cell| parse_field(cell, &names);
        let messages = lines().map(|line| Message { fields: line.split('\t').skip(1).filter_map(field).collect() });
        Self { messages: messages.collect(), names }
    }
}

/// `1 name string!`, `2^core.v1.VolumeSource`; none for what the table does not explain, which is then not known.
fn parse_field(cell: &'static str, names: &HashMap<&'static str, usize>) -> Option<Field> {
    let (number, json, text) = match cell.split_once('^') {
        Some((number, text)) => (number, "", text),
        None => {
            let mut words = cell.splitn(3, ' ');
            (words.next()?, words.next()?, words.next()?)
        }
    };
    let (text, always) = text.strip_suffix('!').map_or((text, false), |text| (text, true));
    let (text, pointer) = text.strip_prefix('*').map_or((text, false), |text| (text, true));
    let (text, shape) = match (text.strip_prefix("[]"), text.strip_prefix("{}")) {
        (Some(text), _) => (text, Shape::List),
        (_, Some(text)) => (text, Shape::Map),
        _ => (text, Shape::One),
    };
    let of = match text {
        "string" => Type::String,
        "bytes" => Type::Bytes,
        "bool" => Type::Bool,
        "int32" | "int64" => Type::Integer,
        "double" => Type::Double,
        "@Time" => Type::Time,
        "@MicroTime" => Type::MicroTime,
        "@Quantity" => Type::Quantity,
        "@IntOrString" => Type::IntOrString,
        "@Raw" => Type::Raw,
        "@Strings" => Type::Strings,
        "@SchemaOrArray" => Type::SchemaOrArray,
        "@SchemaOrBool" => Type::SchemaOrBool,
        "@SchemaOrStrings" => Type::SchemaOrStrings,
        name => Type::Message(*names.get(name)?),
    };
    Some(Field { number: number.parse().ok()?, json, shape, of, pointer, always })
}
