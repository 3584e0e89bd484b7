//! Lists: selectors, pages, the rules of resourceVersion.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use crate::support::{TestCluster, config_map, names, pod, revision};

const MAPS: &str = "/api/v1/namespaces/lists/configmaps";

async fn filled(count: usize) -> TestCluster {
    let cluster = TestCluster::start().await;
    cluster.namespace("lists").await;
    for n in 0..count {
        let mut object = config_map(&format!("m{n:02}"), &json!({}));
        object["metadata"]["labels"] = json!({"parity": if n % 2 == 0 { "even" } else { "odd" }, "n": n.to_string()});
        cluster.admin().create(MAPS, &object).await;
    }
    cluster
}

#[tokio::test]
async fn selectors() {
    let cluster = filled(6).await;
    let admin = cluster.admin();
    for (query, expected) in [
        ("labelSelector=parity%3Deven", vec!["m00", "m02", "m04"]),
        ("labelSelector=parity!%3Deven,n+in+(1,3)", vec!["m01", "m03"]),
        ("labelSelector=!parity", vec![]),
        ("fieldSelector=metadata.name%3Dm03", vec!["m03"]),
        ("fieldSelector=metadata.name!%3Dm03&labelSelector=parity%3Dodd", vec!["m01", "m05"]),
        ("fieldSelector=metadata.namespace%3Dother", vec![]),
    ] {
        assert_eq!(names(&admin.get(&format!("{MAPS}?{query}")).await.expect(200)), expected, "{query}");
    }
    let everywhere = admin.get("/api/v1/configmaps?fieldSelector=metadata.namespace%3Dlists").await.expect(200);
    assert_eq!(everywhere["items"].as_array().unwrap().len(), 6);
    assert_eq!(everywhere["kind"], "ConfigMapList");
    for bad in ["labelSelector=a+b+c", "fieldSelector=spec.x%3D1", "limit=many", "resourceVersion=x", "continue=zzz"] {
        assert_eq!(admin.get(&format!("{MAPS}?{bad}")).await.status, 400, "{bad}");
    }

    let pods = "/api/v1/namespaces/lists/pods";
    let mut bound = pod("bound");
    bound["spec"]["nodeName"] = json!("n1");
    admin.create(pods, &bound).await;
    admin.create(pods, &pod("free")).await;
    assert_eq!(names(&admin.get(&format!("{pods}?fieldSelector=spec.nodeName%3Dn1")).await.expect(200)), ["bound"]);
    assert_eq!(names(&admin.get(&format!("{pods}?fieldSelector=spec.nodeName%3D")).await.expect(200)), ["free"]);
    let unknown = admin.get(&format!("{pods}?fieldSelector=spec.x%3D1")).await;
    assert_eq!(unknown.message(), "field label not supported: spec.x");

    // Events have other field names in their own group; what is stored is the core group's.
    let event = json!({"apiVersion": "v1", "kind": "Event", "metadata": {"name": "e"}, "reportingComponent": "me",
        "involvedObject": {"kind": "Pod", "name": "bound", "namespace": "lists"}, "reason": "Seen", "type": "Normal"});
    admin.create("/api/v1/namespaces/lists/events", &event).await;
    let (core, own) = ("/api/v1/namespaces/lists/events", "/apis/events.k8s.io/v1/namespaces/lists/events");
    for (path, field, found) in [
        (core, "reportingComponent%3Dme,involvedObject.name%3Dbound", 1),
        (core, "involvedObject.name%3Dfree", 0),
        (own, "reportingController%3Dme,regarding.name%3Dbound", 1),
        (own, "regarding.name%3Dfree", 0),
    ] {
        let list = admin.get(&format!("{path}?fieldSelector={field}")).await.expect(200);
        assert_eq!(names(&list).len(), found, "{path} {field}");
    }
    assert_eq!(admin.get(&format!("{own}?fieldSelector=involvedObject.name%3Dbound")).await.status, 400);
}

fn token(list: &Value) -> String {
    list["metadata"]["continue"].as_str().unwrap_or_default().to_owned()
}

#[tokio::test]
async fn pages_are_of_one_moment() {
    let cluster = filled(7).await;
    let admin = cluster.admin();
    let first = admin.get(&format!("{MAPS}?limit=3")).await.expect(200);
    assert_eq!(names(&first), ["m00", "m01", "m02"]);
    assert_eq!(first["metadata"]["remainingItemCount"], 4);
    // What happens meanwhile is not part of this list.
    admin.delete(&format!("{MAPS}/m04")).await.expect(200);
    admin.create(MAPS, &config_map("m035", &json!({}))).await;
    let second = admin.get(&format!("{MAPS}?limit=3&continue={}", token(&first))).await.expect(200);
    assert_eq!(names(&second), ["m03", "m04", "m05"]);
    assert_eq!(revision(&second), revision(&first));
    let third = admin.get(&format!("{MAPS}?limit=3&continue={}", token(&second))).await.expect(200);
    assert_eq!(names(&third), ["m06"]);
    assert_eq!(third["metadata"].get("continue"), None);
    assert_eq!(third["metadata"].get("remainingItemCount"), None);
    let selected = admin.get(&format!("{MAPS}?limit=1&labelSelector=parity%3Dodd")).await.expect(200);
    assert_eq!(selected["metadata"].get("remainingItemCount"), None);
    assert!(!token(&selected).is_empty());
}

#[tokio::test]
async fn a_page_that_comes_too_late() {
    let cluster = filled(4).await;
    let admin = cluster.admin();
    let first = admin.get(&format!("{MAPS}?limit=2")).await.expect(200);
    for n in 0..5 {
        admin.create(MAPS, &config_map(&format!("later{n}"), &json!({}))).await;
    }
    cluster.store.compact(cluster.store.revision()).await.unwrap();
    // Another backend has nothing of that time in memory.
    let other = TestCluster::on(cluster.url.clone()).await;
    let admin = other.admin();
    let late = admin.get(&format!("{MAPS}?limit=2&continue={}", token(&first))).await;
    assert_eq!(late.said(), "410 Expired");
    let exact = format!("{MAPS}?resourceVersion={}&resourceVersionMatch=Exact", revision(&first));
    let exact = admin.get(&exact).await;
    assert_eq!(exact.said(), "410 Expired");
    assert_eq!(exact.message(), "The resourceVersion for the provided list is too old.");
    // The token in the answer goes on, though not of one moment.
    let rest = late.json()["metadata"]["continue"].as_str().map(str::to_owned).expect("a token to go on with");
    let rest = admin.get(&format!("{MAPS}?continue={rest}")).await.expect(200);
    assert_eq!(names(&rest), ["m02", "m03"]);
    // So does one that is too old, though nothing has been compacted.
    let old = json!({"v": "meta.k8s.io/v1", "rv": revision(&first), "begun": 1_000_000_000, "start": "lists/m01"});
    let old = URL_SAFE_NO_PAD.encode(old.to_string());
    let late = cluster.admin().get(&format!("{MAPS}?limit=2&continue={old}")).await;
    assert_eq!(late.said(), "410 Expired");
    let rest = late.json()["metadata"]["continue"].as_str().map(str::to_owned).expect("a token to go on with");
    let rest = admin.get(&format!("{MAPS}?limit=1&continue={rest}")).await.expect(200);
    assert_eq!((names(&rest), token(&rest).is_empty()), (vec!["m02"], false));
    for (bad, why) in [
        ("%21%21", "invalid continue token: continue key is not valid: "),
        // {"v":"meta.k8s.io/v1","rv":0,"start":"a/b"} and {"v":"other","rv":1,"start":"a/b"}
        ("eyJ2IjoibWV0YS5rOHMuaW8vdjEiLCJydiI6MCwic3RhcnQiOiJhL2IifQ", "incorrect encoded start resourceVersion"),
        ("eyJ2Ijoib3RoZXIiLCJydiI6MSwic3RhcnQiOiJhL2IifQ", "server does not recognize this encoded version other"),
    ] {
        let reply = admin.get(&format!("{MAPS}?continue={bad}")).await;
        assert_eq!(reply.said(), "400 BadRequest");
        assert!(reply.message().contains(why), "{}", reply.message());
    }
}

#[tokio::test]
async fn revisions() {
    let cluster = filled(2).await;
    let admin = cluster.admin();
    let then = revision(&admin.get(MAPS).await.expect(200));
    admin.create(MAPS, &config_map("new", &json!({}))).await;
    let exact = admin.get(&format!("{MAPS}?resourceVersion={then}&resourceVersionMatch=Exact")).await.expect(200);
    assert_eq!(names(&exact), ["m00", "m01"]);
    assert_eq!(revision(&exact), then);
    let newer =
        admin.get(&format!("{MAPS}?resourceVersion={then}&resourceVersionMatch=NotOlderThan")).await.expect(200);
    assert_eq!(newer["items"].as_array().unwrap().len(), 3);
    assert_eq!(names(&admin.get(&format!("{MAPS}?resourceVersion=0")).await.expect(200)).len(), 3);
    let future = admin.get(&format!("{MAPS}?resourceVersion=999999999")).await;
    assert_eq!(future.said(), "504 Timeout");
    assert_eq!(future.json()["details"]["causes"][0]["reason"], "ResourceVersionTooLarge");
    // A page is of exactly the revision it names, as if that had been asked for.
    let page = admin.get(&format!("{MAPS}?resourceVersion={then}&limit=5")).await.expect(200);
    assert_eq!((names(&page), revision(&page)), (vec!["m00", "m01"], then));
    for (query, why) in [
        (
            "resourceVersionMatch=Exact",
            "resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden unless resourceVersion is provided",
        ),
        (
            "resourceVersion=0&resourceVersionMatch=Exact",
            "resourceVersionMatch: Forbidden: resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"",
        ),
        (
            "resourceVersion=1&resourceVersionMatch=Roughly",
            "resourceVersionMatch: Unsupported value: \"Roughly\": supported values: \"Exact\", \"NotOlderThan\", \"\"",
        ),
        ("sendInitialEvents=true", "sendInitialEvents: Forbidden: sendInitialEvents is forbidden for list"),
    ] {
        let reply = admin.get(&format!("{MAPS}?{query}")).await;
        assert_eq!(reply.status, 422, "{query}: {}", reply.text());
        assert_eq!(reply.message(), format!("ListOptions.meta.k8s.io \"\" is invalid: {why}"), "{query}");
    }
}

#[tokio::test]
async fn long_lists_stream_and_shrink() {
    let cluster = filled(1).await;
    let admin = cluster.admin();
    let text: String = (0..20_000).map(|n| format!("{n} ")).collect();
    for n in 0..3 {
        admin.create(MAPS, &config_map(&format!("big{n}"), &json!({"text": text}))).await;
    }
    let plain = admin.get(MAPS).await;
    assert_eq!(names(&plain.json()).len(), 4);
    // Only the socket's clients get gzip; these are in process.
    assert_eq!(plain.header("content-encoding"), "");
}

#[tokio::test]
async fn a_selector_of_nothing_selects_everything() {
    let cluster = filled(2).await;
    let admin = cluster.admin();
    let all = admin.get(&format!("{MAPS}?fieldSelector=%3D")).await.expect(200);
    assert_eq!(names(&all), ["m00", "m01"]);
    let wrong = admin.get(&format!("{MAPS}?labelSelector=a%3D-")).await;
    assert!(wrong.message().contains("values[0][a]: Invalid value: \"-\""), "{}", wrong.message());
}
