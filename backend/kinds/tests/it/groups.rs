//! The named groups beyond workloads and the network.

use crate::common::{check, check_update, defaulted, row};
use expect_test::expect;

#[test]
fn rbac() {
    check(
        "{apiVersion: rbac.authorization.k8s.io/v1, kind: Role, metadata: {name: 'system:a'}, rules: [{verbs: []}, {verbs: [get], nonResourceURLs: [/x], resources: [pods]}]}",
        expect![[r#"
        rules[0].verbs: Required value: verbs must contain at least one value
        rules[0].apiGroups: Required value: resource rules must supply at least one api group
        rules[0].resources: Required value: resource rules must supply at least one resource
        rules[1].nonResourceURLs: Invalid value: ["/x"]: namespaced rules cannot apply to non-resource URLs
        rules[1].nonResourceURLs: Invalid value: ["/x"]: rules cannot apply to both regular resources and non-resource URLs
    "#]],
    );
    let binding = "{apiVersion: rbac.authorization.k8s.io/v1, kind: RoleBinding, metadata: {name: b}, roleRef: {kind: Role, name: r}, subjects: [{kind: User, name: jane}, {kind: ServiceAccount, name: sa, namespace: x}]}";
    defaulted(
        binding,
        expect![[r#"
        apiVersion: rbac.authorization.k8s.io/v1
        kind: RoleBinding
        metadata:
          name: b
          namespace: default
        roleRef:
          apiGroup: rbac.authorization.k8s.io
          kind: Role
          name: r
        subjects:
        - apiGroup: rbac.authorization.k8s.io
          kind: User
          name: jane
        - kind: ServiceAccount
          name: sa
          namespace: x
    "#]],
    );
    check_update(
        binding,
        "{roleRef: {name: other}}",
        "",
        expect![[r#"
        roleRef: Invalid value: {"apiGroup":"rbac.authorization.k8s.io","kind":"Role","name":"other"}: cannot change roleRef
        generation: null
    "#]],
    );
    check(
        "{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRoleBinding, metadata: {name: b}, roleRef: {kind: Role, name: r}, subjects: [{kind: Robot}, {kind: ServiceAccount, name: sa}]}",
        expect![[r#"
        roleRef.kind: Unsupported value: "Role": supported values: "ClusterRole"
        subjects[0].name: Required value
        subjects[0].kind: Unsupported value: "Robot": supported values: "ServiceAccount", "User", "Group"
        subjects[1].namespace: Required value
    "#]],
    );
    row(
        "{apiVersion: rbac.authorization.k8s.io/v1, kind: RoleBinding, metadata: {name: b}, roleRef: {kind: Role, name: r}, subjects: [{kind: User, name: jane}, {kind: ServiceAccount, name: sa, namespace: x}]}",
        expect!["b | Role/r | <unknown> | jane |  | x/sa"],
    );
}

#[test]
fn autoscaling() {
    let v2 = "{apiVersion: autoscaling/v2, kind: HorizontalPodAutoscaler, metadata: {name: a}, spec: {maxReplicas: 3, scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: d}, behavior: {scaleDown: {stabilizationWindowSeconds: 5}}}}";
    defaulted(
        v2,
        expect![[r#"
            apiVersion: autoscaling/v2
            kind: HorizontalPodAutoscaler
            metadata:
              name: a
              namespace: default
            spec:
              behavior:
                scaleDown:
                  policies:
                  - periodSeconds: 15
                    type: Percent
                    value: 100
                  selectPolicy: Max
                  stabilizationWindowSeconds: 5
                scaleUp:
                  policies:
                  - periodSeconds: 15
                    type: Pods
                    value: 4
                  - periodSeconds: 15
                    type: Percent
                    value: 100
                  selectPolicy: Max
                  stabilizationWindowSeconds: 0
              maxReplicas: 3
              metrics:
              - resource:
                  name: cpu
                  target:
                    averageUtilization: 80
                    type: Utilization
                type: Resource
              minReplicas: 1
              scaleTargetRef:
                apiVersion: apps/v1
                kind: Deployment
                name: d
            status:
              currentMetrics: null
              desiredReplicas: 0
        "#]],
    );
    check(
        "{apiVersion: autoscaling/v2, kind: HorizontalPodAutoscaler, metadata: {name: a}, spec: {minReplicas: 3, maxReplicas: 2, metrics: [{type: Resource}, {type: Pods, pods: {metric: {name: a}, target: {type: Odd}}}]}}",
        expect![[r#"
            spec.maxReplicas: Invalid value: 2: must be greater than or equal to `minReplicas`
            spec.scaleTargetRef.kind: Required value
            spec.scaleTargetRef.name: Required value
            spec.scaleTargetRef.apiVersion: Invalid value: "": apiVersion must specify API group
            spec.metrics[0].resource: Required value: must populate information for the given metric source
            spec.metrics[1].pods.target.type: Invalid value: "Odd": must be either Utilization, Value, or AverageValue
            spec.metrics[1].pods.target.averageValue: Required value: must specify a positive target averageValue
        "#]],
    );
    check(
        "{apiVersion: autoscaling/v1, kind: HorizontalPodAutoscaler, metadata: {name: a}, spec: {maxReplicas: 0, targetCPUUtilizationPercentage: 0, scaleTargetRef: {kind: D, name: d}}}",
        expect![[r#"
            spec.maxReplicas: Required value: must be set and greater than 0
            spec.maxReplicas: Invalid value: 0: must be greater than or equal to `minReplicas`
            spec.scaleTargetRef.apiVersion: Invalid value: "": apiVersion must specify API group
            spec.metrics[0].resource.target.averageUtilization: Invalid value: 0: must be greater than 0
        "#]],
    );
    row(
        "{apiVersion: autoscaling/v1, kind: HorizontalPodAutoscaler, metadata: {name: a}, spec: {minReplicas: 1, maxReplicas: 3, targetCPUUtilizationPercentage: 80, scaleTargetRef: {kind: Deployment, name: d}}, status: {currentReplicas: 2, currentCPUUtilizationPercentage: 41}}",
        expect!["a | Deployment/d | cpu: 41%/80% | 1 | 3 | 2 | <unknown>"],
    );
}

#[test]
fn policies() {
    check(
        "{apiVersion: policy/v1, kind: PodDisruptionBudget, metadata: {name: p}, spec: {minAvailable: 150%, maxUnavailable: -1}}",
        expect![[r#"
        spec: Invalid value: {"maxUnavailable":-1,"minAvailable":"150%"}: minAvailable and maxUnavailable cannot be both set
        spec.minAvailable: Invalid value: "150%": must not be greater than 100%
        spec.maxUnavailable: Invalid value: -1: must be greater than or equal to 0
    "#]],
    );
    check(
        "{apiVersion: scheduling.k8s.io/v1, kind: PriorityClass, metadata: {name: system-mine}, value: 5}",
        expect![[r#"
        metadata.name: Forbidden: priority class names with 'system-' prefix are reserved for system use only. error: system-mine is not a known system priority class
    "#]],
    );
    check(
        "{apiVersion: scheduling.k8s.io/v1, kind: PriorityClass, metadata: {name: p}, value: 1000000001}",
        expect![[r#"
        value: Forbidden: maximum allowed value of a user defined priority is 1000000000
    "#]],
    );
    check_update(
        "{apiVersion: scheduling.k8s.io/v1, kind: PriorityClass, metadata: {name: p}, value: 1}",
        "{value: 2, preemptionPolicy: Never}",
        "",
        expect![[r#"
        value: Forbidden: may not be changed in an update.
        preemptionPolicy: Invalid value: "Never": field is immutable
        generation: 1
    "#]],
    );
    check(
        "{apiVersion: coordination.k8s.io/v1, kind: Lease, metadata: {name: l}, spec: {leaseDurationSeconds: 0, leaseTransitions: -1}}",
        expect![[r#"
        spec.leaseDurationSeconds: Invalid value: 0: must be greater than 0
        spec.leaseTransitions: Invalid value: -1: must be greater than or equal to 0
    "#]],
    );
    check(
        "{apiVersion: node.k8s.io/v1, kind: RuntimeClass, metadata: {name: r}, handler: A_b}",
        expect![[r#"
        handler: Invalid value: "A_b": a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')
    "#]],
    );
}

#[test]
fn extensions() {
    let definition = "
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: tabs.example.com}
spec:
  group: example.com
  scope: Namespaced
  names: {plural: tabs, kind: Tab}
  versions: [{name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object}}}]
";
    defaulted(
        definition,
        expect![[r#"
            apiVersion: apiextensions.k8s.io/v1
            kind: CustomResourceDefinition
            metadata:
              generation: 1
              name: tabs.example.com
            spec:
              conversion:
                strategy: None
              group: example.com
              names:
                kind: Tab
                listKind: TabList
                plural: tabs
                singular: tab
              scope: Namespaced
              versions:
              - name: v1
                schema:
                  openAPIV3Schema:
                    type: object
                served: true
                storage: true
            status:
              acceptedNames:
                kind: ''
                plural: ''
              conditions: null
              storedVersions:
              - v1
        "#]],
    );
    check_update(
        definition,
        "{spec: {group: other.com, versions: [{name: v2, served: true, storage: true, schema: {openAPIV3Schema: {type: object}}}]}}",
        "",
        expect![[r#"
            status.storedVersions[0]: Invalid value: "v1": missing from spec.versions; v1 was previously a storage version, and must remain in spec.versions until a storage migration ensures no data remains persisted in v1 and removes v1 from status.storedVersions
            spec.group: Invalid value: "other.com": field is immutable
            generation: 2
        "#]],
    );
    check(
        "{apiVersion: apiextensions.k8s.io/v1, kind: CustomResourceDefinition, metadata: {name: x}, spec: {group: nodots, scope: Galaxy, names: {plural: Tabs, kind: tab_}, versions: [{name: V1, storage: true, schema: {openAPIV3Schema: {type: string}}}, {name: v2, storage: true, additionalPrinterColumns: [{type: x, jsonPath: 'a['}]}]}}",
        expect![[r#"
            metadata.name: Invalid value: "x": must be spec.names.plural+"."+spec.group
            spec.group: Invalid value: "nodots": should be a domain with at least one dot
            spec.scope: Unsupported value: "Galaxy": supported values: "Cluster", "Namespaced"
            spec.versions[1].schema.openAPIV3Schema: Required value
            spec.versions[0].name: Invalid value: "V1": a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')
            spec.versions[0].schema.openAPIV3Schema.type: Invalid value: "string": must be object at the root
            spec.versions[1].additionalPrinterColumns[0].name: Required value
            spec.versions[1].additionalPrinterColumns[0].type: Invalid value: "x": must be one of boolean,date,integer,number,string
            spec.versions[1].additionalPrinterColumns[0].JSONPath: Invalid value: "a[": must be a simple json path starting with .
            spec.versions: Invalid value: [{"name":"V1","schema":{"openAPIV3Schema":{"type":"string"}},"served":false,"storage":true},{"additionalPrinterColumns":[{"jsonPath":"a[","name":"","type":"x"}],"name":"v2","served":false,"storage":true}]: must have exactly one version marked as storage version
            spec.version: Invalid value: "V1": a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')
            spec.names.plural: Invalid value: "Tabs": a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')
            spec.names.singular: Invalid value: "tab_": a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')
            spec.names.kind: Invalid value: "tab_": may have mixed case, but should otherwise match: a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')
            spec.names.listKind: Invalid value: "tab_List": may have mixed case, but should otherwise match: a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')
            status.storedVersions: Invalid value: ["V1"]: must have the storage version v2
        "#]],
    );
    check(
        "{apiVersion: admissionregistration.k8s.io/v1, kind: ValidatingWebhookConfiguration, metadata: {name: w}, webhooks: [{name: short, admissionReviewVersions: [v2], clientConfig: {url: 'http://x'}, rules: [{operations: ['*', CREATE], apiGroups: [], apiVersions: [''], resources: [pods]}], timeoutSeconds: 99}]}",
        expect![[r#"
            webhooks[0].name: Invalid value: "short": should be a domain with at least three segments separated by dots
            webhooks[0].rules[0].operations: Invalid value: ["*","CREATE"]: if '*' is present, must not specify other operations
            webhooks[0].rules[0].apiGroups: Required value
            webhooks[0].rules[0].apiVersions[0]: Required value
            webhooks[0].sideEffects: Required value: must specify one of None, NoneOnDryRun
            webhooks[0].timeoutSeconds: Invalid value: 99: the timeout value must be between 1 and 30 seconds
            webhooks[0].clientConfig.url: Invalid value: "http": 'https' is the only allowed URL scheme; desired format: https://host[/path]
            webhooks[0].admissionReviewVersions: Invalid value: ["v2"]: must include at least one of v1, v1beta1
        "#]],
    );
    check(
        "{apiVersion: admissionregistration.k8s.io/v1, kind: ValidatingWebhookConfiguration, metadata: {name: w}, webhooks: [{name: a.x.y, admissionReviewVersions: [v1], sideEffects: None, clientConfig: {service: {name: s, namespace: n, path: ''}}}, {name: b.x.y, admissionReviewVersions: [v1], sideEffects: None, clientConfig: {service: {name: s, namespace: n, path: /}}}, {name: c.x.y, admissionReviewVersions: [v1], sideEffects: None, clientConfig: {service: {name: s, namespace: n, path: /one/two/}}}, {name: d.x.y, admissionReviewVersions: [v1], sideEffects: None, clientConfig: {service: {name: s, namespace: n, path: one}}}, {name: e.x.y, admissionReviewVersions: [v1], sideEffects: None, clientConfig: {service: {name: s, namespace: n, path: //}}}, {name: f.x.y, admissionReviewVersions: [v1], sideEffects: None, clientConfig: {service: {name: s, namespace: n, path: /a//B}}}]}",
        expect![[r#"
        webhooks[3].clientConfig.service.path: Invalid value: "one": must start with a '/'
        webhooks[4].clientConfig.service.path: Invalid value: "//": segment[0] may not be empty
        webhooks[5].clientConfig.service.path: Invalid value: "/a//B": segment[1] may not be empty
        webhooks[5].clientConfig.service.path: Invalid value: "/a//B": segment[2]: a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')
    "#]],
    );
    check(
        "{apiVersion: admissionregistration.k8s.io/v1, kind: ValidatingAdmissionPolicyBinding, metadata: {name: b}, spec: {validationActions: [Deny, Warn]}}",
        expect![[r#"
        spec.policyName: Required value
        spec.validationActions: Invalid value: ["Deny","Warn"]: must not contain both Deny and Warn (repeating the same validation failure information in the API response and headers serves no purpose)
    "#]],
    );
    check(
        "{apiVersion: apiregistration.k8s.io/v1, kind: APIService, metadata: {name: x}, spec: {group: a.b, version: v1, groupPriorityMinimum: 0, versionPriority: 5, service: {name: s, namespace: n}}}",
        expect![[r#"
        metadata.name: Invalid value: "x": must be `spec.version+"."+spec.group`: "v1.a.b"
        spec.groupPriorityMinimum: Invalid value: 0: must be positive and less than 20000
    "#]],
    );
}

#[test]
fn certificates() {
    let request = "{apiVersion: certificates.k8s.io/v1, kind: CertificateSigningRequest, metadata: {name: c}, spec: {request: LS0tLS1CRUdJTiBDRVJUSUZJQ0FURSBSRVFVRVNULS0tLS0KTUlJQgotLS0tLUVORCBDRVJUSUZJQ0FURSBSRVFVRVNULS0tLS0K, signerName: kubernetes.io/kube-apiserver-client, usages: [client auth]}}";
    check(request, expect![[""]]);
    check(
        "{apiVersion: certificates.k8s.io/v1, kind: CertificateSigningRequest, metadata: {name: c}, spec: {signerName: x, usages: [flying], expirationSeconds: 1}}",
        expect![[r#"
            spec.request: Invalid value: null: PEM block type must be CERTIFICATE REQUEST
            spec.usages[0]: Unsupported value: "flying": supported values: "any", "cert sign", "client auth", "code signing", "content commitment", "crl sign", "data encipherment", "decipher only", "digital signature", "email protection", "encipher only", "ipsec end system", "ipsec tunnel", "ipsec user", "key agreement", "key encipherment", "microsoft sgc", "netscape sgc", "ocsp signing", "s/mime", "server auth", "signing", "timestamping"
            spec.signerName: Invalid value: "x": must be a fully qualified domain and path of the form 'example.com/signer-name'
            spec.expirationSeconds: Invalid value: 1: may not specify a duration less than 600 seconds (10 minutes)
        "#]],
    );
    check_update(
        request,
        "{spec: {signerName: a.b/c}, status: {conditions: [{type: Approved, status: 'True'}]}}",
        "",
        expect![[r#"
        generation: null
    "#]],
    );
    check_update(
        request,
        "{status: {conditions: [{type: Approved, status: 'True'}, {type: Denied, status: 'True'}]}}",
        "approval",
        expect![[r#"
        status.conditions: Invalid value: "Denied": Approved and Denied conditions are mutually exclusive
        generation: null
    "#]],
    );
    check_update(
        request,
        "{status: {certificate: eA==, conditions: [{type: Approved, status: 'True'}]}}",
        "status",
        expect![[r#"
        status.conditions: Forbidden: updates may not add a condition of type "Approved"
        generation: null
    "#]],
    );
}

#[test]
fn storage() {
    defaulted(
        "{apiVersion: storage.k8s.io/v1, kind: StorageClass, metadata: {name: s}, provisioner: a.io/b}",
        expect![[r#"
        apiVersion: storage.k8s.io/v1
        kind: StorageClass
        metadata:
          name: s
        provisioner: a.io/b
        reclaimPolicy: Delete
        volumeBindingMode: Immediate
    "#]],
    );
    check_update(
        "{apiVersion: storage.k8s.io/v1, kind: StorageClass, metadata: {name: s}, provisioner: a.io/b}",
        "{provisioner: c.io/d, reclaimPolicy: Retain, parameters: {a: b}}",
        "",
        expect![[r#"
            parameters: Invalid value: {"a":"b"}: field is immutable
            provisioner: Invalid value: "c.io/d": field is immutable
            reclaimPolicy: Invalid value: "Retain": field is immutable
            generation: null
        "#]],
    );
    defaulted(
        "{apiVersion: storage.k8s.io/v1, kind: CSIDriver, metadata: {name: d}, spec: {}}",
        expect![[r#"
            apiVersion: storage.k8s.io/v1
            kind: CSIDriver
            metadata:
              name: d
            spec:
              attachRequired: true
              fsGroupPolicy: ReadWriteOnceWithFSType
              podInfoOnMount: false
              requiresRepublish: false
              seLinuxMount: false
              storageCapacity: false
              volumeLifecycleModes:
              - Persistent
        "#]],
    );
}

#[test]
fn flow_control_and_devices() {
    check(
        "{apiVersion: flowcontrol.apiserver.k8s.io/v1, kind: FlowSchema, metadata: {name: f}, spec: {matchingPrecedence: 1, priorityLevelConfiguration: {}, rules: [{}]}}",
        expect![[r#"
        spec.matchingPrecedence: Invalid value: 1: only the schema named 'exempt' may have matchingPrecedence 1
        spec.priorityLevelConfiguration.name: Required value: must reference a priority level
        spec.rules[0].subjects: Required value: subjects must contain at least one value
        spec.rules[0]: Required value: at least one of resourceRules and nonResourceRules has to be non-empty
    "#]],
    );
    defaulted(
        "{apiVersion: flowcontrol.apiserver.k8s.io/v1, kind: PriorityLevelConfiguration, metadata: {name: p}, spec: {type: Limited, limited: {limitResponse: {type: Queue, queuing: {}}}}}",
        expect![[r#"
        apiVersion: flowcontrol.apiserver.k8s.io/v1
        kind: PriorityLevelConfiguration
        metadata:
          generation: 1
          name: p
        spec:
          limited:
            lendablePercent: 0
            limitResponse:
              queuing:
                handSize: 8
                queueLengthLimit: 50
                queues: 64
              type: Queue
            nominalConcurrencyShares: 30
          type: Limited
        status: {}
    "#]],
    );
    defaulted(
        "{apiVersion: resource.k8s.io/v1, kind: ResourceClaim, metadata: {name: r}, spec: {devices: {requests: [{name: a, exactly: {deviceClassName: gpu}}]}}}",
        expect![[r#"
        apiVersion: resource.k8s.io/v1
        kind: ResourceClaim
        metadata:
          name: r
          namespace: default
        spec:
          devices:
            requests:
            - exactly:
                allocationMode: ExactCount
                count: 1
                deviceClassName: gpu
              name: a
        status: {}
    "#]],
    );
    check(
        "{apiVersion: resource.k8s.io/v1, kind: ResourceSlice, metadata: {name: r}, spec: {driver: D, pool: {}, devices: [{name: a}, {name: a}]}}",
        expect![[r#"
            spec.pool.name: Required value
            spec.pool.resourceSliceCount: Invalid value: 0: must be greater than zero
            spec: Required value: exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required
            spec.devices[1]: Duplicate value: "a"
        "#]],
    );
}

#[test]
fn users() {
    check(
        "{apiVersion: pilothouse.io/v1, kind: User, metadata: {name: jane@example.com}, spec: {groups: ['system:masters', team]}}",
        expect![[""]],
    );
    check(
        "{apiVersion: pilothouse.io/v1, kind: User, metadata: {name: 'system:admin'}, spec: {groups: ['system:nodes', '']}}",
        expect![[r#"
        metadata.name: Forbidden: users whose name starts with 'system:' are the system's own
        spec.groups[0]: Invalid value: "system:nodes": of the groups that start with 'system:' only 'system:masters' may be given to a user
        spec.groups[1]: Required value
    "#]],
    );
}
