//! Services and DNS between nodes.

use pilothouse_e2e::{Cluster, Namespace, eventually, name};

/// A client's answer, or what it said instead of one.
fn fetch(space: &Namespace<'_>, from: &str, url: &str) -> Result<String, String> {
    let output = space.try_kubectl(&format!("exec {from} -- busybox timeout 5 wget -qO- {url}"));
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    if output.status.success() { Ok(out.trim().to_owned()) } else { Err(err.into_owned()) }
}

/// The pod that answered.
fn who(space: &Namespace<'_>, from: &str, url: &str) -> Result<String, String> {
    let text = fetch(space, from, url)?;
    let answer: serde_json::Value = serde_json::from_str(&text).map_err(|error| format!("{error}: {text}"))?;
    Ok(answer["pod"].as_str().unwrap_or_default().to_owned())
}

/// One web pod on every node, `web-1` on `node-1` and so on.
fn one_on_each_node(space: &Namespace<'_>) -> Vec<serde_json::Value> {
    let nodes: Vec<String> = space.cluster.json("get nodes")["items"].as_array().unwrap().iter().map(name).collect();
    for node in &nodes {
        space.apply(&format!(
            "---\n{{apiVersion: v1, kind: Pod, metadata: {{name: web-{node}, labels: {{app: web}}}}, spec: {{nodeName: {node}, \
             hostname: web-{node}, subdomain: direct, terminationGracePeriodSeconds: 0, containers: [{{name: web, image: \
             'pilothouse.local/demo:1', ports: [{{containerPort: 8080, name: http}}]}}]}}}}"
        ));
    }
    space.wait_pods("app=web", nodes.len())
}

#[test]
fn every_node_reaches_every_pod_by_every_way() {
    let cluster = Cluster::get();
    let space = cluster.namespace("e2e-network");
    let pods = one_on_each_node(&space);
    space.apply(
        "---\n{apiVersion: v1, kind: Service, metadata: {name: web}, spec: {selector: {app: web}, ports: [{name: http, port: 80, targetPort: http}]}}",
    );
    space.apply(
        "---\n{apiVersion: v1, kind: Service, metadata: {name: direct}, spec: {clusterIP: None, selector: {app: web}, ports: [{name: http, port: 8080}]}}",
    );
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

#[test]
fn services_of_every_kind() {
    let cluster = Cluster::get();
    let space = cluster.namespace("e2e-services");
    space.apply(
        "
{apiVersion: v1, kind: Service, metadata: {name: sticky}, spec: {selector: {app: web}, sessionAffinity: ClientIP,
  ports: [{port: 80, targetPort: http}]}}
---
{apiVersion: v1, kind: Service, metadata: {name: near}, spec: {type: NodePort, selector: {app: web},
  internalTrafficPolicy: Local, externalTrafficPolicy: Local, ports: [{port: 80, targetPort: http}]}}
---
{apiVersion: v1, kind: Service, metadata: {name: wide}, spec: {type: NodePort, selector: {app: web},
  externalIPs: [203.0.113.7], ports: [{name: a, port: 80, targetPort: http}, {name: b, port: 81, targetPort: 8080}]}}
---
{apiVersion: v1, kind: Service, metadata: {name: direct}, spec: {clusterIP: None, selector: {app: web},
  ports: [{name: http, port: 8080}]}}
---
{apiVersion: v1, kind: Service, metadata: {name: nobody}, spec: {selector: {app: none}, ports: [{port: 80}]}}
---
{apiVersion: v1, kind: Service, metadata: {name: byhand}, spec: {ports: [{port: 80, targetPort: 8080}]}}
---
{apiVersion: v1, kind: Service, metadata: {name: elsewhere}, spec: {type: ExternalName,
  externalName: wide.e2e-services.svc.cluster.local}}
",
    );
    let pods = one_on_each_node(&space);
    let ip = pods[0]["status"]["podIP"].as_str().unwrap();
    space.apply(&format!(
        "{{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: {{name: byhand-1, labels: \
         {{kubernetes.io/service-name: byhand}}}}, addressType: IPv4, ports: [{{port: 8080}}], endpoints: [{{addresses: ['{ip}']}}]}}"
    ));
    let names: Vec<String> = pods.iter().map(name).collect();
    let from = &names[0];
    let port = |service: &str| space.json(&format!("get service {service}"))["spec"]["ports"][0]["nodePort"].clone();
    let (wide, near) = (port("wide"), port("near"));

    for url in
        ["http://wide", "http://wide:81", "http://203.0.113.7", "http://elsewhere", "http://byhand", "http://sticky"]
    {
        eventually(url, || fetch(&space, from, &format!("{url}/version")));
    }
    // One client stays with one pod, many requests reach every pod.
    let first = eventually("the sticky service", || who(&space, from, "http://sticky"));
    for _ in 0..5 {
        assert_eq!(who(&space, from, "http://sticky").as_ref(), Ok(&first));
    }
    let mut missing: std::collections::BTreeSet<String> = names.iter().cloned().collect();
    eventually("every pod has answered", || {
        missing.remove(&who(&space, from, "http://wide")?);
        if missing.is_empty() { Ok(()) } else { Err(format!("{missing:?}")) }
    });
    for pod in &pods {
        let (own, node_ip) = (name(pod), pod["status"]["hostIP"].as_str().unwrap());
        // What must stay on its node does, from inside and from outside.
        assert_eq!(eventually("the near service", || who(&space, &own, "http://near")), own);
        let outside = format!("http://{node_ip}:{near}");
        let seen = eventually(&outside, || who(&space, from, &outside));
        if &own != from {
            assert_eq!(seen, own, "{outside}");
        }
        eventually("the node port", || fetch(&space, from, &format!("http://{node_ip}:{wide}/version")));
        let host = format!("http://{own}.direct.e2e-services.svc.cluster.local:8080");
        assert_eq!(eventually(&host, || who(&space, from, &host)), own);
    }
    let refused = fetch(&space, from, "http://nobody").unwrap_err();
    assert!(refused.contains("Connection refused"), "{refused}");
    let unknown = fetch(&space, from, "http://unknown").unwrap_err();
    assert!(unknown.contains("bad address"), "{unknown}");
    // A pod reaches itself through its Service.
    space.kubectl(&format!("label pod {from} alone=yes"));
    space.kubectl(&format!("expose pod {from} --name=itself --selector=alone=yes --port=80 --target-port=8080"));
    assert_eq!(&eventually("itself", || who(&space, from, "http://itself")), from);
    space.delete();
}
