//! The objects of the configuration, read: priority levels and FlowSchemas, the mandatory ones always among them.
//! Source: <https://kubernetes.io/docs/concepts/cluster-administration/flow-control/>

use pilothouse_access::policy;
use serde_json::Value;

use super::matching::Rule;
use super::queues::Shape;
use super::sharing::Shares;

/// What a level is refused with, and how it waits.
#[derive(Clone, Debug, PartialEq)]
pub struct LevelSpec {
    pub name: String,
    pub uid: String,
    pub exempt: bool,
    pub shares: Shares,
    pub shape: Shape,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Distinguisher {
    None,
    User,
    Namespace,
}

#[derive(Debug)]
pub struct SchemaSpec {
    pub name: String,
    pub uid: String,
    /// Into the levels.
    pub level: usize,
    pub distinguisher: Distinguisher,
    pub rules: Vec<Rule>,
}

#[derive(Debug, Default)]
pub struct Specs {
    pub levels: Vec<LevelSpec>,
    /// In the order in which they are tried.
    pub schemas: Vec<SchemaSpec>,
}

fn number(value: &Value, most: u64) -> u32 {
    u32::try_from(value.as_u64().unwrap_or(0).min(most)).unwrap_or(u32::MAX)
}

/// Most queues of a level; more would only cost memory.
const MAX_QUEUES: u64 = 4096;
const MAX_LENGTH: u64 = 100_000;
/// Most shares, so that sums stay sums.
const MAX_SHARES: u64 = 1_000_000;

fn text<'a>(object: &'a Value, field: &str) -> &'a str {
    object["metadata"][field].as_str().unwrap_or_default()
}

/// None for an object that contradicts itself.
fn level(object: &Value) -> Option<LevelSpec> {
    let (name, spec) = (text(object, "name"), &object["spec"]);
    let exempt = spec["type"] == "Exempt";
    if exempt != (name == "exempt") || !exempt && !spec["limited"].is_object() {
        return None;
    }
    let own = &spec[if exempt { "exempt" } else { "limited" }];
    let borrowing = &own["borrowingLimitPercent"];
    let shares = Shares {
        shares: number(&own["nominalConcurrencyShares"], MAX_SHARES),
        lendable_percent: number(&own["lendablePercent"], 100),
        borrowing_percent: (!borrowing.is_null()).then(|| number(borrowing, MAX_SHARES)),
    };
    let queuing = &own["limitResponse"]["queuing"];
    let count = |field: &str, most: u64| number(&queuing[field], most) as usize;
    let shape = if queuing.is_object() {
        let queues = count("queues", MAX_QUEUES).max(1);
        Shape {
            queues,
            hand: count("handSize", MAX_QUEUES).clamp(1, queues),
            length: count("queueLengthLimit", MAX_LENGTH),
        }
    } else {
        Shape::NONE
    };
    Some(LevelSpec { name: name.to_owned(), uid: text(object, "uid").to_owned(), exempt, shares, shape })
}

/// Reads all objects, broken ones and schemas of missing levels left out, missing mandatory ones put in.
pub fn read(levels: &[Value], schemas: &[Value]) -> Specs {
    let (mandatory_levels, mandatory_schemas) = policy::mandatory_flow_control();
    let missing = |have: &[Value], all: Vec<Value>| -> Vec<Value> {
        all.into_iter().filter(|object| !have.iter().any(|own| text(own, "name") == text(object, "name"))).collect()
    };
    let added = missing(levels, mandatory_levels);
    let levels: Vec<LevelSpec> = levels.iter().chain(&added).filter_map(level).collect();
    let level_of = |schema: &Value| {
        let name = schema["spec"]["priorityLevelConfiguration"]["name"].as_str().unwrap_or_default();
        levels.iter().position(|level| level.name == name)
    };
    let added = missing(schemas, mandatory_schemas);
    let mut ordered: Vec<(i64, SchemaSpec)> = schemas
        .iter()
        .chain(&added)
        .filter_map(|object| {
            let spec = &object["spec"];
            let schema = SchemaSpec {
                name: text(object, "name").to_owned(),
                uid: text(object, "uid").to_owned(),
                level: level_of(object)?,
                distinguisher: match spec["distinguisherMethod"]["type"].as_str() {
                    Some("ByUser") => Distinguisher::User,
                    Some("ByNamespace") => Distinguisher::Namespace,
                    _ => Distinguisher::None,
                },
                rules: spec["rules"].as_array().into_iter().flatten().map(Rule::of).collect(),
            };
            Some((spec["matchingPrecedence"].as_i64().unwrap_or(0), schema))
        })
        .collect();
    ordered.sort_by(|(a, first), (b, second)| a.cmp(b).then_with(|| first.name.cmp(&second.name)));
    Specs { levels, schemas: ordered.into_iter().map(|(_, schema)| schema).collect() }
}

/// The condition `Dangling` that a schema should have: status, reason, message.
pub fn dangling(schema: &Value, levels: &[Value]) -> (&'static str, &'static str, String) {
    let level = schema["spec"]["priorityLevelConfiguration"]["name"].as_str().unwrap_or_default();
    let references = format!("This FlowSchema references the PriorityLevelConfiguration object named {level:?}");
    if levels.iter().any(|own| text(own, "name") == level) {
        ("False", "Found", format!("{references} and it exists"))
    } else {
        ("True", "NotFound", format!("{references} but there is no such object"))
    }
}

#[cfg(test)]
mod tests {
    use http::Method;
    use pilothouse_access::UserInfo;
    use serde_json::json;

    use super::*;
    use crate::request::RequestInfo;

    fn chosen<'a>(specs: &'a Specs, user: &UserInfo, asked: &str) -> (&'a str, &'a str) {
        let (method, path) = asked.split_once(' ').unwrap();
        let info = RequestInfo::new(&method.parse::<Method>().unwrap(), path, "");
        let found = specs.schemas.iter().find(|schema| schema.rules.iter().any(|rule| rule.is(user, &info))).unwrap();
        (&found.name, &specs.levels[found.level].name)
    }

    #[test]
    fn the_defaults_sort_everybody() {
        let (levels, schemas) = policy::default_flow_control();
        let specs = read(&levels, &schemas);
        let node = UserInfo::new("system:node:a", &["system:nodes", "system:authenticated"]);
        let scheduler = UserInfo::new("system:kube-scheduler", &["system:authenticated"]);
        let controller = UserInfo::service_account("kube-system", "job-controller", "");
        let robot = UserInfo::service_account("apps", "robot", "");
        let jane = UserInfo::new("jane", &["system:authenticated"]);
        let root = UserInfo::new("root", &["system:masters", "system:authenticated"]);
        let (pods, lease) = ("GET /api/v1/namespaces/a/pods", "PUT /apis/coordination.k8s.io/v1/namespaces/a/leases/x");
        for (user, asked, expected) in [
            (&root, pods, ("exempt", "exempt")),
            (&jane, "GET /healthz", ("probes", "exempt")),
            (&node, lease, ("system-node-high", "node-high")),
            (&node, "PATCH /api/v1/nodes/a/status", ("system-node-high", "node-high")),
            (&node, pods, ("system-nodes", "system")),
            (&scheduler, lease, ("system-leader-election", "leader-election")),
            (&scheduler, pods, ("kube-scheduler", "workload-high")),
            (&controller, pods, ("kube-system-service-accounts", "workload-high")),
            (&robot, pods, ("service-accounts", "workload-low")),
            (&jane, pods, ("global-default", "global-default")),
            (&UserInfo::anonymous(), "GET /version", ("global-default", "global-default")),
        ] {
            assert_eq!(chosen(&specs, user, asked), expected, "{} {asked}", user.name);
        }
    }

    #[test]
    fn without_objects_there_is_what_must_be() {
        let specs = read(&[], &[]);
        assert_eq!(specs.levels.iter().map(|level| level.name.as_str()).collect::<Vec<_>>(), ["exempt", "catch-all"]);
        assert_eq!(
            specs.schemas.iter().map(|schema| schema.name.as_str()).collect::<Vec<_>>(),
            ["exempt", "catch-all"]
        );
        assert_eq!(specs.levels[1].shape, Shape::NONE);
    }

    #[test]
    fn dangling_schemas_match_nothing() {
        let schema = json!({"metadata": {"name": "lost"}, "spec": {"matchingPrecedence": 5,
            "priorityLevelConfiguration": {"name": "nowhere"}, "rules": []}});
        assert_eq!(read(&[], std::slice::from_ref(&schema)).schemas.len(), 2);
        let (status, reason, message) = dangling(&schema, &[]);
        assert_eq!((status, reason), ("True", "NotFound"));
        assert_eq!(
            message,
            "This FlowSchema references the PriorityLevelConfiguration object named \"nowhere\" but there is no such object"
        );
        let level = json!({"metadata": {"name": "nowhere"}});
        assert_eq!(dangling(&schema, &[level]).0, "False");
    }

    #[test]
    fn absurd_numbers_are_bounded() {
        let level = json!({"metadata": {"name": "big"}, "spec": {"type": "Limited", "limited": {
            "nominalConcurrencyShares": 2_147_483_647u64, "limitResponse": {"type": "Queue",
            "queuing": {"queues": 10_000_000, "handSize": 10_000_000, "queueLengthLimit": 2_147_483_647u64}}}}});
        let specs = read(&[level], &[]);
        assert_eq!(specs.levels[0].shape, Shape { queues: 4096, hand: 4096, length: 100_000 });
    }
}
