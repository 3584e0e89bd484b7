//! Properties of ownership, over pods as someone may apply them.

use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::set::{Set, stored};
use super::stories::World;
use super::typed::{self, Typed, compare};
use super::{apply, entries, merge};
use crate::builtin;
use crate::decode::{self, FieldValidation};

/// A small pod, as someone may apply it.
fn config() -> impl Strategy<Value = Value> {
    let container = ("[a-c]", prop::option::of("[x-z]"), prop::collection::btree_set(80u16..83, 0..3));
    let containers = prop::collection::btree_map("[a-c]", container, 0..3);
    let labels = prop::collection::btree_map("[a-c]", "[x-z]", 0..3);
    let finalizers = prop::collection::btree_set("[a-c]/x", 0..3);
    let fields = (containers, labels, finalizers, prop::option::of(Just(true)), prop::collection::vec("[a-c]", 0..3));
    fields.prop_map(|(containers, labels, finalizers, host, tolerations)| {
        let containers: Vec<Value> = containers
            .into_iter()
            .map(|(name, (_, image, ports))| {
                let ports: Vec<Value> = ports.into_iter().map(|p| json!({"containerPort": p})).collect();
                json!({"name": name, "image": image, "ports": ports})
            })
            .collect();
        let tolerations: Vec<Value> = tolerations.into_iter().map(|key| json!({"key": key})).collect();
        // A zero that is not written is owned though it is not there; hence no `false` here.
        // An empty list of containers is nobody's, so applying it is not what these properties are about.
        let containers = if containers.is_empty() { Value::Null } else { containers.into() };
        json!({"metadata": {"name": "p", "labels": labels, "finalizers": finalizers},
            "spec": {"containers": containers, "hostNetwork": host, "tolerations": tolerations}})
    })
}

proptest! {
    #[test]
    fn applying_twice_is_applying_once(first in config(), second in config(), third in config()) {
        let mut world = World::new("v1", "Pod");
        world.apply("a", first).force("b", second).force("a", third.clone());
        let once = world.live.clone();
        world.apply("a", third);
        prop_assert_eq!(once, world.live);
    }

    #[test]
    fn what_is_applied_is_there_and_owned(first in config(), second in config()) {
        let mut world = World::new("v1", "Pod");
        world.apply("a", first).force("b", second.clone());
        let mut have = world.live.clone().expect("an object");
        let entries = entries::read(apply::take_managed(&mut have)).expect("entries");
        // Applying the same again changes nothing, so all of it is there.
        let checked = decode::check(world.schema, second, FieldValidation::Strict).expect("decodes").object;
        let mut merged = have.clone();
        merge::merge(Typed::of(world.schema), &mut merged, &checked);
        prop_assert_eq!(&merged, &have);
        // Nobody owns what another applier forced to another value; everyone owns only what is there.
        let mut all = compare(Typed::of(world.schema), Some(&json!({})), Some(&have)).changed;
        all.add(typed::field_set(Typed::of(world.schema), &have));
        typed::name_parents(Typed::of(world.schema), &mut all);
        for entry in entries {
            let gone = entry.set.clone().without(&all);
            prop_assert!(gone.is_empty(), "{:?}", gone.paths());
        }
    }

    #[test]
    fn the_last_to_leave_leaves_nothing(first in config(), second in config()) {
        let mut world = World::new("v1", "Pod");
        world.apply("a", first).force("b", second);
        let nothing = || json!({"metadata": {"name": "p"}});
        world.apply("a", nothing()).apply("b", nothing());
        let live = world.live.expect("an object");
        prop_assert_eq!(live, json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}}));
    }

    #[test]
    fn fields_v1_goes_round(object in config()) {
        let schema = builtin().gvk("", "v1", "Pod").expect("a built-in kind");
        let mut set = typed::field_set(Typed::of(schema), &object);
        set.member = false;
        prop_assert_eq!(Set::from_fields_v1(set.clone().into_fields_v1()), Some(set));
    }

    /// What is done to stored sets in place is what is done to sets.
    #[test]
    fn stored_sets_are_sets(first in config(), second in config()) {
        let schema = builtin().gvk("", "v1", "Pod").expect("a built-in kind");
        let set = |object| {
            let mut set = typed::field_set(Typed::of(schema), object);
            set.member = false;
            set
        };
        let (first, second) = (set(&first), set(&second));
        let stored = |change: &dyn Fn(&mut Map<String, Value>)| {
            let Value::Object(mut fields) = first.clone().into_fields_v1() else { unreachable!("an object") };
            change(&mut fields);
            Set::from_fields_v1(Value::Object(fields)).expect("fieldsV1")
        };
        prop_assert_eq!(stored(&|fields| { stored::subtract(fields, &second); }), first.clone().without(&second));
        let mut both = first.clone();
        both.add(second.clone());
        prop_assert_eq!(stored(&|fields| stored::add(fields, second.clone())), both.clone());
        prop_assert_eq!(both.without(&second), first.clone().without(&second));
        let common = first.intersection(&second);
        prop_assert!(common.clone().without(&first).is_empty() && common.without(&second).is_empty());
    }
}
