//! Every way to change an object.

use super::{DEPLOYMENT, Kubectl};

pub fn work(k: &Kubectl<'_>) {
    applying(k);
    patching(k);
    setting(k);
    rolling(k);
    edit(k);
    leaving(k);
}

fn applying(k: &Kubectl<'_>) {
    let map = "\n---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: pruned, labels: {set: one}}\n";
    k.feed("apply -f -", &format!("{DEPLOYMENT}{map}"));
    k.expect("get configmap pruned -o name", "configmap/pruned");
    let pruned = k.feed("apply -f - --prune -l set=one --prune-allowlist=core/v1/ConfigMap", DEPLOYMENT);
    assert!(pruned.contains("configmap/pruned pruned"), "{pruned}");
    let two = DEPLOYMENT.replace("replicas: 1", "replicas: 2");
    k.feed("apply -f - --dry-run=server", &two);
    k.expect("get deployment web -o jsonpath={.spec.replicas}", "1");
    k.feed("apply --server-side -f -", DEPLOYMENT);
    let conflict = "Apply failed with 1 conflict: conflict with \"kubectl\": .spec.replicas";
    k.refused("apply --server-side --field-manager=other -f -", Some(&two), conflict);
    k.feed("apply --server-side --field-manager=other --force-conflicts -f -", &two);
    k.expect("get deployment web -o yaml --show-managed-fields", "manager: other");
    k.expect("apply view-last-applied deployment/web", "replicas: 1");
    k.feed("replace -f -", DEPLOYMENT);
    k.feed("replace --force -f -", DEPLOYMENT);
    k.run("rollout status deployment/web --timeout=120s");
}

fn patching(k: &Kubectl<'_>) {
    k.run("patch deployment web --type=json -p [{\"op\":\"add\",\"path\":\"/metadata/labels/j\",\"value\":\"1\"}]");
    k.run("patch deployment web -p {\"spec\":{\"template\":{\"spec\":{\"containers\":[{\"name\":\"demo\",\"env\":[{\"name\":\"A\",\"value\":\"b\"}]}]}}}}");
    k.expect("get deployment web -o jsonpath={.spec.template.spec.containers[0].image}", "pilothouse.local/demo:1");
    let fails =
        "patch deployment web --type=json -p [{\"op\":\"test\",\"path\":\"/metadata/labels/j\",\"value\":\"2\"}]";
    k.refused(fails, None, "The request is invalid");
    k.refused("patch deployment web --type=merge -p {\"spec\":{\"replicas\":\"x\"}}", None, "cannot unmarshal string");
    k.refused("patch deployment web -p {\"spec\":{\"replicas\":-1}}", None, "must be greater than or equal to 0");
    k.expect("patch deployment web -p {\"spec\":{\"nope\":1}}", "unknown field \"spec.nope\"");
    k.run("patch deployment web --subresource=scale --type=merge -p {\"spec\":{\"replicas\":2}}");
    k.expect("get deployment web --subresource=scale -o jsonpath={.status.selector}", "app=web");
    k.refused("scale deployment web --replicas=3 --current-replicas=5", None, "xpected replicas to be 5, was 2");
    k.run("scale deployment web --replicas=1");
}

fn setting(k: &Kubectl<'_>) {
    k.run("set env deployment/web B=c");
    k.expect("set env deployment/web --list", "B=c");
    k.run("set resources deployment/web --limits=cpu=500m,memory=64Mi");
    k.run("create service clusterip selecting --tcp=80:8080");
    k.run("set selector service selecting x=y");
    k.run("label deployment web z=1");
    k.refused("label deployment web z=2", None, "'z' already has a value (1), and --overwrite is false");
    k.run("label deployment web z=2 --overwrite");
    k.run("label deployment web z-");
    k.run("annotate deployment web note=kept");
    k.run("autoscale deployment web --min=1 --max=3");
    k.expect("get hpa", "Deployment/web");
    k.run("delete hpa web");
}

fn rolling(k: &Kubectl<'_>) {
    k.run("rollout pause deployment/web");
    k.refused("rollout pause deployment/web", None, "is already paused");
    k.run("set image deployment/web demo=pilothouse.local/demo:2");
    k.run("rollout resume deployment/web");
    k.run("rollout status deployment/web --timeout=120s");
    k.expect("rollout history deployment/web", "REVISION");
    k.run("rollout undo deployment/web");
    k.refused("rollout undo deployment/web --to-revision=99", None, "unable to find specified revision 99");
    k.run("rollout restart deployment/web");
    k.run("rollout status deployment/web --timeout=120s");
    k.run("wait deployment/web --for=condition=Available --timeout=60s");
    k.run("wait deployment/web --for=jsonpath={.spec.replicas}=1 --timeout=30s");
    k.refused("wait deployment/web --for=delete --timeout=1s", None, "timed out waiting for the condition");
}

/// With an editor that changes a label, and one that breaks the object.
fn edit(k: &Kubectl<'_>) {
    let with = |editor: &str| {
        let output = k.command("edit deployment web").env("KUBE_EDITOR", editor).output().unwrap();
        (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (ok, text) = with("sed -i s/set:.one/set:\\ two/");
    assert!(ok, "{text}");
    k.expect("get deployment -l set=two -o name", "deployment.apps/web");
    let (ok, text) = with("sed -i s/replicas:.1$/replicas:\\ -1/");
    assert!(!ok && text.contains("deployments.apps \"web\" is invalid"), "{text}");
}

fn leaving(k: &Kubectl<'_>) {
    k.run("run one --image=pilothouse.local/demo:1 --restart=Never --labels=x=y");
    k.run("expose pod one --port=80 --target-port=8080");
    k.run("wait pod/one --for=condition=Ready --timeout=120s");
    k.run("delete pod one --now --wait=true --timeout=60s");
    let held = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: held, finalizers: [example.com/hold]}\n";
    k.feed("create -f -", held);
    k.run("delete configmap held --wait=false");
    k.expect("get configmap held -o jsonpath={.metadata.deletionTimestamp}", "Z");
    k.run("patch configmap held --type=merge -p {\"metadata\":{\"finalizers\":null}}");
    k.refused("get configmap held", None, "configmaps \"held\" not found");
    k.run("delete deployment web --cascade=orphan");
    k.expect("get replicasets -l app=web -o name", "replicaset.apps/web-");
    k.run("delete replicasets -l app=web --cascade=foreground --timeout=60s");
    k.refused("delete pod missing", None, "pods \"missing\" not found");
}
