//! Who may what: questions, tokens, certificates; and nodes.

use std::process::Command;

use pilothouse_e2e::eventually;

use super::Kubectl;

pub fn work(k: &Kubectl<'_>) {
    k.expect("auth can-i create pods", "yes");
    k.refused("auth can-i create pods --as=nobody", None, "no");
    k.expect("auth can-i --list", "selfsubjectaccessreviews");
    if k.minor() >= 28 {
        k.expect("auth whoami", "system:masters");
    }
    let role = format!(
        "apiVersion: rbac.authorization.k8s.io/v1\nkind: Role\nmetadata: {{name: seen, namespace: {}}}\nrules: [{{apiGroups: [''], resources: [pods], verbs: [get]}}]\n",
        k.namespace
    );
    assert!(k.feed("auth reconcile -f -", &role).contains("seen reconciled"));
    eventually("the namespace has its account", || {
        let (ok, text) = k.output("create token default", None);
        if ok && text.trim().split('.').count() == 3 { Ok(()) } else { Err(text) }
    });
    certificate(k);
    nodes(k);
}

fn certificate(k: &Kubectl<'_>) {
    let openssl = "openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout /dev/null -subj /CN=bob/O=dev 2>/dev/null | base64 -w0";
    let request = Command::new("sh").args(["-c", openssl]).output().unwrap();
    let request = String::from_utf8(request.stdout).unwrap();
    let name = &k.namespace;
    let csr = format!(
        "apiVersion: certificates.k8s.io/v1\nkind: CertificateSigningRequest\nmetadata: {{name: {name}}}\nspec: {{request: {request}, signerName: kubernetes.io/kube-apiserver-client, usages: [client auth]}}\n"
    );
    k.feed("create -f -", &csr);
    k.expect(&format!("get csr {name}"), "Pending");
    k.run(&format!("certificate approve {name}"));
    eventually("the certificate is issued", || {
        let text = k.run(&format!("get csr {name}"));
        if text.contains("Approved,Issued") { Ok(()) } else { Err(text) }
    });
    k.run(&format!("delete csr {name}"));
}

/// On a node that no pod of another test needs while this one looks.
fn nodes(k: &Kubectl<'_>) {
    let node = k.run("get nodes -o jsonpath={.items[-1:].metadata.name}");
    k.run(&format!("taint nodes {node} looked=at:PreferNoSchedule"));
    k.run(&format!("taint nodes {node} looked-"));
    k.run(&format!("cordon {node}"));
    k.expect("get nodes", "SchedulingDisabled");
    k.expect(&format!("drain {node} --pod-selector=none=here --timeout=30s"), "drained");
    k.run(&format!("uncordon {node}"));
}
