//! OpenAPI v2 in protobuf, as client-go and kubectl read it: the messages of gnostic's `openapi.v2` package, written
//! from the JSON document. Source of the field numbers: gnostic, `openapiv2/OpenAPIv2.proto`.

use serde_json::{Map, Value};

/// The `Document` message of a v2 document.
pub fn document(document: &Value) -> Vec<u8> {
    let mut out = Message::default();
    out.text(1, &document["swagger"]);
    out.message(2, |info| {
        info.text(1, &document["info"]["title"]);
        info.text(2, &document["info"]["version"]);
    });
    out.message(8, |paths| named(paths, 2, &document["paths"], path_item));
    out.message(9, |definitions| named(definitions, 1, &document["definitions"], schema));
    out.message(10, |parameters| named(parameters, 1, &document["parameters"], parameter));
    for requirement in list(&document["security"]) {
        out.message(12, |out| named(out, 1, requirement, |out, scopes| out.texts(1, scopes)));
    }
    out.message(13, |out| named(out, 1, &document["securityDefinitions"], security_definition));
    out.0
}

/// A message that is being written.
#[derive(Default)]
struct Message(Vec<u8>);

impl Message {
    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push((value & 0x7f) as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }
    fn bytes(&mut self, field: u32, bytes: &[u8]) {
        self.varint(u64::from(field) << 3 | 2);
        self.varint(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }
    fn message(&mut self, field: u32, write: impl FnOnce(&mut Self)) {
        let mut inner = Self::default();
        write(&mut inner);
        self.bytes(field, &inner.0);
    }
    fn text(&mut self, field: u32, value: &Value) {
        if let Some(text) = value.as_str().filter(|text| !text.is_empty()) {
            self.bytes(field, text.as_bytes());
        }
    }
    fn texts(&mut self, field: u32, values: &Value) {
        list(values).filter_map(Value::as_str).for_each(|text| self.bytes(field, text.as_bytes()));
    }
    fn flag(&mut self, field: u32, value: &Value) {
        if value == true {
            self.varint(u64::from(field) << 3);
            self.varint(1);
        }
    }
    fn int(&mut self, field: u32, value: &Value) {
        if let Some(number) = value.as_i64().filter(|n| *n != 0) {
            self.varint(u64::from(field) << 3);
            self.varint(number.cast_unsigned());
        }
    }
    fn double(&mut self, field: u32, value: &Value) {
        if let Some(number) = value.as_f64().filter(|n| *n != 0.0) {
            self.varint(u64::from(field) << 3 | 1);
            self.0.extend_from_slice(&number.to_le_bytes());
        }
    }
    /// gnostic's `Any`: YAML text, which JSON is.
    fn any(&mut self, field: u32, value: &Value) {
        self.message(field, |any| any.bytes(2, format!("{value}\n").as_bytes()));
    }
    /// Fields beginning with `x-`.
    fn extensions(&mut self, field: u32, value: &Value) {
        for (name, value) in value.as_object().into_iter().flatten().filter(|(name, _)| name.starts_with("x-")) {
            self.message(field, |pair| {
                pair.bytes(1, name.as_bytes());
                pair.any(2, value);
            });
        }
    }
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

/// The entries of an object as messages of a name (1) and a value (2).
fn named(out: &mut Message, field: u32, object: &Value, write: impl Fn(&mut Message, &Value)) {
    for (name, value) in object.as_object().into_iter().flatten().filter(|(name, _)| !name.starts_with("x-")) {
        out.message(field, |pair| {
            pair.bytes(1, name.as_bytes());
            pair.message(2, |out| write(out, value));
        });
    }
}

fn path_item(out: &mut Message, item: &Value) {
    for (field, method) in [(2, "get"), (3, "put"), (4, "post"), (5, "delete"), (8, "patch")] {
        if let Some(value) = item.get(method) {
            out.message(field, |out| operation(out, value));
        }
    }
    list(&item["parameters"]).for_each(|value| out.message(9, |out| parameters_item(out, value)));
    out.extensions(10, item);
}

fn operation(out: &mut Message, operation: &Value) {
    out.texts(1, &operation["tags"]);
    out.text(3, &operation["description"]);
    out.text(5, &operation["operationId"]);
    out.texts(6, &operation["produces"]);
    out.texts(7, &operation["consumes"]);
    list(&operation["parameters"]).for_each(|value| out.message(8, |out| parameters_item(out, value)));
    out.message(9, |out| {
        named(out, 1, &operation["responses"], |out, value| out.message(1, |out| response(out, value)))
    });
    out.texts(10, &operation["schemes"]);
    out.extensions(13, operation);
}

fn response(out: &mut Message, response: &Value) {
    out.text(1, &response["description"]);
    if let Some(value) = response.get("schema") {
        out.message(2, |item| item.message(1, |out| schema(out, value)));
    }
}

fn parameters_item(out: &mut Message, value: &Value) {
    if value.get("$ref").is_some() {
        out.message(2, |out| out.text(1, &value["$ref"]));
    } else {
        out.message(1, |out| parameter(out, value));
    }
}

fn parameter(out: &mut Message, value: &Value) {
    match value["in"].as_str().unwrap_or_default() {
        "body" => out.message(1, |out| {
            out.text(1, &value["description"]);
            out.text(2, &value["name"]);
            out.text(3, &value["in"]);
            out.flag(4, &value["required"]);
            out.message(5, |out| schema(out, &value["schema"]));
        }),
        place => {
            // A query parameter has one field more than one in the path (whether it may be empty), so all after shift.
            let (kind, shift) = if place == "query" { (3, 1) } else { (4, 0) };
            out.message(2, |out| {
                out.message(kind, |out| {
                    out.flag(1, &value["required"]);
                    out.text(2, &value["in"]);
                    out.text(3, &value["description"]);
                    out.text(4, &value["name"]);
                    out.text(5 + shift, &value["type"]);
                    out.text(6 + shift, &value["format"]);
                    out.flag(19 + shift, &value["uniqueItems"]);
                });
            });
        }
    }
}

fn security_definition(out: &mut Message, value: &Value) {
    // The only kind there is: an API key in a header.
    out.message(2, |out| {
        out.text(1, &value["type"]);
        out.text(2, &value["name"]);
        out.text(3, &value["in"]);
        out.text(4, &value["description"]);
    });
}

fn schema(out: &mut Message, value: &Value) {
    let empty = Map::new();
    let fields = value.as_object().unwrap_or(&empty);
    for (name, value) in fields {
        match name.as_str() {
            "$ref" => out.text(1, value),
            "format" => out.text(2, value),
            "title" => out.text(3, value),
            "description" => out.text(4, value),
            "default" => out.any(5, value),
            "multipleOf" => out.double(6, value),
            "maximum" => out.double(7, value),
            "exclusiveMaximum" => out.flag(8, value),
            "minimum" => out.double(9, value),
            "exclusiveMinimum" => out.flag(10, value),
            "maxLength" => out.int(11, value),
            "minLength" => out.int(12, value),
            "pattern" => out.text(13, value),
            "maxItems" => out.int(14, value),
            "minItems" => out.int(15, value),
            "uniqueItems" => out.flag(16, value),
            "maxProperties" => out.int(17, value),
            "minProperties" => out.int(18, value),
            "required" => out.texts(19, value),
            "enum" => list(value).for_each(|choice| out.any(20, choice)),
            "additionalProperties" => out.message(21, |item| match value {
                Value::Bool(_) => item.flag(2, value),
                _ => item.message(1, |out| schema(out, value)),
            }),
            "type" => out.message(22, |item| item.text(1, value)),
            "items" => out.message(23, |item| item.message(1, |out| schema(out, value))),
            "properties" => out.message(25, |properties| named(properties, 1, value, schema)),
            "example" => out.any(30, value),
            _ => {}
        }
    }
    out.extensions(31, value);
}
