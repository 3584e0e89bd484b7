//! PostgreSQL goes away and comes back.

use std::time::Duration;

use pilothouse_storage::testing::TestPostgres;
use serde_json::json;

use crate::support::{TestCluster, config_map};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

#[tokio::test]
async fn an_unreachable_database() {
    let postgres = TestPostgres::start().await;
    let mut config = pilothouse_storage::Config::new(postgres.database().await);
    config.write_timeout = Duration::from_secs(2);
    config.outage_grace = Duration::from_millis(200);
    let cluster = TestCluster::with(config).await;
    let admin = cluster.admin();
    admin.create(MAPS, &config_map("a", &json!({}))).await;
    let (b, c) = (config_map("b", &json!({})), config_map("c", &json!({})));
    postgres.kill().await;
    let write = cluster.eventually(|| admin.post(MAPS, &b), |reply| reply.status == 503);
    let write = write.await;
    assert_eq!(write.said(), "503 ServiceUnavailable");
    assert!(!write.header("retry-after").is_empty());
    // Who takes what there is gets it; who wants the newest is told.
    admin.get(&format!("{MAPS}/a?resourceVersion=0")).await.expect(200);
    admin.get(&format!("{MAPS}?resourceVersion=0")).await.expect(200);
    assert_eq!(admin.get(&format!("{MAPS}/a")).await.status, 503);
    assert_eq!(admin.get("/livez").await.status, 200);
    assert_eq!(admin.get("/readyz").await.status, 500);
    postgres.restart().await;
    let back = cluster.eventually(|| admin.post(MAPS, &c), |reply| matches!(reply.status, 201 | 409));
    back.await;
    assert_eq!(admin.get("/readyz").await.status, 200);
}
