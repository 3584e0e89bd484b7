//! Documents that are good, or nearly.

pub const OBJECTS: &[&str] = &[
    r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a","labels":{"x":"y"}},"data":{"k":"v"},"binaryData":{"b":"AAA="}}"#,
    r#"{"apiVersion":"v1","kind":"Pod","metadata":{"name":"a","finalizers":["example.com/f"]},"spec":{"containers":[{"name":"c","image":"i","ports":[{"containerPort":80,"protocol":"TCP"}],"resources":{"limits":{"cpu":"1","memory":"1Gi"}},"env":[{"name":"A","value":"b"}]}],"tolerations":[{"key":"k","operator":"Exists"}],"volumes":[{"name":"v","emptyDir":{}}]}}"#,
    r#"{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"d"},"spec":{"replicas":2,"selector":{"matchLabels":{"a":"b"}},"strategy":{"rollingUpdate":{"maxSurge":"25%","maxUnavailable":1}},"template":{"metadata":{"labels":{"a":"b"}},"spec":{"containers":[{"name":"c","image":"i"}]}}}}"#,
    r#"{"apiVersion":"v1","kind":"Service","metadata":{"name":"s"},"spec":{"selector":{"a":"b"},"ports":[{"name":"http","port":80,"targetPort":"web"}]}}"#,
    r#"{"apiVersion":"v1","kind":"Secret","metadata":{"name":"s"},"stringData":{"a":"b"},"type":"Opaque"}"#,
    r#"{"apiVersion":"rbac.authorization.k8s.io/v1","kind":"Role","metadata":{"name":"r"},"rules":[{"apiGroups":[""],"resources":["pods"],"verbs":["get","*"]}]}"#,
    r#"{"apiVersion":"batch/v1","kind":"CronJob","metadata":{"name":"c"},"spec":{"schedule":"*/5 * * * *","timeZone":"Etc/UTC","jobTemplate":{"spec":{"template":{"spec":{"restartPolicy":"Never","containers":[{"name":"c","image":"i"}]}}}}}}"#,
    r#"{"apiVersion":"networking.k8s.io/v1","kind":"NetworkPolicy","metadata":{"name":"n"},"spec":{"podSelector":{},"ingress":[{"from":[{"ipBlock":{"cidr":"10.0.0.0/8","except":["10.1.0.0/16"]}}],"ports":[{"port":1,"endPort":2}]}]}}"#,
    r#"{"apiVersion":"admissionregistration.k8s.io/v1","kind":"ValidatingAdmissionPolicy","metadata":{"name":"v"},"spec":{"matchConstraints":{"resourceRules":[{"apiGroups":["apps"],"apiVersions":["v1"],"operations":["CREATE"],"resources":["deployments"]}]},"validations":[{"expression":"object.spec.replicas <= 5","messageExpression":"'no ' + string(object.spec.replicas)"}]}}"#,
    r#"{"apiVersion":"resource.k8s.io/v1","kind":"ResourceClaim","metadata":{"name":"r"},"spec":{"devices":{"requests":[{"name":"q","exactly":{"deviceClassName":"d","selectors":[{"cel":{"expression":"device.driver == 'x'"}}]}}]}}}"#,
    "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\n  annotations: {x: 'y'}\ndata:\n  k: |\n    several\n    lines\n",
];

pub const JSON_PATCHES: &[&str] = &[
    r#"[{"op":"add","path":"/metadata/labels/b","value":"c"},{"op":"test","path":"/kind","value":"Pod"}]"#,
    r#"[{"op":"remove","path":"/spec/containers/0/env/0"},{"op":"replace","path":"/spec/replicas","value":3}]"#,
    r#"[{"op":"copy","from":"/spec","path":"/spec/template/spec"},{"op":"copy","from":"/spec","path":"/spec/x"}]"#,
    r#"[{"op":"move","from":"/data","path":"/data/a~1b~0c"},{"op":"add","path":"","value":{}}]"#,
    r#"[{"op":"add","path":"/spec/containers/-","value":{"name":"d","image":"j"}}]"#,
];

pub const MERGE_PATCHES: &[&str] = &[
    r#"{"metadata":{"labels":{"x":null,"z":"1"}},"data":{"k":null}}"#,
    r#"{"spec":{"containers":[{"name":"c","image":"k","ports":[{"containerPort":80,"$patch":"delete"}]}],"$setElementOrder/containers":[{"name":"c"},{"name":"d"}]}}"#,
    r#"{"spec":{"template":{"spec":{"$retainKeys":["containers"],"containers":[{"name":"c","$patch":"replace"}]}},"strategy":{"$patch":"replace","type":"Recreate"}}}"#,
    r#"{"metadata":{"$deleteFromPrimitiveList/finalizers":["example.com/f"],"finalizers":["example.com/g"]},"spec":{"tolerations":null}}"#,
];

pub const EXPRESSIONS: &[&str] = &[
    "self.spec.replicas <= 5 && has(self.metadata.labels)",
    "self.items.all(x, x.name.matches('^[a-z]+$')) || self.items.exists_one(y, y.count > 3)",
    "self.items.map(x, x.count).filter(c, c % 2 == 0).size() < 4 ? 'few' : 'many'",
    "timestamp('2020-01-01T00:00:00Z') + duration('1h') > timestamp(self.when)",
    "quantity('1.5Gi').compareTo(quantity(self.size)) < 0 && ip('10.0.0.1').family() == 4",
    "cel.bind(a, self.items, a.map(x, a.map(y, x.count * y.count)).size()) > -9223372036854775808",
    "[1, 2u, 3.0, 'x', b'y', null, {'a': [true]}][0] == 1 && optional.of(1).orValue(2) == 1",
    "self.text.split(',').join('-').replace('a', 'b').lowerAscii().substring(1, 2) in ['x']",
    "variables.x + oldSelf.y - -1 / 0 % 3",
    "url('https://a/b?c=d').getQuery()['c'][0].indexOf('d', 0) >= 0 && semver('1.2.3').major() == 1",
];

/// What expressions and schemas are tried on.
pub const INSTANCE: &str = r#"{"apiVersion":"example.com/v1","kind":"Thing","metadata":{"name":"t","labels":{"a":"b"}},"spec":{"replicas":3},"items":[{"name":"a","count":1},{"name":"b","count":4}],"when":"2021-01-01T00:00:00Z","size":"1Gi","text":"a,b,c"}"#;

pub const DEFINITIONS: &[&str] = &[
    r#"{"apiVersion":"apiextensions.k8s.io/v1","kind":"CustomResourceDefinition","metadata":{"name":"things.example.com"},"spec":{"group":"example.com","scope":"Namespaced","names":{"plural":"things","kind":"Thing","singular":"thing","listKind":"ThingList","shortNames":["th"]},"versions":[{"name":"v1","served":true,"storage":true,"subresources":{"status":{},"scale":{"specReplicasPath":".spec.replicas","statusReplicasPath":".status.replicas"}},"additionalPrinterColumns":[{"name":"R","type":"integer","jsonPath":".spec.replicas"}],"selectableFields":[{"jsonPath":".size"}],"schema":{"openAPIV3Schema":{"type":"object","required":["spec"],"properties":{"spec":{"type":"object","properties":{"replicas":{"type":"integer","minimum":0,"default":1,"x-kubernetes-validations":[{"rule":"self >= 0","message":"no"}]}}},"items":{"type":"array","x-kubernetes-list-type":"map","x-kubernetes-list-map-keys":["name"],"items":{"type":"object","required":["name"],"properties":{"name":{"type":"string","pattern":"^[a-z]+$","maxLength":9},"count":{"type":"integer"}}}},"size":{"type":"string"},"text":{"type":"string","enum":["a,b,c","d"]},"when":{"type":"string","format":"date-time"}}}}}]}}"#,
    r#"{"apiVersion":"apiextensions.k8s.io/v1","kind":"CustomResourceDefinition","metadata":{"name":"loose.example.com"},"spec":{"group":"example.com","scope":"Cluster","names":{"plural":"loose","kind":"Loose"},"versions":[{"name":"v1","served":true,"storage":true,"schema":{"openAPIV3Schema":{"type":"object","x-kubernetes-preserve-unknown-fields":true,"properties":{"port":{"x-kubernetes-int-or-string":true,"anyOf":[{"type":"integer"},{"type":"string"}]},"template":{"type":"object","x-kubernetes-embedded-resource":true,"nullable":true},"map":{"type":"object","additionalProperties":{"type":"number","multipleOf":0.5}},"one":{"oneOf":[{"required":["a"]},{"not":{"minProperties":2}}],"type":"object"}}}}}]}}"#,
];

pub const TEXTS: &[&str] = &[
    "a=b,c!=d,e in (f,g),!h,i notin (j),k",
    "metadata.name=a,spec.nodeName!=b\\,c",
    "example.com/a==b,x>1,y<2",
    "1.5Gi",
    "100m",
    "12e6",
    "a-b.c-d.example.com",
    "2021-01-01T00:00:00.123456Z",
    "app.kubernetes.io/name",
];

pub const PATHS: &[&str] = &[
    "/api/v1/namespaces/default/configmaps",
    "/api/v1/namespaces/default/configmaps/a?fieldManager=f",
    "/api/v1/namespaces/default/pods/a/status",
    "/api/v1/namespaces/default/pods/a/exec?command=ls&stdout=1",
    "/api/v1/namespaces/default/pods/a/eviction",
    "/api/v1/namespaces/default/services/https:s:web/proxy/../x",
    "/apis/apps/v1/namespaces/default/deployments?limit=2&labelSelector=a%3Db",
    "/apis/apps/v1/namespaces/default/deployments/d/scale",
    "/apis/apps/v1/deployments?watch=true&timeoutSeconds=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=1",
    "/apis/apiextensions.k8s.io/v1/customresourcedefinitions",
    "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/things.example.com",
    "/apis/example.com/v1/namespaces/default/things",
    "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews",
    "/apis/authentication.k8s.io/v1/tokenreviews",
    "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies",
    "/apis/rbac.authorization.k8s.io/v1/namespaces/default/roles",
    "/api/v1/namespaces/default/serviceaccounts/default/token",
    "/api/v1/namespaces/default",
    "/openapi/v3/apis/apps/v1?hash=x",
    "/apis/apiregistration.k8s.io/v1/apiservices",
];

/// Bodies that are no objects of a store.
pub const OPTIONS: &[&str] = &[
    r#"{"kind":"DeleteOptions","apiVersion":"v1","gracePeriodSeconds":0,"preconditions":{"uid":"x"},"propagationPolicy":"Orphan","dryRun":["All"]}"#,
    r#"{"kind":"SelfSubjectAccessReview","apiVersion":"authorization.k8s.io/v1","spec":{"resourceAttributes":{"verb":"get","resource":"pods","fieldSelector":{"requirements":[{"key":"a","operator":"In","values":["b"]}]}}}}"#,
    r#"{"kind":"TokenReview","apiVersion":"authentication.k8s.io/v1","spec":{"token":"eyJhbGciOiJub25lIn0.e30."}}"#,
    r#"{"kind":"Scale","apiVersion":"autoscaling/v1","metadata":{"name":"d"},"spec":{"replicas":1}}"#,
    r#"{"kind":"Eviction","apiVersion":"policy/v1","metadata":{"name":"a"}}"#,
    "k8s\0\n\u{f}\n\u{2}v1\u{12}\tConfigMap\u{12}\u{c}\n\n\n\u{1}a\u{12}\0\u{1a}\0",
];
