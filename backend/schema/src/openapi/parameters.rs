//! The parameters of operations.

/// Where a parameter is, what it is called, its type, and what it does.
pub struct Parameter {
    pub name: &'static str,
    pub place: Place,
    pub of: &'static str,
    pub description: &'static str,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Place {
    Path,
    Query,
}

impl Place {
    pub fn name(self) -> &'static str {
        match self {
            Self::Path => "path",
            Self::Query => "query",
        }
    }
}

macro_rules! query {
    ($($id:ident $name:literal $of:literal $description:literal;)*) => {
        $(pub const $id: &Parameter =
            &Parameter { name: $name, place: Place::Query, of: $of, description: $description };)*
    };
}

pub const NAME: &Parameter =
    &Parameter { name: "name", place: Place::Path, of: "string", description: "name of the object" };
pub const NAMESPACE: &Parameter =
    &Parameter { name: "namespace", place: Place::Path, of: "string", description: "namespace of the object" };
pub const PATH: &Parameter =
    &Parameter { name: "path", place: Place::Path, of: "string", description: "path of the proxied request" };

query! {
    ALLOW_WATCH_BOOKMARKS "allowWatchBookmarks" "boolean" "Asks a watch for events of type BOOKMARK, which carry nothing but the resourceVersion reached.";
    COMMAND "command" "string" "The command to run, one parameter per word; it is not run in a shell.";
    CONTAINER "container" "string" "The container; needed where a pod has more than one.";
    CONTINUE "continue" "string" "The continue token of the previous page of a list.";
    DRY_RUN "dryRun" "string" "With the value All the request is processed in full, yet nothing is stored.";
    FIELD_MANAGER "fieldManager" "string" "Who is making the change, for field ownership; at most 128 printable characters. Required for server-side apply.";
    FIELD_SELECTOR "fieldSelector" "string" "Restricts the objects by their fields: metadata.name=web.";
    FIELD_VALIDATION "fieldValidation" "string" "What happens to unknown and duplicate fields: Ignore drops them, Warn (the default) drops them with a warning, Strict refuses the request.";
    FOLLOW "follow" "boolean" "Follows the log stream.";
    FORCE "force" "boolean" "Takes over fields that others own; only for server-side apply.";
    GRACE_PERIOD_SECONDS "gracePeriodSeconds" "integer" "Seconds until the object is deleted; zero deletes at once. Defaults to the kind's own.";
    IGNORE_STORE_READ_ERROR "ignoreStoreReadErrorWithClusterBreakingPotential" "boolean" "Deletes the object even if it cannot be read from the store.";
    INSECURE_SKIP_TLS "insecureSkipTLSVerifyBackend" "boolean" "Does not verify the certificate of the node that serves the log.";
    LABEL_SELECTOR "labelSelector" "string" "Restricts the objects by their labels: app=web,tier!=cache.";
    LIMIT "limit" "integer" "The most objects in one answer; the rest is asked for with the continue token.";
    LIMIT_BYTES "limitBytes" "integer" "The most bytes of the log.";
    ORPHAN_DEPENDENTS "orphanDependents" "boolean" "Deprecated: use propagationPolicy.";
    PRETTY "pretty" "string" "With the value true the output is indented.";
    PREVIOUS "previous" "boolean" "The log of the container that ran before.";
    PROPAGATION_POLICY "propagationPolicy" "string" "What happens to dependents: Orphan, Background or Foreground.";
    RESOURCE_VERSION "resourceVersion" "string" "The version to read at or to watch from.";
    RESOURCE_VERSION_MATCH "resourceVersionMatch" "string" "How resourceVersion is meant: Exact or NotOlderThan.";
    SEND_INITIAL_EVENTS "sendInitialEvents" "boolean" "Begins a watch with the objects there are, then a bookmark.";
    SINCE_SECONDS "sinceSeconds" "integer" "Only log lines newer than that many seconds.";
    STDERR "stderr" "boolean" "Connects standard error.";
    STDIN "stdin" "boolean" "Connects standard input.";
    STDOUT "stdout" "boolean" "Connects standard output.";
    STREAM "stream" "string" "Which stream of the log: All, Stdout or Stderr.";
    TAIL_LINES "tailLines" "integer" "Only that many lines from the end of the log.";
    TIMEOUT_SECONDS "timeoutSeconds" "integer" "How long a list or watch may take.";
    TIMESTAMPS "timestamps" "boolean" "Begins every log line with its time.";
    TTY "tty" "boolean" "Allocates a terminal.";
    WATCH "watch" "boolean" "Watches for changes instead of listing.";
}

pub const READ: &[&Parameter] = &[];
pub const LIST: &[&Parameter] = &[
    ALLOW_WATCH_BOOKMARKS,
    CONTINUE,
    FIELD_SELECTOR,
    LABEL_SELECTOR,
    LIMIT,
    RESOURCE_VERSION,
    RESOURCE_VERSION_MATCH,
    SEND_INITIAL_EVENTS,
    TIMEOUT_SECONDS,
    WATCH,
];
pub const WRITE: &[&Parameter] = &[DRY_RUN, FIELD_MANAGER, FIELD_VALIDATION];
pub const PATCH: &[&Parameter] = &[DRY_RUN, FIELD_MANAGER, FIELD_VALIDATION, FORCE];
pub const DELETE: &[&Parameter] =
    &[DRY_RUN, GRACE_PERIOD_SECONDS, IGNORE_STORE_READ_ERROR, ORPHAN_DEPENDENTS, PROPAGATION_POLICY];
pub const DELETE_COLLECTION: &[&Parameter] = &[
    CONTINUE,
    DRY_RUN,
    FIELD_SELECTOR,
    GRACE_PERIOD_SECONDS,
    IGNORE_STORE_READ_ERROR,
    LABEL_SELECTOR,
    LIMIT,
    ORPHAN_DEPENDENTS,
    PROPAGATION_POLICY,
    RESOURCE_VERSION,
    RESOURCE_VERSION_MATCH,
    SEND_INITIAL_EVENTS,
    TIMEOUT_SECONDS,
];
pub const LOG: &[&Parameter] =
    &[CONTAINER, FOLLOW, INSECURE_SKIP_TLS, LIMIT_BYTES, PREVIOUS, SINCE_SECONDS, STREAM, TAIL_LINES, TIMESTAMPS];
pub const ATTACH: &[&Parameter] = &[CONTAINER, STDERR, STDIN, STDOUT, TTY];
pub const EXEC: &[&Parameter] = &[COMMAND, CONTAINER, STDERR, STDIN, STDOUT, TTY];
