//! The two ways in which server-side apply changes an object: merging a configuration in, taking paths out.

use std::collections::{HashMap, HashSet, VecDeque};

use serde_json::{Map, Value};

use super::set::{Set, field};
use super::typed::{Fields, Shape, Typed, item_step};
use crate::schema::{List, Node};

/// `live` with `config` merged in: what is owned as a whole is replaced, maps and keyed lists are merged.
pub fn merge(typed: Typed, live: &mut Value, config: &Value) {
    if let (Shape::Map(fields), Shape::Map(_)) = (typed.shape(config), typed.shape(live))
        && let (Value::Object(live), Value::Object(config)) = (&mut *live, config)
    {
        for (name, value) in config {
            match live.get_mut(name) {
                Some(place) => merge(fields.get(name), place, value),
                None => {
                    live.insert(name.clone(), value.clone());
                }
            }
        }
        return;
    }
    if let (Shape::List(list), Shape::List(_)) = (typed.shape(config), typed.shape(live))
        && let (Value::Array(items), Value::Array(config)) = (&mut *live, config)
    {
        *items = merge_items(list, std::mem::take(items), config);
        return;
    }
    // Nothing to merge with: what is there by its parts stays, and so do its owners.
    if config.is_null() && !matches!(typed.shape(live), Shape::Leaf) {
        return;
    }
    live.clone_from(config);
}

/// Merges keyed lists. The configuration's order wins among its own items, the live order among the others, and
/// live-only items stay as near to their neighbours as that allows.
fn merge_items(list: &List, live: Vec<Value>, config: &[Value]) -> Vec<Value> {
    let typed = Typed::items(list);
    let applied: Vec<(String, &Value)> =
        config.iter().filter_map(|item| Some((item_step(list, item).ok()?, item))).collect();
    let wanted: HashSet<&str> = applied.iter().map(|(step, _)| step.as_str()).collect();
    // Live items by identity; of an item that comes twice the first is merged with.
    let mut steps: Vec<Option<String>> = Vec::with_capacity(live.len());
    let mut known: HashMap<String, Value> = HashMap::new();
    let mut rest: Vec<Option<Value>> = Vec::with_capacity(live.len());
    for item in live {
        let step = item_step(list, &item).ok();
        match &step {
            Some(step) if wanted.contains(step.as_str()) => {
                known.entry(step.clone()).or_insert(item);
                rest.push(None);
            }
            _ => rest.push(Some(item)),
        }
        steps.push(step);
    }
    // The shared items in the configuration's order: a live one is passed over until it is its turn.
    let mut shared: VecDeque<&str> =
        applied.iter().map(|(step, _)| step.as_str()).filter(|step| known.contains_key(*step)).collect();
    let mut done: HashSet<&str> = HashSet::new();
    let mut out = Vec::with_capacity(steps.len() + applied.len());
    let (mut at_live, mut at_config) = (0, 0);
    while at_live < steps.len() || at_config < applied.len() {
        let here = steps.get(at_live);
        let ours = here.and_then(|step| step.as_deref()).filter(|step| wanted.contains(step));
        if let (Some(_), Some((next, _))) = (here, applied.get(at_config))
            && let Some(step) = ours
            && step != next
            && shared.front().is_some_and(|front| *front != step)
        {
            at_live += 1;
            continue;
        }
        if here.is_some() && ours.is_none() {
            out.extend(rest.get_mut(at_live).and_then(Option::take));
            at_live += 1;
            continue;
        }
        if ours.is_some_and(|step| done.contains(step)) {
            at_live += 1;
            continue;
        }
        let Some((step, item)) = applied.get(at_config) else {
            at_live += 1;
            continue;
        };
        if ours == Some(step.as_str()) {
            at_live += 1;
        }
        if shared.front() == Some(&step.as_str()) {
            shared.pop_front();
        }
        done.insert(step);
        at_config += 1;
        match known.remove(step) {
            Some(mut merged) => {
                merge(typed, &mut merged, item);
                out.push(merged);
            }
            None => out.push((*item).clone()),
        }
    }
    out
}

/// Takes the paths of a set out of a value.
pub fn remove(typed: Typed, value: &mut Value, set: &Set) {
    if set.is_leaf() {
        return;
    }
    match typed.shape(value) {
        Shape::Leaf => {}
        Shape::Map(fields) => {
            if let Value::Object(object) = value {
                remove_fields(fields, object, set);
            }
        }
        Shape::List(list) => {
            if let Value::Array(items) = value {
                items.retain_mut(|item| match item_step(list, item).ok().and_then(|step| set.child(&step)) {
                    Some(gone) if gone.member => false,
                    Some(below) => {
                        remove(Typed::items(list), item, below);
                        true
                    }
                    None => true,
                });
            }
        }
    }
}

fn remove_fields(fields: Fields, object: &mut Map<String, Value>, set: &Set) {
    object.retain(|name, value| match set.child(&field(name)) {
        Some(gone) if gone.member => false,
        Some(below) => {
            let typed = fields.get(name);
            remove(typed, value, below);
            // What Go would leave out when empty is left out.
            let optional = matches!(fields, Fields::Struct(of) if of.field(name).is_some_and(|f| !f.required));
            let emptied = match (&typed.schema.node, &*value) {
                (Node::List(_), Value::Array(items)) => items.is_empty(),
                (Node::Map(_), Value::Object(entries)) => entries.is_empty(),
                _ => false,
            };
            !(optional && emptied && typed.schema.rules.is_none())
        }
        None => true,
    });
}
