//! Administrators' access to devices is for namespaces that are labelled for it.

use serde_json::{Value, json};

use crate::support::TestCluster;

const CLAIMS: &str = "/apis/resource.k8s.io/v1/namespaces/default/resourceclaims";
const TEMPLATES: &str = "/apis/resource.k8s.io/v1/namespaces/default/resourceclaimtemplates";
const REFUSED: &str = "Forbidden: admin access to devices requires the `resource.kubernetes.io/admin-access: true` label on the containing namespace";

fn spec(admin_access: bool) -> Value {
    json!({"devices": {"requests": [
        {"name": "r", "exactly": {"deviceClassName": "c", "adminAccess": admin_access, "tolerations": [{"key": "k"}]}}]}})
}

fn claim(name: &str, admin_access: bool) -> Value {
    json!({"apiVersion": "resource.k8s.io/v1", "kind": "ResourceClaim", "metadata": {"name": name}, "spec": spec(admin_access)})
}

#[tokio::test]
async fn administrators() {
    let cluster = TestCluster::start().await;
    let admin = cluster.admin();
    let template = json!({"apiVersion": "resource.k8s.io/v1", "kind": "ResourceClaimTemplate",
        "metadata": {"name": "t"}, "spec": {"spec": spec(true)}});
    for (all, object) in [(CLAIMS, &claim("a", true)), (TEMPLATES, &template)] {
        let cause = admin.post(all, object).await.json()["details"]["causes"][0].clone();
        assert_eq!(cause["field"], "spec.devices.requests[0].adminAccess");
        assert_eq!(cause["message"], REFUSED);
    }
    let mut plain = admin.create(CLAIMS, &claim("a", false)).await;
    assert_eq!(plain["spec"]["devices"]["requests"][0]["exactly"]["tolerations"][0]["operator"], "Equal");
    plain["status"] = json!({"allocation": {"devices": {"results": [
        {"request": "r", "driver": "d.example.com", "pool": "p", "device": "d", "adminAccess": true}]}}});
    let status = format!("{CLAIMS}/a/status");
    let cause = admin.put(&status, &plain).await.json()["details"]["causes"][0].clone();
    assert_eq!(cause["field"], "status.allocation.devices.results[0].adminAccess");
    assert_eq!(cause["message"], REFUSED);

    let mut namespace = admin.get("/api/v1/namespaces/default").await.expect(200);
    namespace["metadata"]["labels"]["resource.kubernetes.io/admin-access"] = json!("true");
    admin.put("/api/v1/namespaces/default", &namespace).await.expect(200);
    admin.put(&status, &plain).await.expect(200);
    admin.create(CLAIMS, &claim("b", true)).await;
    admin.create(TEMPLATES, &template).await;
}
