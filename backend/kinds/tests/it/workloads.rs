//! Pods and what makes pods.

use crate::common::{check, check_update, defaulted, row};
use expect_test::expect;

const POD: &str = "
apiVersion: v1
kind: Pod
metadata: {name: p}
spec:
  containers:
  - {name: c, image: nginx, resources: {limits: {cpu: '0.5', memory: 1024Mi}}}
";

const DEPLOYMENT: &str = "
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: c, image: 'nginx:1'}]}
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
            spec.volumes[1].name: Duplicate value: "v"
            spec.volumes[2].configMap.defaultMode: Invalid value: 9999: must be a number between 0 and 0777 (octal), both inclusive
            spec.volumes[2].configMap.items[0].path: Invalid value: "../../b": must not contain '..'
            spec.volumes[3].projected.sources[0].serviceAccountToken.expirationSeconds: Invalid value: 1: may not specify a duration less than 10 minutes
            spec.volumes[3].projected.sources[0].serviceAccountToken.path: Required value
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

#[test]
fn deployments() {
    defaulted(
        DEPLOYMENT,
        expect![[r#"
        apiVersion: apps/v1
        kind: Deployment
        metadata:
          generation: 1
          name: web
          namespace: default
        spec:
          progressDeadlineSeconds: 600
          replicas: 1
          revisionHistoryLimit: 10
          selector:
            matchLabels:
              app: web
          strategy:
            rollingUpdate:
              maxSurge: 25%
              maxUnavailable: 25%
            type: RollingUpdate
          template:
            metadata:
              labels:
                app: web
            spec:
              containers:
              - image: nginx:1
                imagePullPolicy: IfNotPresent
                name: c
                resources: {}
                terminationMessagePath: /dev/termination-log
                terminationMessagePolicy: File
              dnsPolicy: ClusterFirst
              restartPolicy: Always
              schedulerName: default-scheduler
              securityContext: {}
              terminationGracePeriodSeconds: 30
        status: {}
    "#]],
    );
    check_update(
        DEPLOYMENT,
        "{spec: {replicas: 3}}",
        "",
        expect![[r#"
        generation: 2
    "#]],
    );
    check_update(
        DEPLOYMENT,
        "{metadata: {annotations: {a: b}}}",
        "",
        expect![[r#"
        generation: 2
    "#]],
    );
    check_update(
        DEPLOYMENT,
        "{metadata: {labels: {a: b}}}",
        "",
        expect![[r#"
        generation: 1
    "#]],
    );
    check_update(
        DEPLOYMENT,
        "{spec: {selector: {matchLabels: {app: x}}}}",
        "",
        expect![[r#"
        spec.template.metadata.labels: Invalid value: {"app":"web"}: `selector` does not match template `labels`
        spec.selector: Invalid value: {"matchLabels":{"app":"x"}}: field is immutable
        generation: 2
    "#]],
    );
    check_update(
        DEPLOYMENT,
        "{spec: {replicas: 9}, status: {replicas: 1, readyReplicas: 2}}",
        "status",
        expect![[r#"
        status.readyReplicas: Invalid value: 2: cannot be greater than status.replicas
        generation: 1
    "#]],
    );
    check(
        "
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: -1
  selector: {}
  strategy: {type: Recreate, rollingUpdate: {maxSurge: 1}}
  progressDeadlineSeconds: 5
  minReadySeconds: 9
  template:
    spec: {restartPolicy: Never, containers: []}
",
        expect![[r#"
            spec.replicas: Invalid value: -1: must be greater than or equal to 0
            spec.selector: Invalid value: {}: empty selector is invalid for deployment
            spec.template.spec.containers: Required value
            spec.template.spec.restartPolicy: Unsupported value: "Never": supported values: "Always"
            spec.strategy.rollingUpdate: Forbidden: may not be specified when strategy `type` is 'Recreate'
            spec.progressDeadlineSeconds: Invalid value: 5: must be greater than minReadySeconds
        "#]],
    );
    check(
        "
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  strategy: {rollingUpdate: {maxSurge: 0, maxUnavailable: 0%}}
  template:
    spec: {containers: [{name: c, image: x}]}
",
        expect![[r#"
            spec.selector: Required value
            spec.strategy.rollingUpdate.maxUnavailable: Invalid value: "0%": may not be 0 when `maxSurge` is 0
        "#]],
    );
    row(
        "
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, creationTimestamp: '2026-01-01T10:30:00Z'}
spec: {replicas: 3, selector: {matchLabels: {app: web}}, template: {spec: {containers: [{name: a, image: x}, {name: b, image: y}]}}}
status: {readyReplicas: 2, updatedReplicas: 3, availableReplicas: 2}
",
        expect!["web | 2/3 | 3 | 2 | 90m | a,b | x,y | app=web"],
    );
}

#[test]
fn stateful_and_daemon_sets() {
    let set = "
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: db}
spec:
  serviceName: db
  selector: {matchLabels: {app: db}}
  template:
    metadata: {labels: {app: db}}
    spec: {containers: [{name: c, image: x, volumeMounts: [{name: data, mountPath: /d}]}]}
  volumeClaimTemplates: [{metadata: {name: data}, spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1024Mi}}}}]
";
    defaulted(
        set,
        expect![[r#"
        apiVersion: apps/v1
        kind: StatefulSet
        metadata:
          generation: 1
          name: db
          namespace: default
        spec:
          persistentVolumeClaimRetentionPolicy:
            whenDeleted: Retain
            whenScaled: Retain
          podManagementPolicy: OrderedReady
          replicas: 1
          revisionHistoryLimit: 10
          selector:
            matchLabels:
              app: db
          serviceName: db
          template:
            metadata:
              labels:
                app: db
            spec:
              containers:
              - image: x
                imagePullPolicy: Always
                name: c
                resources: {}
                terminationMessagePath: /dev/termination-log
                terminationMessagePolicy: File
                volumeMounts:
                - mountPath: /d
                  name: data
              dnsPolicy: ClusterFirst
              restartPolicy: Always
              schedulerName: default-scheduler
              securityContext: {}
              terminationGracePeriodSeconds: 30
          updateStrategy:
            rollingUpdate:
              partition: 0
            type: RollingUpdate
          volumeClaimTemplates:
          - apiVersion: v1
            kind: PersistentVolumeClaim
            metadata:
              name: data
            spec:
              accessModes:
              - ReadWriteOnce
              resources:
                requests:
                  storage: 1Gi
              volumeMode: Filesystem
            status:
              phase: Pending
        status: {}
    "#]],
    );
    check_update(
        set,
        "{spec: {serviceName: other}}",
        "",
        expect![[r#"
        spec: Forbidden: updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden
        generation: 2
    "#]],
    );
    check_update(
        set,
        "{spec: {replicas: 2, updateStrategy: {rollingUpdate: {partition: 1}}}}",
        "",
        expect![[r#"
        generation: 2
    "#]],
    );
    let daemons = "
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: d}
spec:
  selector: {matchLabels: {app: d}}
  template:
    metadata: {labels: {app: d}}
    spec: {containers: [{name: c, image: x}]}
";
    defaulted(
        daemons,
        expect![[r#"
        apiVersion: apps/v1
        kind: DaemonSet
        metadata:
          annotations:
            deprecated.daemonset.template.generation: '1'
          generation: 1
          name: d
          namespace: default
        spec:
          revisionHistoryLimit: 10
          selector:
            matchLabels:
              app: d
          template:
            metadata:
              labels:
                app: d
            spec:
              containers:
              - image: x
                imagePullPolicy: Always
                name: c
                resources: {}
                terminationMessagePath: /dev/termination-log
                terminationMessagePolicy: File
              dnsPolicy: ClusterFirst
              restartPolicy: Always
              schedulerName: default-scheduler
              securityContext: {}
              terminationGracePeriodSeconds: 30
          updateStrategy:
            rollingUpdate:
              maxSurge: 0
              maxUnavailable: 1
            type: RollingUpdate
        status: {}
    "#]],
    );
    check_update(
        daemons,
        "{spec: {updateStrategy: {rollingUpdate: {maxSurge: 1}}}}",
        "",
        expect![[r#"
        spec.updateStrategy.rollingUpdate.maxSurge: Invalid value: 1: may not be set when maxUnavailable is non-zero
        generation: 2
    "#]],
    );
}

#[test]
fn jobs() {
    let job = "
apiVersion: batch/v1
kind: Job
metadata: {name: j}
spec:
  template:
    spec: {restartPolicy: Never, containers: [{name: c, image: x}]}
";
    defaulted(
        job,
        expect![[r#"
            apiVersion: batch/v1
            kind: Job
            metadata:
              generation: 1
              labels:
                batch.kubernetes.io/controller-uid: 11111111-2222-3333-4444-555555555555
                batch.kubernetes.io/job-name: j
                controller-uid: 11111111-2222-3333-4444-555555555555
                job-name: j
              name: j
              namespace: default
            spec:
              backoffLimit: 6
              completionMode: NonIndexed
              completions: 1
              manualSelector: false
              parallelism: 1
              podReplacementPolicy: TerminatingOrFailed
              selector:
                matchLabels:
                  batch.kubernetes.io/controller-uid: 11111111-2222-3333-4444-555555555555
              suspend: false
              template:
                metadata:
                  labels:
                    batch.kubernetes.io/controller-uid: 11111111-2222-3333-4444-555555555555
                    batch.kubernetes.io/job-name: j
                    controller-uid: 11111111-2222-3333-4444-555555555555
                    job-name: j
                spec:
                  containers:
                  - image: x
                    imagePullPolicy: Always
                    name: c
                    resources: {}
                    terminationMessagePath: /dev/termination-log
                    terminationMessagePolicy: File
                  dnsPolicy: ClusterFirst
                  restartPolicy: Never
                  schedulerName: default-scheduler
                  securityContext: {}
                  terminationGracePeriodSeconds: 30
            status: {}
        "#]],
    );
    check_update(
        job,
        "{spec: {parallelism: 5}}",
        "",
        expect![[r#"
        generation: 2
    "#]],
    );
    check_update(
        job,
        "{spec: {completions: 5}}",
        "",
        expect![[r#"
        spec.completions: Invalid value: 5: field is immutable
        generation: 2
    "#]],
    );
    check_update(
        job,
        "{spec: {template: {spec: {containers: [{name: c, image: y}]}}}}",
        "",
        expect![[r#"
        spec.template: Invalid value: {"metadata":{"labels":{"batch.kubernetes.io/controller-uid":"11111111-2222-3333-4444-555555555555","batch.kubernetes.io/job-name":"j","controller-uid":"11111111-2222-3333-4444-555555555555","job-name":"j"}},"spec":{"containers":[{"image":"y","imagePullPolicy":"Always","name":"c","resources":{},"terminationMessagePath":"/dev/termination-log","terminationMessagePolicy":"File"}],"dnsPolicy":"ClusterFirst","restartPolicy":"Never","schedulerName":"default-scheduler","securityContext":{},"terminationGracePeriodSeconds":30}}: field is immutable
        generation: 2
    "#]],
    );
    check_update(
        job,
        "{status: {conditions: [{type: Complete, status: 'True'}], active: 1}}",
        "status",
        expect![[r#"
        status.conditions: Invalid value: cannot set Complete=True condition without the SuccessCriteriaMet=true condition
        status.completionTime: Required value: completionTime is required for Complete jobs
        status.active: Invalid value: 1: active>0 is invalid for finished job
        status.startTime: Required value: startTime is required for finished job
        generation: 1
    "#]],
    );
    check(
        "
apiVersion: batch/v1
kind: Job
metadata: {name: j}
spec:
  completionMode: Indexed
  manualSelector: true
  backoffLimit: -1
  podFailurePolicy: {rules: [{action: FailIndex, onExitCodes: {operator: In, values: [0, 3, 3]}}, {}]}
  template:
    spec: {containers: [{name: c, image: x}]}
",
        expect![[r#"
            spec.backoffLimit: Invalid value: -1: must be greater than or equal to 0
            spec.podFailurePolicy.rules[0].action: Invalid value: "FailIndex": requires the backoffLimitPerIndex to be set
            spec.podFailurePolicy.rules[0].onExitCodes.values[0]: Invalid value: 0: must not be 0 for the In operator
            spec.podFailurePolicy.rules[0].onExitCodes.values[2]: Duplicate value: 3
            spec.podFailurePolicy.rules[1].action: Required value: valid values: ["Count" "FailIndex" "FailJob" "Ignore"]
            spec.podFailurePolicy.rules[1]: Invalid value: {}: specifying one of OnExitCodes and OnPodConditions is required
            spec.template.spec.restartPolicy: Required value: valid values: "OnFailure", "Never"
            spec.selector: Required value
        "#]],
    );
    let cron = "
apiVersion: batch/v1
kind: CronJob
metadata: {name: c}
spec:
  schedule: '*/5 * * * *'
  jobTemplate: {spec: {template: {spec: {restartPolicy: OnFailure, containers: [{name: c, image: x}]}}}}
";
    defaulted(
        cron,
        expect![[r#"
        apiVersion: batch/v1
        kind: CronJob
        metadata:
          generation: 1
          name: c
          namespace: default
        spec:
          concurrencyPolicy: Allow
          failedJobsHistoryLimit: 1
          jobTemplate:
            spec:
              template:
                spec:
                  containers:
                  - image: x
                    imagePullPolicy: Always
                    name: c
                    resources: {}
                    terminationMessagePath: /dev/termination-log
                    terminationMessagePolicy: File
                  dnsPolicy: ClusterFirst
                  restartPolicy: OnFailure
                  schedulerName: default-scheduler
                  securityContext: {}
                  terminationGracePeriodSeconds: 30
          schedule: '*/5 * * * *'
          successfulJobsHistoryLimit: 3
          suspend: false
        status: {}
    "#]],
    );
    check_update(
        cron,
        "{spec: {schedule: 'TZ=UTC 61 * * * *', timeZone: Mars/Base, concurrencyPolicy: Never}}",
        "",
        expect![[r#"
        spec.schedule: Invalid value: "TZ=UTC 61 * * * *": end of range (61) above maximum (59): 61
        spec.schedule: Invalid value: "TZ=UTC 61 * * * *": cannot use TZ or CRON_TZ in schedule, use timeZone field instead
        spec.timeZone: Invalid value: "Mars/Base": unknown time zone Mars/Base
        spec.concurrencyPolicy: Unsupported value: "Never": supported values: "Allow", "Forbid", "Replace"
        generation: 2
    "#]],
    );
    row(
        "
apiVersion: batch/v1
kind: Job
metadata: {name: j, creationTimestamp: '2026-01-01T11:00:00Z'}
spec: {completions: 3, template: {spec: {containers: [{name: c, image: x}]}}}
status: {succeeded: 3, startTime: '2026-01-01T11:00:00Z', completionTime: '2026-01-01T11:01:30Z', conditions: [{type: Complete, status: 'True'}]}
",
        expect!["j | Complete | 3/3 | 90s | 60m | c | x | <none>"],
    );
}

#[test]
fn replication_controllers() {
    defaulted(
        "
apiVersion: v1
kind: ReplicationController
metadata: {name: rc}
spec: {template: {metadata: {labels: {a: b}}, spec: {containers: [{name: c, image: x}]}}}
",
        expect![[r#"
            apiVersion: v1
            kind: ReplicationController
            metadata:
              generation: 1
              labels:
                a: b
              name: rc
              namespace: default
            spec:
              replicas: 1
              selector:
                a: b
              template:
                metadata:
                  labels:
                    a: b
                spec:
                  containers:
                  - image: x
                    imagePullPolicy: Always
                    name: c
                    resources: {}
                    terminationMessagePath: /dev/termination-log
                    terminationMessagePolicy: File
                  dnsPolicy: ClusterFirst
                  restartPolicy: Always
                  schedulerName: default-scheduler
                  securityContext: {}
                  terminationGracePeriodSeconds: 30
            status: {}
        "#]],
    );
}
