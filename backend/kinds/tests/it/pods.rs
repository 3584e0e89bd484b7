//! Pods.

use crate::common::{check, check_update, defaulted};
use expect_test::expect;

const POD: &str = "
apiVersion: v1
kind: Pod
metadata: {name: p}
spec:
  containers:
  - {name: c, image: nginx, resources: {limits: {cpu: '0.5', memory: 1024Mi}}}
";

#[test]
fn pod_defaults() {
    defaulted(
        POD,
        expect![[r#"
        apiVersion: v1
        kind: Pod
        metadata:
          generation: 1
          name: p
          namespace: default
        spec:
          containers:
          - image: nginx
            imagePullPolicy: Always
            name: c
            resources:
              limits:
                cpu: 500m
                memory: 1Gi
              requests:
                cpu: 500m
                memory: 1Gi
            terminationMessagePath: /dev/termination-log
            terminationMessagePolicy: File
          dnsPolicy: ClusterFirst
          enableServiceLinks: true
          restartPolicy: Always
          schedulerName: default-scheduler
          securityContext: {}
          terminationGracePeriodSeconds: 30
        status:
          phase: Pending
          qosClass: Guaranteed
    "#]],
    );
    defaulted(
        "
apiVersion: v1
kind: Pod
metadata: {name: p}
spec:
  hostNetwork: true
  serviceAccount: robot
  schedulingGates: [{name: a.io/wait}]
  containers:
  - name: c
    image: nginx@sha256:abc
    ports: [{containerPort: 80}]
    env: [{name: A, valueFrom: {fieldRef: {fieldPath: metadata.name}}}, {name: B, valueFrom: {resourceFieldRef: {resource: limits.cpu}}}]
    livenessProbe: {httpGet: {port: 80}}
    readinessProbe: {grpc: {port: 81}}
  volumes:
  - {name: a}
  - {name: b, secret: {secretName: s}}
  - {name: c, projected: {sources: [{serviceAccountToken: {path: token}}]}}
  - {name: d, hostPath: {path: /x}}
",
        expect![[r#"
            apiVersion: v1
            kind: Pod
            metadata:
              generation: 1
              name: p
              namespace: default
            spec:
              containers:
              - env:
                - name: A
                  valueFrom:
                    fieldRef:
                      apiVersion: v1
                      fieldPath: metadata.name
                - name: B
                  valueFrom:
                    resourceFieldRef:
                      divisor: '0'
                      resource: limits.cpu
                image: nginx@sha256:abc
                imagePullPolicy: IfNotPresent
                livenessProbe:
                  failureThreshold: 3
                  httpGet:
                    path: /
                    port: 80
                    scheme: HTTP
                  periodSeconds: 10
                  successThreshold: 1
                  timeoutSeconds: 1
                name: c
                ports:
                - containerPort: 80
                  hostPort: 80
                  protocol: TCP
                readinessProbe:
                  failureThreshold: 3
                  grpc:
                    port: 81
                    service: ''
                  periodSeconds: 10
                  successThreshold: 1
                  timeoutSeconds: 1
                resources: {}
                terminationMessagePath: /dev/termination-log
                terminationMessagePolicy: File
              dnsPolicy: ClusterFirst
              enableServiceLinks: true
              hostNetwork: true
              restartPolicy: Always
              schedulerName: default-scheduler
              schedulingGates:
              - name: a.io/wait
              securityContext: {}
              serviceAccount: robot
              serviceAccountName: robot
              terminationGracePeriodSeconds: 30
              volumes:
              - emptyDir: {}
                name: a
              - name: b
                secret:
                  defaultMode: 420
                  secretName: s
              - name: c
                projected:
                  defaultMode: 420
                  sources:
                  - serviceAccountToken:
                      expirationSeconds: 3600
                      path: token
              - hostPath:
                  path: /x
                  type: ''
                name: d
            status:
              conditions:
              - lastProbeTime: null
                lastTransitionTime: 2026-01-01T00:00:00Z
                message: Scheduling is blocked due to non-empty scheduling gates
                reason: SchedulingGated
                status: 'False'
                type: PodScheduled
              phase: Pending
              qosClass: BestEffort
        "#]],
    );
}

#[test]
fn pods_refused() {
    check(
        "
apiVersion: v1
kind: Pod
metadata: {name: Bad_Name, labels: {x: 'a b'}}
spec:
  restartPolicy: Sometimes
  dnsPolicy: None
  nodeSelector: {a/b/c: d}
  activeDeadlineSeconds: 0
  containers:
  - name: C
    ports: [{containerPort: 70000, name: http}, {containerPort: 80, name: http, protocol: ICMP, hostPort: 99999}]
    env: [{name: ''}, {name: a=b, value: x, valueFrom: {fieldRef: {fieldPath: spec.bogus}}}, {name: c, valueFrom: {}}]
    envFrom: [{}]
    resources: {requests: {cpu: '2', memory: x, gpu: '1', nvidia.com/gpu: '1'}, limits: {cpu: '1'}}
    volumeMounts: [{name: gone, mountPath: /a}, {name: v, mountPath: /a, subPath: ../x}]
    livenessProbe: {exec: {command: []}, httpGet: {port: 0}, successThreshold: 2}
    readinessProbe: {terminationGracePeriodSeconds: 3}
    lifecycle: {preStop: {sleep: {seconds: 99}}}
    imagePullPolicy: Maybe
    securityContext: {runAsUser: -1, privileged: true, allowPrivilegeEscalation: false, seccompProfile: {type: Localhost}}
  - {name: c2, image: ' x '}
  - {name: c2, image: x}
  initContainers:
  - {name: i, image: x, livenessProbe: {exec: {command: [x]}}}
  ephemeralContainers: [{name: e, image: x, ports: [{containerPort: 1}]}]
  volumes:
  - {name: v, emptyDir: {}, hostPath: {path: /x}}
  - {name: v, secret: {}}
  - {name: w, configMap: {name: a, defaultMode: 9999, items: [{key: a, path: ../../b}]}}
  - {name: x, projected: {sources: [{serviceAccountToken: {path: '', expirationSeconds: 1}}]}}
  tolerations: [{operator: Equal}, {key: a, operator: Exists, value: x}, {key: b, tolerationSeconds: 1, effect: NoSchedule}]
  topologySpreadConstraints: [{maxSkew: 0, whenUnsatisfiable: Never}]
  affinity:
    nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: []}}
    podAntiAffinity: {preferredDuringSchedulingIgnoredDuringExecution: [{weight: 0, podAffinityTerm: {}}]}
",
        expect![[r#"
            metadata.name: Invalid value: "Bad_Name": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')
            metadata.labels: Invalid value: "a b": a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')
            spec.volumes[0].hostPath: Forbidden: may not specify more than 1 volume type
            spec.volumes[1].secret.secretName: Required value
            spec.volumes[2].configMap.defaultMode: Invalid value: 9999: must be a number between 0 and 0777 (octal), both inclusive
            spec.volumes[2].configMap.items[0].path: Invalid value: "../../b": must not contain '..'
            spec.volumes[3].projected.sources[0].serviceAccountToken.expirationSeconds: Invalid value: 1: may not specify a duration less than 10 minutes
            spec.volumes[3].projected.path: Required value
            spec.containers[0].name: Invalid value: "C": a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')
            spec.containers[0].image: Required value
            spec.containers[0].ports[0].containerPort: Invalid value: 70000: must be between 1 and 65535, inclusive
            spec.containers[0].ports[1].name: Duplicate value: "http"
            spec.containers[0].ports[1].hostPort: Invalid value: 99999: must be between 1 and 65535, inclusive
            spec.containers[0].ports[1].protocol: Unsupported value: "ICMP": supported values: "SCTP", "TCP", "UDP"
            spec.containers[0].env[0].name: Required value
            spec.containers[0].env[1].name: Invalid value: "a=b": a valid environment variable name must consist only of printable ASCII characters other than '='
            spec.containers[0].env[1].valueFrom.fieldRef.fieldPath: Invalid value: "spec.bogus": error converting fieldPath: field label not supported: spec.bogus
            spec.containers[0].env[1].valueFrom: Invalid value: "": may not be specified when `value` is not empty
            spec.containers[0].env[2].valueFrom: Invalid value: "": must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`
            spec.containers[0].envFrom: Invalid value: "": must specify one of: `configMapRef` or `secretRef`
            spec.containers[0].volumeMounts[0].name: Not found: "gone"
            spec.containers[0].volumeMounts[1].name: Not found: "v"
            spec.containers[0].volumeMounts[1].mountPath: Invalid value: "/a": must be unique
            spec.containers[0].volumeMounts.subPath: Invalid value: "../x": must not contain '..'
            spec.containers[0].imagePullPolicy: Unsupported value: "Maybe": supported values: "Always", "IfNotPresent", "Never"
            spec.containers[0].resources.requests[gpu]: Invalid value: "gpu": must be a standard resource type or fully qualified
            spec.containers[0].resources.requests[gpu]: Invalid value: "gpu": must be a standard resource for containers
            spec.containers[0].resources.requests[memory]: Invalid value: "x": quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'
            spec.containers[0].resources.requests: Invalid value: "2": must be less than or equal to cpu limit of 1
            spec.containers[0].resources.limits: Required value: Limit must be set for non overcommitable resources
            spec.containers[0].securityContext.runAsUser: Invalid value: -1: must be between 0 and 2147483647, inclusive
            spec.containers[0].securityContext.seccompProfile.localhostProfile: Required value: must be set when seccomp type is Localhost
            spec.containers[0].securityContext: Invalid value: {"allowPrivilegeEscalation":false,"privileged":true,"runAsUser":-1,"seccompProfile":{"type":"Localhost"}}: cannot set `allowPrivilegeEscalation` to false and `privileged` to true
            spec.containers[0].lifecycle.preStop.sleep: Invalid value: 99: must be non-negative and less than terminationGracePeriodSeconds (30)
            spec.containers[0].livenessProbe.exec.command: Required value
            spec.containers[0].livenessProbe.httpGet: Forbidden: may not specify more than 1 handler type
            spec.containers[0].livenessProbe.successThreshold: Invalid value: 2: must be 1
            spec.containers[0].readinessProbe: Required value: must specify a handler type
            spec.containers[0].readinessProbe.terminationGracePeriodSeconds: Invalid value: 3: must not be set for readinessProbes
            spec.containers[2].name: Duplicate value: "c2"
            spec.initContainers[0].livenessProbe: Forbidden: may not be set for init containers without restartPolicy=Always
            spec.ephemeralContainers[0].ports: Forbidden: cannot be set for an Ephemeral Container
            spec.restartPolicy: Unsupported value: "Sometimes": supported values: "Always", "OnFailure", "Never"
            spec.nodeSelector: Invalid value: "a/b/c": a valid label key must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]') with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')
            spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms: Required value: must have at least one node selector term
            spec.affinity.podAntiAffinity.preferredDuringSchedulingIgnoredDuringExecution[0].weight: Invalid value: 0: must be in the range 1-100
            spec.affinity.podAntiAffinity.preferredDuringSchedulingIgnoredDuringExecution[0].podAffinityTerm.topologyKey: Required value: can not be empty
            spec.affinity.podAntiAffinity.preferredDuringSchedulingIgnoredDuringExecution[0].podAffinityTerm.topologyKey: Invalid value: "": name part must be non-empty
            spec.affinity.podAntiAffinity.preferredDuringSchedulingIgnoredDuringExecution[0].podAffinityTerm.topologyKey: Invalid value: "": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')
            spec.dnsConfig: Required value: must provide `dnsConfig` when `dnsPolicy` is None
            spec.topologySpreadConstraints[0].maxSkew: Invalid value: 0: must be greater than zero
            spec.topologySpreadConstraints[0].topologyKey: Required value: can not be empty
            spec.topologySpreadConstraints[0].whenUnsatisfiable: Unsupported value: "Never": supported values: "DoNotSchedule", "ScheduleAnyway"
            spec.activeDeadlineSeconds: Invalid value: 0: must be between 1 and 2147483647, inclusive
            spec.tolerations[0].operator: Invalid value: "Equal": operator must be Exists when `key` is empty, which means "match all values and all keys"
            spec.tolerations[1].operator: Invalid value: "x": value must be empty when `operator` is 'Exists'
            spec.tolerations[2].effect: Invalid value: "NoSchedule": effect must be 'NoExecute' when `tolerationSeconds` is set
            spec.volumes[3].projected.sources[0].serviceAccountToken: Forbidden: must not be specified when serviceAccountName is not set
            spec.containers[1].image: Invalid value: " x ": must not have leading or trailing whitespace
            spec.ephemeralContainers: Forbidden: cannot be set on create
        "#]],
    );
}

#[test]
fn pod_updates() {
    check_update(
        POD,
        "{spec: {containers: [{name: c, image: 'nginx:2', imagePullPolicy: Always, resources: {limits: {cpu: 500m, memory: 1Gi}}}]}}",
        "",
        expect![[r#"
        generation: 2
    "#]],
    );
    check_update(
        POD,
        "{spec: {hostname: x}}",
        "",
        expect![[r#"
        spec: Forbidden: pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)
        - hostname: null
        + hostname: "x"

        generation: 2
    "#]],
    );
    check_update(
        POD,
        "{spec: {tolerations: [{key: a, operator: Exists}], activeDeadlineSeconds: 5}}",
        "",
        expect![[r#"
        generation: 2
    "#]],
    );
    check_update(
        POD,
        "{spec: {containers: []}}",
        "",
        expect![[r#"
        spec.containers: Required value
        spec.containers: Forbidden: pod updates may not add or remove containers
        generation: 2
    "#]],
    );
    check_update(
        POD,
        "{spec: {nodeName: n}, status: {phase: Running, qosClass: BestEffort}}",
        "status",
        expect![[r#"
        status.qosClass: Invalid value: "BestEffort": field is immutable
        generation: 1
    "#]],
    );
    check_update(
        POD,
        "{spec: {nodeName: n, ephemeralContainers: [{name: d, image: x}]}}",
        "ephemeralcontainers",
        expect![[r#"
        generation: 2
    "#]],
    );
    check_update(
        POD,
        "{spec: {containers: [{name: c, image: y, resources: {limits: {cpu: '1'}}}]}}",
        "resize",
        expect![[r#"
        spec: Invalid value: "Burstable": Pod QOS Class may not change as a result of resizing
        spec.containers[0].resources.requests: Forbidden: resource requests cannot be removed
        spec.containers[0].resources.limits: Forbidden: resource limits cannot be removed
        generation: 2
    "#]],
    );
    check_update(
        POD,
        "{metadata: {uid: x, name: q, creationTimestamp: null}}",
        "",
        expect![[r#"
        metadata.name: Invalid value: "q": field is immutable
        metadata.uid: Invalid value: "x": field is immutable
        generation: 1
    "#]],
    );
}
