//! What makes pods.

use crate::common::{check, check_update, defaulted, row};
use expect_test::expect;

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
            spec.template.metadata.labels: Invalid value: null: `selector` does not match template `labels`
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
            status:
              availableReplicas: 0
              replicas: 0
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
            status:
              currentNumberScheduled: 0
              desiredNumberScheduled: 0
              numberMisscheduled: 0
              numberReady: 0
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
            spec.podFailurePolicy.rules[1]: Invalid value: specifying one of OnExitCodes and OnPodConditions is required
            spec.template.spec.restartPolicy: Required value: valid values: "OnFailure", "Never"
            spec.selector: Required value
            spec.template.metadata.labels: Invalid value: null: `selector` does not match template `labels`
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
                metadata: {}
                spec:
                  template:
                    metadata: {}
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
            status:
              replicas: 0
        "#]],
    );
}
