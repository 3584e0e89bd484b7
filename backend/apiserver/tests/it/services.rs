//! What Services are given: addresses and ports that nobody else has.

use std::collections::HashSet;

use serde_json::{Value, json};

use crate::support::TestCluster;

const ALL: &str = "/api/v1/namespaces/default/services";

fn service(name: &str, kind: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name},
        "spec": {"type": kind, "selector": {"app": name}, "ports": [{"name": "http", "port": 80, "targetPort": 8080}]}})
}

#[tokio::test]
async fn addresses() {
    let cluster = TestCluster::start().await;
    let admin = cluster.admin();
    let kubernetes = admin.get(&format!("{ALL}/kubernetes")).await.expect(200);
    assert_eq!(kubernetes["spec"]["clusterIP"], "10.96.0.1");
    let range = admin.get("/apis/networking.k8s.io/v1/servicecidrs/kubernetes").await.expect(200);
    assert_eq!(range["spec"]["cidrs"], json!(["10.96.0.0/16"]));
    let made = admin.create(ALL, &service("web", "ClusterIP")).await;
    let ip = made["spec"]["clusterIP"].as_str().unwrap().to_owned();
    assert!(ip.starts_with("10.96."), "{ip}");
    assert_eq!(made["spec"]["clusterIPs"], json!([ip]));
    let held = admin.get(&format!("/apis/networking.k8s.io/v1/ipaddresses/{ip}")).await.expect(200);
    assert_eq!(held["spec"]["parentRef"]["name"], "web");

    let mut same = service("other", "ClusterIP");
    same["spec"]["clusterIP"] = json!(ip);
    let taken = admin.post(ALL, &same).await;
    assert_eq!(taken.said(), "422 Invalid");
    assert!(taken.message().contains("provided IP is already allocated"), "{}", taken.message());
    same["spec"]["clusterIP"] = json!("192.168.0.1");
    assert!(admin.post(ALL, &same).await.message().contains("is not in the valid range"));
    same["spec"]["clusterIP"] = json!("None");
    assert_eq!(admin.create(ALL, &same).await["spec"]["clusterIPs"], json!(["None"]));

    // An update keeps it, a deletion gives it back.
    let mut update = service("web", "ClusterIP");
    update["metadata"]["resourceVersion"] = made["metadata"]["resourceVersion"].clone();
    assert_eq!(admin.put(&format!("{ALL}/web"), &update).await.expect(200)["spec"]["clusterIP"], json!(ip));
    admin.delete(&format!("{ALL}/web")).await.expect(200);
    same["metadata"]["name"] = json!("third");
    same["spec"]["clusterIP"] = json!(ip);
    assert_eq!(admin.create(ALL, &same).await["spec"]["clusterIP"], json!(ip));
}

#[tokio::test]
async fn node_ports() {
    let cluster = TestCluster::start().await;
    let admin = cluster.admin();
    let made = admin.create(ALL, &service("web", "NodePort")).await;
    let port = made["spec"]["ports"][0]["nodePort"].as_u64().unwrap();
    assert!((30000..=32767).contains(&port));
    let mut same = service("other", "NodePort");
    same["spec"]["ports"][0]["nodePort"] = json!(port);
    assert!(admin.post(ALL, &same).await.message().contains("provided port is already allocated"));
    same["spec"]["ports"][0]["nodePort"] = json!(80);
    assert!(admin.post(ALL, &same).await.message().contains("The range of valid ports is 30000-32767"));
    // Back to an inner Service: the port is free again.
    let mut inner = made.clone();
    inner["spec"]["type"] = json!("ClusterIP");
    inner["spec"]["ports"][0].as_object_mut().unwrap().remove("nodePort");
    let inner = admin.put(&format!("{ALL}/web"), &inner).await.expect(200);
    assert_eq!(inner["spec"]["ports"][0].get("nodePort"), None);
    same["spec"]["ports"][0]["nodePort"] = json!(port);
    assert_eq!(admin.create(ALL, &same).await["spec"]["ports"][0]["nodePort"], json!(port));
}

#[tokio::test]
async fn two_backends_never_give_the_same() {
    let one = TestCluster::start().await;
    let two = TestCluster::on(one.url.clone()).await;
    let mut tasks = tokio::task::JoinSet::new();
    // So many that backends which know nothing of each other choose the same port now and then.
    for n in 0..120 {
        let admin = if n % 2 == 0 { one.admin() } else { two.admin() };
        tasks.spawn(async move { admin.create(ALL, &service(&format!("s{n}"), "NodePort")).await });
    }
    let (mut addresses, mut ports) = (HashSet::new(), HashSet::new());
    while let Some(made) = tasks.join_next().await {
        let made = made.unwrap();
        assert!(addresses.insert(made["spec"]["clusterIP"].clone()), "{}", made["spec"]["clusterIP"]);
        assert!(ports.insert(made["spec"]["ports"][0]["nodePort"].clone()));
    }
    assert_eq!(addresses.len(), 120);
}

/// What an update leaves out, and the server puts back, is nobody's.
#[tokio::test]
async fn owners_of_families() {
    let cluster = TestCluster::start().await;
    let admin = cluster.admin();
    let mut web = service("web", "ClusterIP");
    web["spec"]["ipFamilies"] = json!(["IPv4"]);
    web["spec"]["ipFamilyPolicy"] = json!("SingleStack");
    let owned = |service: &Value, field: &str| {
        let entries = service["metadata"]["managedFields"].as_array().expect("entries").clone();
        entries.iter().any(|entry| entry["fieldsV1"]["f:spec"].get(field).is_some())
    };
    let made = admin.create(ALL, &web).await;
    assert!(owned(&made, "f:ipFamilies") && owned(&made, "f:ipFamilyPolicy"));
    web["spec"].as_object_mut().expect("a spec").remove("ipFamilies");
    let put = admin.put(&format!("{ALL}/web"), &web).await.expect(200);
    assert_eq!(put["spec"]["ipFamilies"], json!(["IPv4"]));
    assert!(!owned(&put, "f:ipFamilies") && owned(&put, "f:ipFamilyPolicy"));
}

/// What is wrong with addresses and families is told alone: the allocators look at it first.
#[tokio::test]
async fn wrong_families() {
    let cluster = TestCluster::start().await;
    let admin = cluster.admin();
    let mut web = service("web", "Unheard");
    web["spec"]["ports"][0]["port"] = json!(0);
    web["spec"]["ipFamilies"] = json!(["IPv5"]);
    let causes = admin.post(ALL, &web).await.json()["details"]["causes"].clone();
    assert_eq!(causes.as_array().map(Vec::len), Some(1), "{causes}");
    assert_eq!(causes[0]["field"], "spec.ipFamilies[0]");
}
