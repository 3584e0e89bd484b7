//! Services and DNS between nodes.

use pilothouse_e2e::{Cluster, eventually, name};

#[test]
fn every_node_reaches_every_pod_by_every_way() {
    let cluster = Cluster::get();
    let space = cluster.namespace("e2e-network");
    let nodes: Vec<String> = cluster.json("get nodes")["items"].as_array().unwrap().iter().map(name).collect();
    for (index, node) in nodes.iter().enumerate() {
        space.apply(&format!(
            "---\n{{apiVersion: v1, kind: Pod, metadata: {{name: web-{index}, labels: {{app: web}}}}, spec: {{nodeName: {node}, \
             terminationGracePeriodSeconds: 0, containers: [{{name: web, image: 'pilothouse.local/demo:1', ports: \
             [{{containerPort: 8080, name: http}}]}}]}}}}"
        ));
    }
    space.apply(
        "---\n{apiVersion: v1, kind: Service, metadata: {name: web}, spec: {selector: {app: web}, ports: [{name: http, port: 80, targetPort: http}]}}",
    );
    space.apply(
        "---\n{apiVersion: v1, kind: Service, metadata: {name: direct}, spec: {clusterIP: None, selector: {app: web}, ports: [{name: http, port: 8080}]}}",
    );
    let pods = space.wait_pods("app=web", nodes.len());
    for from in &pods {
        for to in &pods {
            let ip = to["status"]["podIP"].as_str().unwrap();
            let url = format!("http://{ip}:8080/version");
            eventually(&format!("{} reaches {}", name(from), name(to)), || {
                let output = space.try_kubectl(&format!("exec {} -- wget -qO- {url}", name(from)));
                if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).into_owned()) }
            });
        }
        eventually("the service, by name", || {
            let output = space.try_kubectl(&format!("exec {} -- wget -qO- http://web/version", name(from)));
            if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).into_owned()) }
        });
        // A headless name gives every pod's address.
        eventually("the headless name", || {
            let output =
                space.try_kubectl(&format!("exec {} -- nslookup direct.e2e-network.svc.cluster.local", name(from)));
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            if pods.iter().all(|pod| text.contains(pod["status"]["podIP"].as_str().unwrap())) {
                Ok(())
            } else {
                Err(text)
            }
        });
    }
    space.delete();
}
