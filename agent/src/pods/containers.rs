//! A pod's containers by what they are for, and when one of them is started again. Pure.

use k8s_openapi::api::core::v1::{Container, EphemeralContainer, PodSpec};
use sha2::{Digest, Sha256};

use super::resources::is_sidecar;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Runs to its end before anything after it starts.
    Init,
    /// An init container that keeps running (`restartPolicy: Always`).
    Sidecar,
    Main,
    /// Added to a running pod, for looking into it.
    Ephemeral,
}

/// All of a pod's containers: init containers first, in order, then the others.
pub fn all(spec: &PodSpec) -> impl Iterator<Item = (Kind, Container)> + '_ {
    let init = spec.init_containers.iter().flatten().map(|c| (init_kind(c), c.clone()));
    let main = spec.containers.iter().map(|c| (Kind::Main, c.clone()));
    let ephemeral = spec.ephemeral_containers.iter().flatten().map(|c| (Kind::Ephemeral, plain(c)));
    init.chain(main).chain(ephemeral)
}

#[must_use]
pub fn init_kind(container: &Container) -> Kind {
    if is_sidecar(container) { Kind::Sidecar } else { Kind::Init }
}

#[must_use]
pub fn find(spec: &PodSpec, name: &str) -> Option<(Kind, Container)> {
    all(spec).find(|(_, container)| container.name == name)
}

/// Where a container is found in its pod, as events say it.
#[must_use]
pub fn field_path(kind: Kind, name: &str) -> String {
    let list = match kind {
        Kind::Init | Kind::Sidecar => "initContainers",
        Kind::Main => "containers",
        Kind::Ephemeral => "ephemeralContainers",
    };
    format!("spec.{list}{{{name}}}")
}

fn plain(ephemeral: &EphemeralContainer) -> Container {
    let e = ephemeral.clone();
    Container {
        args: e.args,
        command: e.command,
        env: e.env,
        env_from: e.env_from,
        image: e.image,
        image_pull_policy: e.image_pull_policy,
        lifecycle: e.lifecycle,
        liveness_probe: e.liveness_probe,
        name: e.name,
        ports: e.ports,
        readiness_probe: e.readiness_probe,
        resize_policy: e.resize_policy,
        resources: e.resources,
        restart_policy: e.restart_policy,
        restart_policy_rules: e.restart_policy_rules,
        security_context: e.security_context,
        startup_probe: e.startup_probe,
        stdin: e.stdin,
        stdin_once: e.stdin_once,
        termination_message_path: e.termination_message_path,
        termination_message_policy: e.termination_message_policy,
        tty: e.tty,
        volume_devices: e.volume_devices,
        volume_mounts: e.volume_mounts,
        working_dir: e.working_dir,
    }
}

/// What a running container was made from, as far as it may change: its image.
#[must_use]
pub fn hash(container: &Container) -> String {
    let mut digest = Sha256::new();
    digest.update(&container.name);
    digest.update([0]);
    digest.update(container.image.as_deref().unwrap_or_default());
    digest.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

/// Whether a container that ended with this code is started again.
#[must_use]
pub fn restarts(spec: &PodSpec, kind: Kind, container: &Container, exit_code: i32) -> bool {
    if kind == Kind::Sidecar {
        return true;
    }
    let rules = container.restart_policy_rules.iter().flatten();
    let mut rules = rules.filter(|rule| rule.action == "Restart").filter_map(|rule| rule.exit_codes.as_ref());
    let told = rules.any(|codes| {
        let listed = codes.values.iter().flatten().any(|code| *code == exit_code);
        listed == (codes.operator == "In")
    });
    if told {
        return true;
    }
    let policy = container.restart_policy.as_deref().or(spec.restart_policy.as_deref()).unwrap_or("Always");
    match (kind, policy) {
        (Kind::Ephemeral, _) | (_, "Never") => false,
        (Kind::Main, "Always") => true,
        _ => exit_code != 0,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn who_is_started_again() {
        for (pod, container, kind, code, again) in [
            ("Always", json!({}), Kind::Main, 0, true),
            ("OnFailure", json!({}), Kind::Main, 0, false),
            ("OnFailure", json!({}), Kind::Main, 1, true),
            ("Never", json!({}), Kind::Main, 1, false),
            ("Never", json!({"restartPolicy": "Always"}), Kind::Sidecar, 0, true),
            ("Never", json!({}), Kind::Init, 1, false),
            ("Always", json!({}), Kind::Init, 1, true),
            ("Always", json!({}), Kind::Init, 0, false),
            ("Always", json!({}), Kind::Ephemeral, 1, false),
            ("Never", rules("In", &[42]), Kind::Main, 42, true),
            ("Never", rules("In", &[42]), Kind::Main, 1, false),
            ("Never", rules("NotIn", &[42]), Kind::Main, 1, true),
            ("Always", json!({"restartPolicy": "Never"}), Kind::Main, 1, false),
        ] {
            let spec: PodSpec = serde_json::from_value(json!({"containers": [], "restartPolicy": pod})).unwrap();
            let mut full = json!({"name": "c"});
            full.as_object_mut().unwrap().extend(container.as_object().unwrap().clone());
            let parsed: Container = serde_json::from_value(full).unwrap();
            assert_eq!(restarts(&spec, kind, &parsed, code), again, "{pod} {container} {kind:?} {code}");
        }
    }

    fn rules(operator: &str, values: &[i32]) -> Value {
        json!({"restartPolicy": "Never", "restartPolicyRules":
            [{"action": "Restart", "exitCodes": {"operator": operator, "values": values}}]})
    }

    #[test]
    fn only_the_image_makes_another_container() {
        let parse = |value: Value| serde_json::from_value::<Container>(value).unwrap();
        let one = parse(json!({"name": "c", "image": "a:1"}));
        assert_eq!(hash(&one), hash(&parse(json!({"name": "c", "image": "a:1", "env": [{"name": "X"}]}))));
        assert_ne!(hash(&one), hash(&parse(json!({"name": "c", "image": "a:2"}))));
    }
}
