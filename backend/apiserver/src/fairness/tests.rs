use std::time::Duration;

use serde_json::json;
use tokio::time::timeout;

use super::*;

fn level(name: &str, queues: Value) -> Value {
    json!({"metadata": {"name": name, "uid": format!("{name}-uid")}, "spec": {"type": "Limited", "limited": {
        "nominalConcurrencyShares": 1, "lendablePercent": 0, "borrowingLimitPercent": 0,
        "limitResponse": queues}}})
}

fn schema(name: &str, level: &str, user: &str) -> Value {
    json!({"metadata": {"name": name, "uid": format!("{name}-uid")}, "spec": {"matchingPrecedence": 5,
        "priorityLevelConfiguration": {"name": level}, "distinguisherMethod": {"type": "ByNamespace"},
        "rules": [{"subjects": [{"kind": "User", "user": {"name": user}}],
            "resourceRules": [{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], "namespaces": ["*"], "clusterScope": true}]}]}})
}

/// A level of few seats beside one that has nearly all.
fn scarce() -> Fairness {
    let fairness = Fairness::default();
    let queue = json!({"type": "Queue", "queuing": {"queues": 8, "handSize": 1, "queueLengthLimit": 2}});
    let mut rest = level("rest", json!({"type": "Reject"}));
    rest["spec"]["limited"]["nominalConcurrencyShares"] = json!(293);
    fairness.configure(&[level("scarce", queue), rest], &[schema("mine", "scarce", "jane")]);
    fairness
}

fn info(namespace: &str) -> RequestInfo {
    RequestInfo::new(&http::Method::GET, &format!("/api/v1/namespaces/{namespace}/pods/x"), "")
}

#[tokio::test]
async fn turns_are_waited_for_given_back_and_refused() {
    let fairness = scarce();
    let (jane, asked) = (UserInfo::new("jane", &["system:authenticated"]), info("a"));
    let flow = fairness.classify(&jane, &asked).unwrap();
    assert_eq!((flow.name.as_str(), flow.level.name.as_str(), flow.level.state.lock().seats), ("mine", "scarce", 3));
    let mut response = Response::new(crate::body::empty());
    flow.mark(&mut response);
    assert_eq!(response.headers()[SCHEMA_HEADER], "mine-uid");
    assert_eq!(response.headers()[LEVEL_HEADER], "scarce-uid");
    let mut held = Vec::new();
    for _ in 0..3 {
        held.push(fairness.enter(&flow, &jane, &asked, 1).await.unwrap());
    }
    let mut first = Box::pin(fairness.enter(&flow, &jane, &asked, 1));
    let mut second = Box::pin(fairness.enter(&flow, &jane, &asked, 1));
    assert!(timeout(Duration::from_millis(20), &mut first).await.is_err());
    assert!(timeout(Duration::from_millis(20), &mut second).await.is_err());
    let refused = fairness.enter(&flow, &jane, &asked, 1).await.err().unwrap();
    assert_eq!((refused.code, refused.details.unwrap().retry_after_seconds), (429, 1));
    // A client that goes away while it waits takes nothing with it.
    drop(first);
    held.pop();
    let third = timeout(Duration::from_secs(5), second).await.unwrap().unwrap();
    drop((third, held));
    let mut text = String::new();
    let mut registry = Registry::default();
    fairness.register(&mut registry);
    prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
    for line in [
        "apiserver_flowcontrol_rejected_requests_total{priority_level=\"scarce\",flow_schema=\"mine\",reason=\"queue-full\"} 1",
        "apiserver_flowcontrol_dispatched_requests_total{priority_level=\"scarce\",flow_schema=\"mine\"} 4",
        "apiserver_flowcontrol_current_executing_requests{priority_level=\"scarce\",flow_schema=\"mine\"} 0",
        "apiserver_flowcontrol_current_inqueue_requests{priority_level=\"scarce\",flow_schema=\"mine\"} 0",
        "apiserver_flowcontrol_nominal_limit_seats{priority_level=\"scarce\"} 3",
    ] {
        assert!(text.contains(line), "{line} is missing in\n{text}");
    }
}

#[tokio::test]
async fn a_turn_that_comes_as_its_client_leaves_is_passed_on() {
    let fairness = scarce();
    let (jane, asked) = (UserInfo::new("jane", &["system:authenticated"]), info("a"));
    let flow = fairness.classify(&jane, &asked).unwrap();
    for _ in 0..50 {
        let mut held = Vec::new();
        for _ in 0..3 {
            held.push(fairness.enter(&flow, &jane, &asked, 1).await.unwrap());
        }
        let mut leaver = Box::pin(fairness.enter(&flow, &jane, &asked, 1));
        assert!(futures::poll!(&mut leaver).is_pending());
        // The seat is its own already when it leaves.
        held.pop();
        drop(leaver);
        held.push(timeout(Duration::from_secs(5), fairness.enter(&flow, &jane, &asked, 1)).await.unwrap().unwrap());
    }
}

#[tokio::test]
async fn a_new_configuration_finds_who_waits() {
    let fairness = scarce();
    let (jane, asked) = (UserInfo::new("jane", &["system:authenticated"]), info("a"));
    let flow = fairness.classify(&jane, &asked).unwrap();
    let mut held = Vec::new();
    for _ in 0..3 {
        held.push(fairness.enter(&flow, &jane, &asked, 1).await.unwrap());
    }
    let mut waiting = Box::pin(fairness.enter(&flow, &jane, &asked, 1));
    assert!(futures::poll!(&mut waiting).is_pending());
    let queue = json!({"type": "Queue", "queuing": {"queues": 2, "handSize": 1, "queueLengthLimit": 2}});
    fairness.configure(&[level("scarce", queue)], &[schema("mine", "scarce", "jane")]);
    timeout(Duration::from_secs(5), waiting).await.unwrap().unwrap();
}

#[tokio::test]
async fn the_exempt_never_wait() {
    let fairness = Fairness::default();
    let (root, asked) = (UserInfo::new("root", &["system:masters"]), info("a"));
    let flow = fairness.classify(&root, &asked).unwrap();
    let mut held = Vec::new();
    for _ in 0..2 * TOTAL_SEATS {
        held.push(fairness.enter(&flow, &root, &asked, 1).await.unwrap());
    }
    assert!(held[0].is_exempt());
}

#[test]
fn lists_take_seats_by_their_length() {
    let seats = [0, 1, 100, 101, 950, 1_000_000].map(list_seats);
    assert_eq!(seats, [1, 1, 1, 2, 10, 10]);
}
