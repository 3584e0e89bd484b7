//! What kinds say of objects that they take all the same.

use crate::common::created;
use expect_test::{Expect, expect};

fn check(yaml: &str, expect: Expect) {
    let (kind, object) = created(yaml);
    let said: String = kind.warnings(&object, None).iter().map(|text| format!("{text}\n")).collect();
    expect.assert_eq(&said);
}

#[test]
fn pods() {
    check("{apiVersion: v1, kind: Pod, metadata: {name: a}, spec: {containers: [{name: c, image: i}]}}", expect![""]);
    check(
        "
apiVersion: v1
kind: Pod
metadata: {name: a.b, annotations: {scheduler.alpha.kubernetes.io/critical-pod: ''}}
spec:
  terminationGracePeriodSeconds: -1
  imagePullSecrets: [{name: s}, {name: s}, {}]
  hostAliases: [{ip: 010.0.0.1, hostnames: [a]}]
  topologySpreadConstraints: [{maxSkew: 1, topologyKey: failure-domain.beta.kubernetes.io/zone, whenUnsatisfiable: DoNotSchedule}]
  volumes:
  - {name: g, glusterfs: {endpoints: e, path: p}}
  - {name: c, configMap: {name: m, items: [{key: a, path: x}, {key: b, path: x/y}]}}
  containers:
  - name: c
    image: i
    resources: {limits: {memory: 100m}}
    env: [{name: A, value: b}, {name: A, value: $(A)c}, {name: A, value: d}]
    ports: [{name: h, containerPort: 80}, {name: h, containerPort: 80, hostPort: 8080}]
",
        expect![[r#"
            metadata.name: this is used in the Pod's hostname, which can result in surprising behavior; a DNS label is recommended: [must not contain dots]
            spec.topologySpreadConstraints[0].topologyKey: failure-domain.beta.kubernetes.io/zone is deprecated since v1.17; use "topology.kubernetes.io/zone" instead
            spec.topologySpreadConstraints[0].labelSelector: a null labelSelector results in matching no pod
            metadata.annotations[scheduler.alpha.kubernetes.io/critical-pod]: non-functional in v1.16+; use the "priorityClassName" field instead
            spec.volumes[0].glusterfs: deprecated in v1.25, non-functional in v1.26+
            volume "c" (ConfigMap "m"): overlapping paths: "x/y" with "x"
            spec.imagePullSecrets[1].name: duplicate name "s"
            spec.imagePullSecrets[2].name: invalid empty name ""
            spec.containers[0].resources.limits[memory]: fractional byte value "100m" is invalid, must be an integer
            spec.containers[0].resources.requests[memory]: fractional byte value "100m" is invalid, must be an integer
            spec.containers[0].env[2]: hides previous definition of "A", which may be dropped when using apply
            spec.containers[0].ports[1]: overlapping port definition with spec.containers[0].ports[0]
            spec.containers[0].ports[1]: duplicate port name "h" with spec.containers[0].ports[0], services and probes that select ports by name will use spec.containers[0].ports[0]
            spec.terminationGracePeriodSeconds: must be >= 0; negative values are invalid and will be treated as 1
            spec.hostAliases[0].ip: non-standard IP address "010.0.0.1" is invalid: use "10.0.0.1"
        "#]],
    );
}

#[test]
fn the_rest() {
    check(
        "{apiVersion: v1, kind: Service, metadata: {name: s}, spec: {clusterIP: None, externalIPs: [1.2.3.4], sessionAffinity: ClientIP, trafficDistribution: PreferClose, ports: [{port: 1}]}}",
        expect![[r#"
            spec.externalIPs is ignored for headless services
            spec.SessionAffinity is ignored for headless services
            spec.trafficDistribution: "PreferClose" is deprecated; use "PreferSameZone"
        "#]],
    );
    check(
        "{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {name: n}, spec: {podSelector: {}, egress: [{to: [{ipBlock: {cidr: 10.0.0.1/8, except: ['::FFFF:0/120']}}]}]}}",
        expect![[r#"
            spec.egress[0].to[0].ipBlock.cidr: CIDR value "10.0.0.1/8" is ambiguous in this context (should be "10.0.0.0/8" or "10.0.0.1/32"?)
            spec.egress[0].to[0].ipBlock.except[0]: IPv6 CIDR value "::FFFF:0/120" should be in RFC 5952 canonical format ("::ffff:0/120")
        "#]],
    );
    check(
        "{apiVersion: v1, kind: ResourceQuota, metadata: {name: q}, spec: {hard: {requests.cpu: 2, limits.cpu: 1500m}}}",
        expect![[r#"
            ResourceQuota requests.cpu (2) should be less than limits.cpu (1500m)
        "#]],
    );
    check(
        "{apiVersion: v1, kind: PersistentVolume, metadata: {name: p}, spec: {capacity: {storage: 1Gi}, accessModes: [ReadWriteOnce], persistentVolumeReclaimPolicy: Recycle, hostPath: {path: /x}}}",
        expect![[r#"
            spec.persistentVolumeReclaimPolicy: The Recycle reclaim policy is deprecated. Instead, the recommended approach is to use dynamic provisioning.
        "#]],
    );
    check(
        "{apiVersion: networking.k8s.io/v1, kind: Ingress, metadata: {name: i, annotations: {kubernetes.io/ingress.class: x}}, spec: {defaultBackend: {service: {name: s, port: {number: 1}}}}}",
        expect![[r#"
            annotation "kubernetes.io/ingress.class" is deprecated, please use 'spec.ingressClassName' instead
        "#]],
    );
    check(
        "{apiVersion: batch/v1, kind: CronJob, metadata: {name: a.b}, spec: {schedule: '* * * * *', jobTemplate: {spec: {template: {spec: {restartPolicy: Never, nodeSelector: {beta.kubernetes.io/os: linux}, containers: [{name: c, image: i}]}}}}}}",
        expect![[r#"
            metadata.name: this is used in Pod names and hostnames, which can result in surprising behavior; a DNS label is recommended: [must not contain dots]
            spec.jobTemplate.spec.template.spec.nodeSelector[beta.kubernetes.io/os]: deprecated since v1.14; use "kubernetes.io/os" instead
        "#]],
    );
}
