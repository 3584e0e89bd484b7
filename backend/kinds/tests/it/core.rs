//! The rest of the core group, and the network.

use crate::common::{check, check_update, defaulted, row};
use expect_test::expect;

const SERVICE: &str = "
apiVersion: v1
kind: Service
metadata: {name: s}
spec: {clusterIP: 10.96.0.7, selector: {app: web}, ports: [{port: 80}]}
";

#[test]
fn services() {
    defaulted(
        SERVICE,
        expect![[r#"
            apiVersion: v1
            kind: Service
            metadata:
              name: s
              namespace: default
            spec:
              clusterIP: 10.96.0.7
              clusterIPs:
              - 10.96.0.7
              internalTrafficPolicy: Cluster
              ipFamilies:
              - IPv4
              ipFamilyPolicy: SingleStack
              ports:
              - port: 80
                protocol: TCP
                targetPort: 80
              selector:
                app: web
              sessionAffinity: None
              type: ClusterIP
            status:
              loadBalancer: {}
        "#]],
    );
    check_update(
        SERVICE,
        "{spec: {clusterIP: 10.96.0.8, clusterIPs: [10.96.0.8]}}",
        "",
        expect![[r#"
        spec.clusterIPs[0]: Invalid value: ["10.96.0.8"]: may not change once set
        generation: null
    "#]],
    );
    check_update(
        SERVICE,
        "{spec: {clusterIP: null, clusterIPs: null}}",
        "",
        expect![[r#"
        generation: null
    "#]],
    );
    check_update(
        SERVICE,
        "{spec: {type: ExternalName, externalName: a.example.com}}",
        "",
        expect![[r#"
        generation: null
    "#]],
    );
    check_update(
        SERVICE,
        "{status: {loadBalancer: {ingress: [{ip: 1.2.3.4}]}}}",
        "status",
        expect![[r#"
            status.loadBalancer.ingress: Forbidden: may only be used when `spec.type` is 'LoadBalancer'
            status.loadBalancer.ingress[0].ipMode: Required value: must be specified when `ip` is set
            generation: null
        "#]],
    );
    check(
        "
apiVersion: v1
kind: Service
metadata: {name: s}
spec:
  type: NodePort
  clusterIP: None
  sessionAffinity: Always
  externalIPs: [127.0.0.1, x]
  loadBalancerClass: a.io/b
  ports: [{port: 80}, {port: 80, name: Http, targetPort: 0x}, {port: 0, name: c, nodePort: 30000, protocol: TCP}]
",
        expect![[r#"
            spec.clusterIPs[0]: Invalid value: "None": may not be set to 'None' for NodePort services
            spec.ports[0].name: Required value
            spec.ports[1].name: Invalid value: "Http": a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')
            spec.ports[2].port: Invalid value: 0: must be between 1 and 65535, inclusive
            spec.ports[2].targetPort: Invalid value: 0: must be between 1 and 65535, inclusive
            spec.sessionAffinity: Unsupported value: "Always": supported values: "ClientIP", "None"
            spec.externalIPs[0]: Invalid value: "127.0.0.1": may not be in the loopback range (127.0.0.0/8, ::1/128)
            spec.externalIPs[1]: Invalid value: "x": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)
            spec.ports[1]: Duplicate value: {"Name":"","Protocol":"TCP","AppProtocol":null,"Port":80,"TargetPort":0,"NodePort":0}
            spec.loadBalancerClass: Forbidden: may only be used when `type` is 'LoadBalancer'
        "#]],
    );
    row(
        "
apiVersion: v1
kind: Service
metadata: {name: s, creationTimestamp: '2025-12-31T12:00:00Z'}
spec: {type: LoadBalancer, clusterIPs: [10.96.0.7], selector: {app: web}, ports: [{port: 80, nodePort: 30080, protocol: TCP}, {port: 53, protocol: UDP}]}
",
        expect!["s | LoadBalancer | 10.96.0.7 | <pending> | 80:30080/TCP,53/UDP | 24h | app=web"],
    );
}

#[test]
fn namespaces_and_nodes() {
    defaulted(
        "{apiVersion: v1, kind: Namespace, metadata: {name: n}}",
        expect![[r#"
        apiVersion: v1
        kind: Namespace
        metadata:
          labels:
            kubernetes.io/metadata.name: n
          name: n
        spec:
          finalizers:
          - kubernetes
        status:
          phase: Active
    "#]],
    );
    check(
        "{apiVersion: v1, kind: Namespace, metadata: {name: a.b}, spec: {finalizers: [mine]}}",
        expect![[r#"
        metadata.name: Invalid value: "a.b": must not contain dots
        spec.finalizers: Invalid value: "mine": name is neither a standard finalizer name nor is it fully qualified
    "#]],
    );
    let node = "{apiVersion: v1, kind: Node, metadata: {name: n}, spec: {podCIDR: 10.244.0.0/24}, status: {capacity: {cpu: '2', memory: 2048Ki}}}";
    defaulted(
        node,
        expect![[r#"
            apiVersion: v1
            kind: Node
            metadata:
              name: n
            spec:
              podCIDR: 10.244.0.0/24
              podCIDRs:
              - 10.244.0.0/24
            status:
              allocatable:
                cpu: '2'
                memory: 2Mi
              capacity:
                cpu: '2'
                memory: 2Mi
              daemonEndpoints:
                kubeletEndpoint:
                  Port: 0
              nodeInfo:
                architecture: ''
                bootID: ''
                containerRuntimeVersion: ''
                kernelVersion: ''
                kubeProxyVersion: ''
                kubeletVersion: ''
                machineID: ''
                operatingSystem: ''
                osImage: ''
                systemUUID: ''
        "#]],
    );
    check_update(
        node,
        "{spec: {podCIDRs: [10.244.1.0/24], taints: [{key: a, effect: NoSchedule}, {key: a, effect: NoSchedule}]}}",
        "",
        expect![[r#"
            metadata.taints[1]: Duplicate value: {"effect":"NoSchedule","key":"a"}: taints must be unique by key and effect pair
            metadata.taints[1]: Duplicate value: {"effect":"NoSchedule","key":"a"}: taints must be unique by key and effect pair
            generation: null
        "#]],
    );
    row(
        "
apiVersion: v1
kind: Node
metadata: {name: n, labels: {node-role.kubernetes.io/control-plane: '', kubernetes.io/role: worker}, creationTimestamp: '2025-12-01T12:00:00Z'}
spec: {unschedulable: true}
status:
  conditions: [{type: Ready, status: 'True'}]
  addresses: [{type: InternalIP, address: 10.89.0.11}]
  nodeInfo: {kubeletVersion: v1.36.0, osImage: Debian, kernelVersion: '6.18', architecture: amd64, containerRuntimeVersion: 'containerd://1.6.20'}
",
        expect!["n | Ready,SchedulingDisabled | control-plane,worker | 31d | v1.36.0 | 10.89.0.11 | <none> | Debian | 6.18 (amd64) | containerd://1.6.20"],
    );
}

#[test]
fn configuration() {
    check(
        "{apiVersion: v1, kind: ConfigMap, metadata: {name: c}, data: {a/b: x, k: v}, binaryData: {k: aGk=}}",
        expect![[r#"
        data[a/b]: Invalid value: "a/b": a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')
        data[k]: Invalid value: "k": duplicate of key present in binaryData
    "#]],
    );
    let frozen = "{apiVersion: v1, kind: ConfigMap, metadata: {name: c}, data: {a: x}, immutable: true}";
    check_update(
        frozen,
        "{data: {a: y}, immutable: false}",
        "",
        expect![[r#"
        immutable: Forbidden: field is immutable when `immutable` is set
        data: Forbidden: field is immutable when `immutable` is set
        generation: null
    "#]],
    );
    check_update(
        "{apiVersion: v1, kind: Secret, metadata: {name: s}}",
        "{type: kubernetes.io/tls}",
        "",
        expect![[r#"
        type: Invalid value: "kubernetes.io/tls": field is immutable
        data[tls.crt]: Required value
        data[tls.key]: Required value
        generation: null
    "#]],
    );
    check(
        "{apiVersion: v1, kind: ResourceQuota, metadata: {name: q}, spec: {hard: {cpu: '-1', bogus: 1}, scopes: [BestEffort, NotBestEffort]}}",
        expect![[r#"
            spec.hard[bogus]: Invalid value: "bogus": must be a standard resource type or fully qualified
            spec.hard[bogus]: Invalid value: "bogus": must be a standard resource for quota
            spec.hard[cpu]: Invalid value: "-1": must be greater than or equal to 0
            spec.scopes: Invalid value: ["BestEffort","NotBestEffort"]: unsupported scope applied to resource
            spec.scopes: Invalid value: ["BestEffort","NotBestEffort"]: conflicting scopes
        "#]],
    );
    defaulted(
        "{apiVersion: v1, kind: LimitRange, metadata: {name: l}, spec: {limits: [{type: Container, max: {cpu: '2'}, min: {cpu: 100m}, defaultRequest: {memory: 1Mi}}]}}",
        expect![[r#"
            apiVersion: v1
            kind: LimitRange
            metadata:
              name: l
              namespace: default
            spec:
              limits:
              - default:
                  cpu: '2'
                defaultRequest:
                  cpu: '2'
                  memory: 1Mi
                max:
                  cpu: '2'
                min:
                  cpu: 100m
                type: Container
        "#]],
    );
    check(
        "{apiVersion: v1, kind: LimitRange, metadata: {name: l}, spec: {limits: [{type: Pod, default: {cpu: 1}, min: {cpu: 3}, max: {cpu: 2}}]}}",
        expect![[r#"
            spec.limits[0].default: Forbidden: may not be specified when `type` is 'Pod'
            spec.limits[0].min[cpu]: Invalid value: "3": min value 3 is greater than max value 2
        "#]],
    );
}

#[test]
fn volumes() {
    let claim = "{apiVersion: v1, kind: PersistentVolumeClaim, metadata: {name: c}, spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1024Mi}}}}";
    defaulted(
        claim,
        expect![[r#"
        apiVersion: v1
        kind: PersistentVolumeClaim
        metadata:
          name: c
          namespace: default
        spec:
          accessModes:
          - ReadWriteOnce
          resources:
            requests:
              storage: 1Gi
          volumeMode: Filesystem
        status:
          phase: Pending
    "#]],
    );
    check_update(
        claim,
        "{spec: {volumeName: v}}",
        "",
        expect![[r#"
        generation: null
    "#]],
    );
    check_update(
        claim,
        "{spec: {accessModes: [ReadWriteMany], resources: {requests: {storage: 1Mi}}}}",
        "",
        expect![[r#"
        spec: Forbidden: spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims

        generation: null
    "#]],
    );
    check(
        "{apiVersion: v1, kind: PersistentVolumeClaim, metadata: {name: c}, spec: {accessModes: [ReadWriteOncePod, Sometimes, ReadWriteMany], volumeMode: Disk}}",
        expect![[r#"
        spec.accessModes: Unsupported value: "Sometimes": supported values: "ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"
        spec.accessModes: Forbidden: may not use ReadWriteOncePod with other access modes
        spec.resources[storage]: Required value
        spec.volumeMode: Unsupported value: "Disk": supported values: "Block", "Filesystem"
    "#]],
    );
    check(
        "{apiVersion: v1, kind: PersistentVolume, metadata: {name: v}, spec: {capacity: {storage: 0}, accessModes: [ReadWriteOnce], hostPath: {path: /a/../b}, nfs: {}}}",
        expect![[r#"
        spec.capacity[storage]: Invalid value: "0": must be greater than zero
        spec.hostPath.path: Invalid value: "/a/../b": must not contain '..'
        spec.nfs: Forbidden: may not specify more than 1 volume type
    "#]],
    );
    row(
        "{apiVersion: v1, kind: PersistentVolume, metadata: {name: v}, spec: {capacity: {storage: 1Gi}, accessModes: [ReadWriteMany, ReadWriteOnce], claimRef: {namespace: a, name: b}, storageClassName: fast, persistentVolumeReclaimPolicy: Retain, volumeMode: Block}, status: {phase: Bound}}",
        expect!["v | 1Gi | RWO,RWX | Retain | Bound | a/b | fast | <unset> |  | <unknown> | Block"],
    );
}

#[test]
fn events_of_both_groups() {
    let old = "{apiVersion: v1, kind: Event, metadata: {name: e, namespace: default}, involvedObject: {kind: Pod, name: p, namespace: other}, reason: Started, message: hi}";
    check(
        old,
        expect![[r#"
        involvedObject.namespace: Invalid value: "other": does not match event.namespace
    "#]],
    );
    let new = "{apiVersion: events.k8s.io/v1, kind: Event, metadata: {name: e, namespace: default}, regarding: {kind: Pod, name: p, namespace: default}, reason: Started, note: hi, type: Odd, deprecatedCount: 3}";
    check(
        new,
        expect![[r#"
        eventTime: Required value
        type: Invalid value: "": has invalid value: Odd
        count: Invalid value: "": needs to be unset
    "#]],
    );
    row(
        "{apiVersion: events.k8s.io/v1, kind: Event, metadata: {name: e}, regarding: {kind: Pod, name: p}, reason: Started, note: ' hi ', type: Normal, eventTime: '2026-01-01T11:59:00.000000Z', reportingController: kubelet, reportingInstance: n1, series: {count: 4, lastObservedTime: '2026-01-01T11:59:30.000000Z'}}",
        expect!["30s | Normal | Started | pod/p |  | kubelet, n1 | hi | 60s | 4 | e"],
    );
    row(
        "{apiVersion: v1, kind: Event, metadata: {name: e}, involvedObject: {kind: Pod, name: p}, reason: Started, message: hi, type: Normal, source: {component: kubelet}, firstTimestamp: '2026-01-01T11:00:00Z', lastTimestamp: '2026-01-01T11:58:00Z', count: 2}",
        expect!["2m | Normal | Started | pod/p |  | kubelet | hi | 60m | 2 | e"],
    );
}

#[test]
fn network() {
    check(
        "{apiVersion: networking.k8s.io/v1, kind: Ingress, metadata: {name: i}, spec: {rules: [{host: 1.2.3.4, http: {paths: [{path: a, pathType: Prefix, backend: {service: {name: s}}}, {path: /x//y, pathType: Exact, backend: {}}, {backend: {service: {name: s, port: {number: 80}}}}]}}, {host: '*.a.*', http: {}}]}}",
        expect![[r#"
        spec.rules[0].host: Invalid value: "1.2.3.4": must be a DNS name, not an IP address
        spec.rules[0].http.paths[0].path: Invalid value: "a": must be an absolute path
        spec.rules[0].http.paths[0].backend: Required value: port name or number is required
        spec.rules[0].http.paths[1].path: Invalid value: "/x//y": must not contain '//'
        spec.rules[0].http.paths[1].backend: Invalid value: "": resource or service backend is required
        spec.rules[0].http.paths[2].pathType: Required value: pathType must be specified
        spec.rules[1].host: Invalid value: "*.a.*": a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, which must consist of lower case alphanumeric characters, '-' or '.' and end with an alphanumeric character (e.g. '*.example.com', regex used for validation is '\*\.[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')
        spec.rules[1].http.paths: Required value
    "#]],
    );
    check(
        "{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {name: n}, spec: {podSelector: {}, ingress: [{ports: [{port: 10, endPort: 5}], from: [{}, {ipBlock: {cidr: 10.0.0.0/8, except: [11.0.0.0/9, 10.1.0.0/16]}, podSelector: {}}]}], policyTypes: [Sideways]}}",
        expect![[r#"
        spec.ingress[0].ports[0].endPort: Invalid value: 10: must be greater than or equal to `port`
        spec.ingress[0].from[0]: Required value: must specify a peer
        spec.ingress[0].from[1].ipBlock.except[0]: Invalid value: "11.0.0.0/9": must be a strict subset of `cidr`
        spec.ingress[0].from[1]: Forbidden: may not specify both ipBlock and another peer
        spec.policyTypes[0]: Unsupported value: "Sideways": supported values: "Ingress", "Egress"
    "#]],
    );
    check(
        "{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: {name: e}, addressType: IPv4, endpoints: [{addresses: [10.0.0.1, '::1', x]}, {}], ports: [{port: 1}, {port: 2}]}",
        expect![[r#"
        ports[1].name: Duplicate value: ""
        endpoints[0].addresses: Invalid value: "::1": must be an IPv4 address
        endpoints[0].addresses[1]: Invalid value: "::1": may not be in the loopback range (127.0.0.0/8, ::1/128)
        endpoints[0].addresses[2]: Invalid value: "x": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)
        endpoints[1].addresses: Required value: must contain at least 1 address
    "#]],
    );
    check_update(
        "{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: {name: e}, addressType: IPv4, endpoints: []}",
        "{addressType: IPv6, endpoints: [{addresses: ['fd00::1']}]}",
        "",
        expect![[r#"
        addressType: Invalid value: "IPv6": field is immutable
        generation: 2
    "#]],
    );
    check(
        "{apiVersion: networking.k8s.io/v1, kind: IPAddress, metadata: {name: 010.0.0.1}, spec: {}}",
        expect![[r#"
        metadata.name: Invalid value: "010.0.0.1": must not have leading 0s
        spec.parentRef: Required value
    "#]],
    );
    row(
        "{apiVersion: networking.k8s.io/v1, kind: Ingress, metadata: {name: i}, spec: {ingressClassName: x, tls: [{}], rules: [{host: a.b}, {host: c.d}, {host: e.f}, {host: g.h}]}, status: {loadBalancer: {ingress: [{ip: 1.1.1.1}]}}}",
        expect!["i | x | a.b,c.d,e.f + 1 more... | 1.1.1.1 | 80, 443 | <unknown>"],
    );
}
