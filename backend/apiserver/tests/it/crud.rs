//! Create, read, update: what every object gets, and what is refused.

use serde_json::json;

use crate::support::{TestCluster, config_map, deployment, names, revision};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

#[tokio::test]
async fn an_object_from_first_to_last() {
    let cluster = TestCluster::start().await;
    let admin = cluster.admin();
    let made = admin.create(MAPS, &config_map("a", &json!({"k": "1"}))).await;
    let metadata = &made["metadata"];
    assert_eq!(metadata["namespace"], "default");
    assert!(metadata["uid"].as_str().is_some_and(|uid| uid.len() == 36), "{metadata}");
    assert!(metadata["creationTimestamp"].as_str().is_some_and(|time| time.ends_with('Z') && time.len() == 20));
    assert!(metadata.get("selfLink").is_none());
    assert_eq!(metadata["managedFields"][0]["fieldsV1"]["f:data"], json!({".": {}, "f:k": {}}));

    let path = format!("{MAPS}/a");
    assert_eq!(admin.get(&path).await.expect(200), made);
    let mut changed = made.clone();
    changed["data"]["k"] = json!("2");
    let updated = admin.put(&path, &changed).await.expect(200);
    assert_eq!(updated["data"]["k"], "2");
    assert!(revision(&updated) > revision(&made));
    assert_eq!(updated["metadata"]["uid"], made["metadata"]["uid"]);

    // The same again is no write.
    assert_eq!(revision(&admin.put(&path, &updated).await.expect(200)), revision(&updated));

    let stale = admin.put(&path, &made).await;
    assert_eq!(stale.said(), "409 Conflict");
    assert_eq!(
        stale.message(),
        "Operation cannot be fulfilled on configmaps \"a\": the object has been modified; please apply your changes to \
         the latest version and try again"
    );

    let gone = admin.delete(&path).await.expect(200);
    assert_eq!((&gone["kind"], &gone["status"]), (&json!("Status"), &json!("Success")));
    assert_eq!(gone["details"]["uid"], made["metadata"]["uid"]);
    let missing = admin.get(&path).await;
    assert_eq!(missing.said(), "404 NotFound");
    assert_eq!(missing.message(), "configmaps \"a\" not found");
}
