use proptest::prelude::*;
use rand::SeedableRng;
use rand::rngs::SmallRng;
use serde_json::json;

use super::*;
use crate::plugins::node_resources_fit::Strategy as Scoring;
use crate::testing::{NodeBuilder, PodBuilder, node, pod};

fn cluster(nodes: Vec<NodeBuilder>) -> Cluster {
    let mut cluster = Cluster::default();
    for node in nodes {
        cluster.put_node(&node.build());
    }
    cluster
}

fn decide(cluster: &mut Cluster, pod: &PodInfo) -> Decision {
    prepare(cluster, pod);
    match Cycle::new(cluster, pod, Scoring::default()) {
        Ok(cycle) => cycle.decide(&mut 0, &mut SmallRng::seed_from_u64(1)),
        Err(diagnosis) => Decision::Nowhere(diagnosis),
    }
}

/// Decides and assumes; the node's name or the message.
fn schedule(cluster: &mut Cluster, pod: PodBuilder) -> Result<String, String> {
    let pod = Arc::new(pod.build());
    match decide(cluster, &pod) {
        Decision::Node(index) => {
            cluster.assume(&pod, index);
            Ok(cluster.node(index).unwrap().name.to_string())
        }
        Decision::Nowhere(diagnosis) => Err(diagnosis.message()),
    }
}

#[test]
fn the_reasons_are_counted_as_upstream_words_them() {
    let mut c = cluster(vec![
        node("a").taint("dedicated", "db", "NoSchedule"),
        node("b").allocatable("cpu", "1"),
        node("c").allocatable("cpu", "1").allocatable("memory", "1Mi"),
        node("d").cordoned(),
    ]);
    let expect = "0/4 nodes are available: 1 Insufficient memory, 1 node(s) had untolerated taint(s), \
                  1 node(s) were unschedulable, 2 Insufficient cpu.";
    assert_eq!(schedule(&mut c, pod("p").requests("2", "1Gi")), Err(expect.into()));
    assert_eq!(schedule(&mut cluster(vec![]), pod("p")), Err("no nodes available to schedule pods".into()));
}

#[test]
fn filters() {
    let cases: Vec<(&str, PodBuilder, Option<&str>)> = vec![
        ("selector", pod("p").set("/spec/nodeSelector", json!({"zone": "b"})), Some("b")),
        ("selector of none", pod("p").set("/spec/nodeSelector", json!({"zone": "x"})), None),
        ("big", pod("p").requests("8", "1Gi"), Some("big")),
        (
            "tolerates",
            pod("p")
                .set("/spec/tolerations", json!([{"operator": "Exists"}]))
                .set("/spec/nodeSelector", json!({"zone": "t"})),
            Some("t"),
        ),
        ("does not tolerate", pod("p").set("/spec/nodeSelector", json!({"zone": "t"})), None),
        (
            "extended",
            pod("p").set("/spec/containers/0/resources", json!({"requests": {"example.com/gpu": 1}})),
            Some("gpu"),
        ),
        (
            "missing claim",
            pod("p").set("/spec/volumes", json!([{"name": "v", "persistentVolumeClaim": {"claimName": "c"}}])),
            None,
        ),
    ];
    for (what, pod, expect) in cases {
        let mut c = cluster(vec![
            node("a").label("zone", "a"),
            node("b").label("zone", "b"),
            node("big").allocatable("cpu", "16"),
            node("t").label("zone", "t").taint("x", "", "NoExecute"),
            node("gpu").allocatable("example.com/gpu", "2"),
        ]);
        assert_eq!(schedule(&mut c, pod).ok().as_deref(), expect, "{what}");
    }
}

#[test]
fn host_ports_and_pod_limits() {
    let mut c = cluster(vec![node("a").allocatable("pods", "2")]);
    let port = |name: &str| pod(name).set("/spec/containers/0/ports", json!([{"hostPort": 80}]));
    assert!(schedule(&mut c, port("p")).is_ok());
    let expect = "0/1 nodes are available: 1 node(s) didn't have free ports for the requested pod ports.";
    assert_eq!(schedule(&mut c, port("q")), Err(expect.into()));
    assert!(schedule(&mut c, pod("r")).is_ok());
    assert_eq!(schedule(&mut c, pod("s")), Err("0/1 nodes are available: 1 Too many pods.".into()));
}

#[test]
fn load_spreads_and_images_attract() {
    let mut c = cluster(vec![node("a"), node("b")]);
    let first = schedule(&mut c, pod("p").requests("1", "1Gi")).unwrap();
    let second = schedule(&mut c, pod("q").requests("1", "1Gi")).unwrap();
    assert_ne!(first, second);
    let mut c = cluster(vec![node("a"), node("b").image("app:latest", 900 << 20)]);
    assert_eq!(schedule(&mut c, pod("p").requests("1", "1Gi")).as_deref(), Ok("b"));
    let soft = |n: &str| node(n).taint("x", "", "PreferNoSchedule");
    let mut c = cluster(vec![soft("a"), node("b"), soft("c")]);
    assert_eq!(schedule(&mut c, pod("p")).as_deref(), Ok("b"));
}

#[test]
fn pods_of_one_owner_spread_without_being_asked() {
    let mut c = cluster(vec![node("a").allocatable("cpu", "64"), node("b"), node("c")]);
    let mut on: Vec<String> = (0..3).map(|i| schedule(&mut c, pod(&format!("p{i}")).owner("rs")).unwrap()).collect();
    on.sort();
    assert_eq!(on, ["a", "b", "c"]);
}

#[test]
fn required_affinity_and_anti_affinity() {
    let zone = |n: &str, z: &str| node(n).label("zone", z);
    let mut c = cluster(vec![zone("a1", "a"), zone("a2", "a"), zone("b1", "b")]);
    let db = |name: &str| pod(name).label("app", "db");
    let near = |name: &str| pod(name).label("app", "web").near("podAffinity", "db", "zone");
    let expect = "0/3 nodes are available: 3 node(s) didn't match pod affinity rules.";
    assert_eq!(schedule(&mut c, near("early")), Err(expect.into()));
    schedule(&mut c, db("db").set("/spec/nodeSelector", json!({"zone": "b"}))).unwrap();
    assert_eq!(schedule(&mut c, near("web")).as_deref(), Ok("b1"));
    // The first of a group that wants its own company may go anywhere with the label.
    let own = |name: &str| pod(name).label("app", "own").near("podAffinity", "own", "zone");
    let place = schedule(&mut c, own("own1")).unwrap();
    assert_eq!(schedule(&mut c, own("own2")).map(|n| n[..1].to_owned()), Ok(place[..1].to_owned()));
    // One per zone.
    let alone = |name: &str| pod(name).label("app", "alone").near("podAntiAffinity", "alone", "zone");
    schedule(&mut c, alone("x")).unwrap();
    schedule(&mut c, alone("y")).unwrap();
    let expect = "0/3 nodes are available: 3 node(s) didn't match pod anti-affinity rules.";
    assert_eq!(schedule(&mut c, alone("z")), Err(expect.into()));
    // A pod without terms respects those of others.
    let expect = "0/3 nodes are available: 3 node(s) didn't satisfy existing pods anti-affinity rules.";
    assert_eq!(schedule(&mut c, pod("plain").label("app", "alone")), Err(expect.into()));
}

#[test]
fn preferred_affinity_pulls_and_pushes() {
    let mut c = cluster(vec![node("a"), node("b")]);
    let term = |weight| json!([{"weight": weight, "podAffinityTerm": {"labelSelector": {"matchLabels": {"app": "db"}}, "topologyKey": "kubernetes.io/hostname"}}]);
    let db = schedule(&mut c, pod("db").label("app", "db").requests("1", "1Gi")).unwrap();
    let pulled = pod("p")
        .set("/spec/affinity", json!({"podAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": term(100)}}));
    assert_eq!(schedule(&mut c, pulled), Ok(db.clone()));
    let pushed = pod("q").set(
        "/spec/affinity",
        json!({"podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": term(100)}}),
    );
    assert_ne!(schedule(&mut c, pushed), Ok(db));
}

#[test]
fn topology_spread_keeps_the_skew() {
    let zone = |n: &str, z: &str| node(n).label("zone", z);
    let mut c = cluster(vec![zone("a1", "a"), zone("a2", "a"), zone("b1", "b"), node("nowhere")]);
    let spread = |name: &str| {
        let constraint = json!([{"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule",
            "labelSelector": {"matchLabels": {"app": "web"}}}]);
        pod(name).label("app", "web").set("/spec/topologySpreadConstraints", constraint)
    };
    let zones: Vec<String> =
        (0..4).map(|i| schedule(&mut c, spread(&format!("p{i}"))).unwrap()[..1].to_owned()).collect();
    assert_eq!(zones.iter().filter(|z| *z == "a").count(), 2, "{zones:?}");
    assert_ne!(zones[0], zones[1]);
    // Zone b is full: the fifth would have to unbalance.
    c.put_node(&zone("b1", "b").cordoned().build());
    schedule(&mut c, spread("p4")).unwrap();
    let expect = "0/4 nodes are available: 1 node(s) didn't match pod topology spread constraints (missing required \
                  label), 1 node(s) were unschedulable, 2 node(s) didn't match pod topology spread constraints.";
    assert_eq!(schedule(&mut c, spread("p5")), Err(expect.into()));
}

#[test]
fn how_many_nodes_are_enough() {
    for (nodes, expect) in [(0, 1), (50, 50), (100, 100), (1000, 420), (5000, 500), (50_000, 2500)] {
        assert_eq!(enough(nodes), expect, "{nodes}");
    }
}

#[test]
fn room_held_for_a_waiting_pod_is_not_given_to_a_lesser_one() {
    let mut c = cluster(vec![node("a").allocatable("cpu", "1")]);
    let waiting = Arc::new(pod("big").priority(10).requests("800m", "1Mi").build());
    c.nominated.insert(waiting.uid.clone(), (waiting.clone(), 0));
    assert!(schedule(&mut c, pod("small").requests("500m", "1Mi")).is_err());
    assert!(schedule(&mut c, pod("big").priority(10).requests("800m", "1Mi")).is_ok());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..Default::default() })]
    #[test]
    fn no_node_is_ever_overcommitted(
        cpus in proptest::collection::vec(1u32..8, 1..8),
        pods in proptest::collection::vec((1i64..3000, 1i64..4000), 1..60),
    ) {
        let nodes = cpus.iter().enumerate().map(|(i, c)| node(&format!("n{i}")).allocatable("cpu", &c.to_string()).allocatable("pods", "6"));
        let mut c = cluster(nodes.collect());
        for (i, (milli, mebi)) in pods.into_iter().enumerate() {
            let placed = schedule(&mut c, pod(&format!("p{i}")).requests(&format!("{milli}m"), &format!("{mebi}Mi")));
            let room = |n: &NodeInfo| n.allocatable.milli_cpu - n.requested.milli_cpu >= milli
                && n.allocatable.memory - n.requested.memory >= mebi << 20 && n.pods.len() < 6;
            prop_assert!(placed.is_ok() || !c.nodes().any(|(_, n)| room(n)), "there was room");
            for (_, n) in c.nodes() {
                prop_assert!(n.requested.milli_cpu <= n.allocatable.milli_cpu && n.requested.memory <= n.allocatable.memory);
                prop_assert!(n.pods.len() <= 6);
            }
        }
    }
}
